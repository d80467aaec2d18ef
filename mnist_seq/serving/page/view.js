// Show a reading: its digits, how sure the model is, and where it looked.

import { canvasOf, contextOf } from "./picture.js";

/**
 * @typedef {import("./runtime.js").Prediction & { card: import("./runtime.js").Card, width: number, height: number }}
 *   Reading  what a model read on a picture of this size
 * @typedef {{ weights: Float32Array, card: import("./runtime.js").Card, patches: import("./runtime.js").Attended }}
 *   Attention  the weight of each patch
 */

/** Probabilities from which a digit counts as sure, and below which it counts as doubtful. */
const SURE = 0.9;
const DOUBTFUL = 0.5;
/** Colours of attention and of the frames of rows: red, green, blue. */
const SHADE = [230, 110, 0];
const FRAME = [11, 87, 194];
/** Screen pixels for each pixel that the model sees. */
const SEEN_SCALE = 3;

/**
 * @param {string} id
 * @returns {HTMLElement}
 */
export function element(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`no element ${id}`);
  return found;
}

/**
 * Create an element with text. Text from outside is never markup.
 * @param {string} tag
 * @param {string} [text]
 * @param {string} [className]
 */
export function create(tag, text = "", className = "") {
  const created = document.createElement(tag);
  created.textContent = text;
  if (className) created.className = className;
  return created;
}

/** @param {number} probability */
export const percent = (probability) => (probability > 0.995 ? "> 99 %" : `${Math.round(100 * probability)} %`);

/** @param {import("./runtime.js").Row[]} rows */
export const digitsOf = (rows) => rows.map((row) => row.digits.join("")).filter(Boolean);

/** @param {import("./runtime.js").Row[]} rows */
export const confidenceOf = (rows) => rows.reduce((product, row) => product * row.confidence, 1);

/** @param {import("./runtime.js").Row[]} rows */
export function summaryOf(rows) {
  const written = digitsOf(rows).map((digits) => [...digits].join(" "));
  return written.length ? `${written.join(" / ")}, ${percent(confidenceOf(rows))} sure` : "No digits";
}

/**
 * Show the digits of each row, as buttons if they can be chosen.
 * @param {HTMLElement} container
 * @param {import("./runtime.js").Row[]} rows
 * @param {((row: number, digit: number) => void) | null} onChoose
 * @param {[number, number] | null} chosen row and digit
 */
export function showRows(container, rows, onChoose, chosen) {
  const focused = [...container.querySelectorAll("button")].indexOf(
    /** @type {HTMLButtonElement} */ (document.activeElement),
  );
  const lists = rows.map((row, rowIndex) => {
    const list = create("ol", "", "digits");
    list.setAttribute("role", "list");
    list.setAttribute("aria-label", rows.length > 1 ? `Row ${rowIndex + 1}` : "Digits");
    list.append(
      ...row.digits.map((digit, index) => {
        const probability = row.probability[index];
        const shown = create(onChoose ? "button" : "span", String(digit), "digit");
        if (onChoose) {
          shown.setAttribute("type", "button");
          shown.setAttribute("aria-pressed", String(chosen?.[0] === rowIndex && chosen[1] === index));
          shown.setAttribute("aria-label", `${digit}, probability ${percent(probability)}`);
          shown.addEventListener("click", () => onChoose(rowIndex, index));
        }
        const kind = probability >= SURE ? "sure" : probability >= DOUBTFUL ? "unsure" : "doubtful";
        shown.append(create("small", percent(probability), kind));
        const item = create("li");
        item.append(shown);
        return item;
      }),
    );
    return list;
  });
  container.replaceChildren(...lists.filter((list) => list.childElementCount));
  if (focused >= 0) container.querySelectorAll("button")[focused]?.focus();
}

/**
 * @param {HTMLElement} body of a table
 * @param {[string, number][]} candidates and their probabilities
 */
export function showCandidates(body, candidates) {
  body.replaceChildren(
    ...candidates.map(([name, probability]) => {
      const head = create("th", name);
      head.setAttribute("scope", "row");
      const meter = /** @type {HTMLMeterElement} */ (create("meter"));
      meter.value = probability;
      meter.setAttribute("aria-label", `Probability of ${name}`);
      const bar = create("td");
      bar.append(meter);
      const line = create("tr");
      line.append(head, create("td", percent(probability)), bar);
      return line;
    }),
  );
}

/**
 * @param {Reading} reading
 * @param {number} row
 * @param {number} digit
 * @param {number} head -1 for the mean of all
 * @returns {Attention | null} null if the model does not explain itself
 */
export function attentionOf({ card, rows }, row, digit, head) {
  const { explanation } = rows[row];
  const patches = card.attended;
  if (!explanation || !patches) return null;
  const numPatches = patches.patchRows * patches.patchColumns;
  const start = digit * patches.heads * numPatches;
  const weights = new Float32Array(numPatches);
  for (let index = 0; index < patches.heads; index++)
    if (head < 0 || head === index)
      for (let patch = 0; patch < numPatches; patch++)
        weights[patch] += explanation.attention[start + index * numPatches + patch];
  return { weights, card, patches };
}

/**
 * Draw what the model sees of a row, and shade the patches that it attends to.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./runtime.js").Card} card
 * @param {Float32Array | null} ink
 * @param {Attention | null} attention
 */
export function drawSeen(canvas, card, ink, attention) {
  const { width, height } = card;
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    const level = 255 * (ink?.[pixel] ?? 0);
    image.data.set([level, level, level, 255], 4 * pixel);
  }
  const plain = canvasOf(image);
  [canvas.width, canvas.height] = [SEEN_SCALE * width, SEEN_SCALE * height];
  const context = contextOf(canvas);
  context.imageSmoothingEnabled = false;
  context.drawImage(plain, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "lighter";
  if (attention) shade(context, attention, 0, 0, SEEN_SCALE);
}

/**
 * Frame the rows on the picture, and shade the patches that the model attends to.
 * @param {HTMLCanvasElement} overlay over the picture on the screen
 * @param {Reading | null} reading
 * @param {[number, number] | null} chosen
 * @param {Attention | null} attention
 */
export function drawOverlay(overlay, reading, chosen, attention) {
  const { width, height } = overlay.getBoundingClientRect();
  [overlay.width, overlay.height] = [Math.round(width * devicePixelRatio), Math.round(height * devicePixelRatio)];
  if (!reading || !width) return;
  const context = contextOf(overlay);
  const scale = overlay.width / reading.width;
  context.strokeStyle = `rgb(${FRAME.join(" ")} / .8)`;
  context.lineWidth = 1.5 * devicePixelRatio;
  reading.rows.forEach(({ box, digits }, index) => {
    if (!digits.length || !box) return;
    const [left, top, right, bottom] = box.map((edge) => edge * scale);
    const inset = context.lineWidth / 2;
    const [x, y] = [Math.max(left, inset), Math.max(top, inset)];
    const [endX, endY] = [Math.min(right, overlay.width - inset), Math.min(bottom, overlay.height - inset)];
    context.strokeRect(x, y, endX - x, endY - y);
    if (attention && chosen?.[0] === index)
      shade(context, attention, left, top, (right - left) / reading.card.width);
  });
}

/**
 * Shade patches, the one that is attended to most the most.
 * @param {CanvasRenderingContext2D} context
 * @param {Attention} attention
 * @param {number} left edge of the row
 * @param {number} top
 * @param {number} scale pixels of the context for each pixel that the model sees
 */
function shade(context, { weights, card, patches }, left, top, scale) {
  const { width, height } = card;
  const { patchRows, patchColumns, patchSize } = patches;
  const largest = weights.reduce((most, weight) => Math.max(most, weight), 1e-9);
  const image = new ImageData(patchColumns, patchRows);
  weights.forEach((weight, patch) => image.data.set([...SHADE, (160 * weight) / largest], 4 * patch));
  context.save();
  context.beginPath();
  context.rect(left, top, width * scale, height * scale); // the last patches may reach beyond the row
  context.clip();
  context.imageSmoothingEnabled = true;
  context.drawImage(canvasOf(image), left, top, patchColumns * patchSize * scale, patchRows * patchSize * scale);
  context.restore();
}
