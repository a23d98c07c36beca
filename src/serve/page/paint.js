// A board and its boxes on a canvas: on the screen, and as the picture to download.

const FONT = '600 12px system-ui, "DejaVu Sans", sans-serif';
/** With more boxes than this, only the chosen ones keep their tags until they are looked at closely. */
const TAGS = 24;

/** The colours of the page's style, which follow light and dark. */
function colours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  return {
    classes: Array.from({ length: 8 }, (_, index) => read(`--class-${index}`)),
    text: read("--tag-text"),
    halo: read("--halo"),
    accent: read("--accent"),
    board: read("--board"),
  };
}

/**
 * Paints `image` and the scene's items. `viewport` says where; the canvas has `ratio` device pixels for each
 * CSS pixel; `tags` writes beside each box what it is. The scene is `{ items, selected, hovered, draft,
 * boxes }`, an item `{ key, box, label, text, verdict, missed }`.
 */
export function paint(canvas, image, scene, viewport, ratio, tags = true) {
  const context = canvas.getContext("2d");
  const colour = colours();
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = colour.board;
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  if (image) {
    const corner = viewport.toCanvas({ x: 0, y: 0 });
    // Whoever zooms in wants to see pixels.
    context.imageSmoothingEnabled = viewport.scale < 3;
    context.imageSmoothingQuality = "high";
    const { width, height } = viewport.image;
    context.drawImage(image, corner.x, corner.y, width * viewport.scale, height * viewport.scale);
  }
  if (!scene.boxes) return;
  const chosen = (item) => item.key === scene.selected || item.key === scene.hovered;
  const ordered = [...scene.items].sort((a, b) => chosen(a) - chosen(b));
  const closeUp = viewport.scale > 2 * viewport.fitting;
  for (const item of ordered) {
    paintBox(context, screenBox(viewport, item.box), item, chosen(item), item.key === scene.selected, colour);
  }
  const taken = ordered.map((item) => screenBox(viewport, item.box));
  // The chosen ones first: they get the best places.
  for (const item of tags ? [...ordered].reverse() : []) {
    if (!chosen(item) && scene.items.length > TAGS && !closeUp) continue;
    taken.push(paintTag(context, screenBox(viewport, item.box), item, viewport.canvas, colour, taken));
  }
  if (scene.draft) paintDraft(context, screenBox(viewport, scene.draft), colour);
}

function screenBox(viewport, [left, top, right, bottom]) {
  const a = viewport.toCanvas({ x: left, y: top });
  const b = viewport.toCanvas({ x: right, y: bottom });
  // Around the defect rather than on it.
  return { x: a.x - 2, y: a.y - 2, width: b.x - a.x + 4, height: b.y - a.y + 4 };
}

function paintBox(context, box, item, chosen, selected, colour) {
  const own = colour.classes[(Math.max(1, item.label) - 1) % 8];
  context.globalAlpha = item.verdict === "false_call" && !chosen ? 0.6 : 1;
  context.setLineDash([]);
  const line = chosen ? 3 : 2;
  stroke(context, box, colour.halo, line + 2.5);
  if (item.verdict === "false_call") context.setLineDash([5, 4]);
  if (item.missed) context.setLineDash([2, 3]);
  stroke(context, box, own, line);
  context.setLineDash([]);
  context.globalAlpha = 1;
  if (selected) {
    const ring = { x: box.x - 6, y: box.y - 6, width: box.width + 12, height: box.height + 12 };
    stroke(context, ring, colour.halo, 5);
    stroke(context, ring, colour.accent, 2.5);
  }
}

function stroke(context, { x, y, width, height }, style, line) {
  context.strokeStyle = style;
  context.lineWidth = line;
  context.strokeRect(x, y, width, height);
}

/** Paints the tag of a box where it hides no other, if there is such a place, and returns that place. */
function paintTag(context, box, item, canvas, colour, taken) {
  context.font = FONT;
  const mark = { real: " ✓", false_call: " ✕" }[item.verdict] ?? "";
  const text = `${item.text}${mark}`;
  const width = context.measureText(text).width + 10;
  const height = 18;
  const [x, y] = tagPlace(box, width, height, canvas, taken);
  context.globalAlpha = item.verdict === "false_call" ? 0.75 : 1;
  context.fillStyle = colour.classes[(Math.max(1, item.label) - 1) % 8];
  context.beginPath();
  context.roundRect(x, y, width, height, 4);
  context.fill();
  context.globalAlpha = 1;
  context.fillStyle = colour.text;
  context.textBaseline = "middle";
  context.fillText(text, x + 5, y + height / 2 + 0.5);
  return { x, y, width, height };
}

/** Above its box, below, to the right or to the left: the first that is free, or above. */
function tagPlace(box, width, height, canvas, taken) {
  const gap = 9;
  const [below, right] = [box.y + box.height + gap, box.x + box.width + gap];
  const middle = box.y + (box.height - height) / 2;
  const places = [
    [box.x - 1, box.y - height - gap],
    [box.x - 1, below],
    [right, middle],
    [box.x - width - gap, middle],
    [box.x + box.width - width + 1, box.y - height - gap],
    [box.x + box.width - width + 1, below],
  ];
  const seen = ([x, y]) => x >= 1 && y >= 1 && x + width < canvas.width && y + height < canvas.height;
  const free = ([x, y]) =>
    !taken.some(
      (other) =>
        x < other.x + other.width &&
        other.x < x + width &&
        y < other.y + other.height &&
        other.y < y + height,
    );
  return places.find((place) => seen(place) && free(place)) ?? places.find(seen) ?? places[0];
}

function paintDraft(context, box, colour) {
  stroke(context, box, colour.halo, 6);
  context.setLineDash([6, 4]);
  stroke(context, box, colour.accent, 3);
  context.setLineDash([]);
}
