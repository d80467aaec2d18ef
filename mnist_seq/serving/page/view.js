// Show a reading: its digits, how sure the model is, and where it looked.

import { contextOf } from "./picture.js";

/** Probabilities from which a digit counts as sure, and below which it counts as doubtful. */
const SURE = 0.9;
const DOUBTFUL = 0.5;
/** Colour of attention: red, green, blue. */
const SHADE = [230, 110, 0];
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
export const percent = (probability) => `${Math.round(100 * probability)} %`;

/** @param {import("./runtime.js").Row[]} rows */
export function summary(rows) {
  const written = rows.map((row) => row.digits.join(" ")).filter(Boolean);
  if (!written.length) return "No digits";
  return `${written.join(" / ")}, ${percent(rows.reduce((product, row) => product * row.confidence, 1))} sure`;
}

/**
 * Show rows of digits as buttons.
 * @param {import("./runtime.js").Row[]} rows
 * @param {(row: number, digit: number) => void} onChoose
 * @param {[number, number] | null} chosen row and digit
 */
export function showRows(rows, onChoose, chosen) {
  element("rows").replaceChildren(
    ...rows.map((row, rowIndex) => {
      const list = create("ol", "", "digits");
      list.setAttribute("aria-label", rows.length > 1 ? `Row ${rowIndex + 1}` : "Digits");
      row.digits.forEach((digit, index) => {
        const button = create("button", String(digit));
        button.setAttribute("type", "button");
        button.setAttribute("aria-pressed", String(chosen !== null && chosen[0] === rowIndex && chosen[1] === index));
        button.setAttribute("aria-label", `${digit}, ${percent(row.probability[index])} sure`);
        button.append(create("small", percent(row.probability[index]), certainty(row.probability[index])));
        button.addEventListener("click", () => onChoose(rowIndex, index));
        const item = create("li");
        item.append(button);
        list.append(item);
      });
      return list;
    }),
  );
}

/** @param {number} probability */
function certainty(probability) {
  return probability >= SURE ? "sure" : probability >= DOUBTFUL ? "unsure" : "doubtful";
}

/**
 * The weight of each patch while a digit was read.
 * @param {import("./runtime.js").Row} row
 * @param {import("./runtime.js").Card} card
 * @param {number} digit
 * @param {number} head -1 for the mean of all
 * @returns {{ weights: Float32Array, rows: number, columns: number }}
 */
export function attentionOf(row, card, digit, head) {
  const numPatches = card.patchRows * card.patchColumns;
  const step = row.attention.subarray(digit * card.heads * numPatches, (digit + 1) * card.heads * numPatches);
  const weights = new Float32Array(numPatches);
  for (let index = 0; index < card.heads; index++)
    if (head < 0 || head === index)
      for (let patch = 0; patch < numPatches; patch++) weights[patch] += step[index * numPatches + patch] / (head < 0 ? card.heads : 1);
  return { weights, rows: card.patchRows, columns: card.patchColumns };
}

/**
 * Draw what the model sees, and over it the patches that it attends to.
 * @param {HTMLCanvasElement} canvas
 * @param {import("./runtime.js").Row} row
 * @param {import("./runtime.js").Card} card
 * @param {{ weights: Float32Array, rows: number, columns: number }} attention
 */
export function drawSeen(canvas, row, card, attention) {
  const { width, height } = card;
  const image = new ImageData(width, height);
  row.canvas.forEach((ink, pixel) => image.data.set([255 * ink, 255 * ink, 255 * ink, 255], 4 * pixel));
  const plain = document.createElement("canvas");
  [plain.width, plain.height] = [width, height];
  contextOf(plain).putImageData(image, 0, 0);
  [canvas.width, canvas.height] = [SEEN_SCALE * width, SEEN_SCALE * height];
  const context = contextOf(canvas);
  context.imageSmoothingEnabled = false;
  context.drawImage(plain, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "lighter";
  shade(context, attention, [0, 0, canvas.width, canvas.height]);
}

/**
 * Shade the patches that the model attends to, the most attended one the most.
 * @param {CanvasRenderingContext2D} context
 * @param {{ weights: Float32Array, rows: number, columns: number }} attention
 * @param {[number, number, number, number]} box left, top, right, bottom of the row
 */
function shade(context, { weights, rows, columns }, [left, top, right, bottom]) {
  const largest = weights.reduce((most, weight) => Math.max(most, weight), 1e-9);
  const image = new ImageData(columns, rows);
  weights.forEach((weight, patch) => image.data.set([...SHADE, (160 * weight) / largest], 4 * patch));
  const patches = document.createElement("canvas");
  [patches.width, patches.height] = [columns, rows];
  contextOf(patches).putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.drawImage(patches, left, top, right - left, bottom - top);
}

/**
 * Frame the rows on the picture, and shade the patches that the model attends to.
 * @param {HTMLCanvasElement} overlay
 * @param {{ width: number, height: number }} picture
 * @param {import("./runtime.js").Row[]} rows
 * @param {[number, number] | null} chosen
 * @param {{ weights: Float32Array, rows: number, columns: number } | null} attention
 */
export function drawOverlay(overlay, picture, rows, chosen, attention) {
  overlay.width = picture.width;
  overlay.height = picture.height;
  const context = contextOf(overlay);
  rows.forEach(({ box: [left, top, right, bottom], digits }, index) => {
    if (!digits.length) return;
    context.strokeStyle = "rgba(11, 87, 194, .8)";
    context.lineWidth = Math.max(1, picture.width / 400);
    context.strokeRect(left, top, right - left, bottom - top);
    if (attention && chosen?.[0] === index) shade(context, attention, [left, top, right, bottom]);
  });
}
