// The pictures of stored boards.

import * as api from "./api.js";

/** The board's image. Kinds that browsers do not know, such as TIFF, come as the server's PNG. */
export async function boardPicture(inspection) {
  try {
    return await load(api.pictureUrl(inspection.id, "image"));
  } catch {
    return await loaded(api.pictureUrl(inspection.id, "drawn", { score_threshold: 1 }), "image");
  }
}

export function referencePicture(inspection) {
  return loaded(api.pictureUrl(inspection.id, "reference"), "reference");
}

async function loaded(url, what) {
  try {
    return await load(url);
  } catch {
    throw new api.ApiError(`The ${what} of this board cannot be shown.`);
  }
}

async function load(url) {
  const image = new Image();
  image.src = url;
  await image.decode();
  return image;
}
