// The server's HTTP interface. Every failure becomes an `ApiError` whose message is a sentence.

export class ApiError extends Error {
  constructor(sentence, status = 0, retryAfter = null) {
    super(sentence);
    this.status = status;
    /** Seconds after which the server wants to be asked again, or null. */
    this.retryAfter = retryAfter;
  }
}

/** Tells when the server wants a token. */
export const session = new EventTarget();

async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached. Check the network and try again.");
  }
  if (response.ok) return response;
  const seconds = Number.parseFloat(response.headers.get("retry-after"));
  const problem = new ApiError(
    await sentence(response),
    response.status,
    Number.isFinite(seconds) ? seconds : null,
  );
  if (response.status === 401 && path !== "/v1/session") session.dispatchEvent(new Event("signed-out"));
  throw problem;
}

/** The server's own sentence, or one for answers that come from a proxy before it. */
async function sentence(response) {
  try {
    const { error } = await response.json();
    if (typeof error === "string" && error) return error;
  } catch {
    // Not JSON, so not from our server.
  }
  return `The server answered with status ${response.status}.`;
}

async function json(path, options) {
  return (await request(path, options)).json();
}

function post(path, value) {
  const headers = { "content-type": "application/json" };
  return request(path, { method: "POST", headers, body: JSON.stringify(value) });
}

/** `{ a: 1, b: "" }` as `?a=1`. */
export function query(values) {
  const given = Object.entries(values).filter(
    ([, value]) => value !== "" && value !== null && value !== undefined,
  );
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

export const model = () => json("/v1/model");
export const fields = () => json("/v1/fields");
export const statistics = (filter) => json(`/v1/statistics${query(filter)}`);
export const inspections = (filter, signal) => json(`/v1/detections${query(filter)}`, { signal });
export const inspection = (id) => json(`/v1/detections/${encodeURIComponent(id)}`);
export const sessionState = () => json("/v1/session");
export const signIn = (token) => post("/v1/session", { token });
export const signOut = () => request("/v1/session", { method: "DELETE" });

/** Detects on one image: `{ id, detections, ... }` with the answer's `model` beside. */
export async function detect({ image, imageName, reference, referenceName, fields, scoreThreshold }) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value) form.append(name, value);
  if (reference) form.append("reference", reference, referenceName);
  form.append("image", image, imageName);
  const threshold = query({ score_threshold: scoreThreshold });
  const answer = await json(`/v1/detect${threshold}`, { method: "POST", body: form });
  return answer.images[0];
}

export async function sendVerdict(id, verdict) {
  return (await post(`/v1/detections/${encodeURIComponent(id)}/verdict`, verdict)).json();
}

/** The address of a picture of a stored board: `image`, `reference`, `thumbnail` or `drawn`. */
export function pictureUrl(id, picture, parameters = {}) {
  return `/v1/detections/${encodeURIComponent(id)}/${picture}${query(parameters)}`;
}

export async function picture(id, which) {
  return (await request(pictureUrl(id, which))).blob();
}

export function verdictsUrl(filter) {
  return `/v1/verdicts.zip${query(filter)}`;
}
