// Signing in with the server's token. The server answers with a cookie that scripts cannot read.

import * as api from "./api.js";
import { byId } from "./dom.js";
import { complainOf } from "./notices.js";

/** Calls `signedIn` after every sign-in. */
export function listenForSignIn(signedIn) {
  const dialog = byId("sign-in");
  const token = byId("token");
  const problem = byId("sign-in-problem");
  // Without a token there is nothing behind the dialog.
  dialog.addEventListener("cancel", (event) => event.preventDefault());
  byId("sign-in-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    problem.textContent = "";
    try {
      await api.signIn(token.value);
    } catch (error) {
      problem.textContent = error.status === 401 ? "That is not this server's token." : error.message;
      token.select();
      return;
    }
    token.value = "";
    dialog.close();
    byId("sign-out").hidden = false;
    signedIn();
  });
  byId("sign-out").addEventListener("click", async () => {
    try {
      await api.signOut();
      location.reload();
    } catch (error) {
      complainOf(error);
    }
  });
  api.session.addEventListener("signed-out", ask);
}

/** Whether what the server has may be read now; asks for the token where not. */
export async function mayRead() {
  const { required, signed_in: signedIn } = await api.sessionState();
  byId("sign-out").hidden = !(required && signedIn);
  if (required && !signedIn) ask();
  return !required || signedIn;
}

function ask() {
  if (byId("sign-in").open) return;
  byId("sign-in").showModal();
  byId("token").focus();
}
