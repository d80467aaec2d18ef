// The page: where pictures come from, what is chosen, and what is shown.

import { Drawing } from "./drawing.js";
import { contextOf, decode, firstFile, pixelsOf } from "./picture.js";
import { Model, startRuntime, textOf } from "./runtime.js";
import { attentionOf, create, drawOverlay, drawSeen, element, percent, showRows, summary } from "./view.js";

/** @typedef {{ model: string, image: string, digits: number[] }} Example  image: a data URL */

const drawingCanvas = /** @type {HTMLCanvasElement} */ (element("drawing"));
const openedCanvas = /** @type {HTMLCanvasElement} */ (element("opened"));
const overlay = /** @type {HTMLCanvasElement} */ (element("overlay"));
const drawing = new Drawing(drawingCanvas, () => show("draw"));

const state = {
  /** @type {Map<string, Model>} */
  models: new Map(),
  /** @type {import("./runtime.js").Card[]} */
  cards: JSON.parse(textOf("cards")),
  /** @type {Example[]} */
  examples: JSON.parse(textOf("examples")),
  name: "",
  /** @type {"draw" | "open" | "example"} */
  source: "draw",
  example: 0,
  /** @type {import("./runtime.js").Row[]} */
  rows: [],
  /** @type {[number, number] | null} row and digit */
  chosen: null,
  head: -1,
  reading: false,
  again: false,
};
state.name = state.cards[0].name;

/** @returns {HTMLCanvasElement} the canvas that shows the picture */
const shownCanvas = () => (state.source === "draw" ? drawingCanvas : openedCanvas);
const card = () => /** @type {import("./runtime.js").Card} */ (state.cards.find(({ name }) => name === state.name));
const examples = () => state.examples.filter(({ model }) => model === state.name);

/** Read what is shown; what changes meanwhile is read next. */
async function read() {
  if (state.reading) {
    state.again = true;
    return;
  }
  state.reading = true;
  try {
    do {
      state.again = false;
      await readOnce();
    } while (state.again);
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error));
  } finally {
    state.reading = false;
  }
}

async function readOnce() {
  const { name } = state;
  let model = state.models.get(name);
  if (!model) {
    tell("Loading the model …");
    model = await Model.load(card());
    state.models.set(name, model);
  }
  if (state.source === "draw" && drawing.isEmpty) {
    state.rows = [];
    update("Ready: write a number");
    return;
  }
  const rows = await model.read(pixelsOf(shownCanvas()));
  if (name !== state.name) return; // another model was chosen meanwhile
  state.rows = rows;
  if (!rows[state.chosen?.[0] ?? 0]?.digits[state.chosen?.[1] ?? 0]) state.chosen = null;
  update(summary(rows));
}

/** @param {string} text */
function tell(text) {
  element("status").textContent = text;
}

/** @param {string} text what the status says */
function update(text) {
  tell(text);
  showRows(state.rows, choose, state.chosen);
  const most = Math.max(0, ...state.rows.map(({ numShapes }) => numShapes));
  const warning = element("warning");
  warning.hidden = most <= card().maxLength;
  warning.textContent = `${most} shapes stand apart, but this model reads at most ${card().maxLength} in a row.`;
  showDetails();
}

/**
 * @param {number} row
 * @param {number} digit
 */
function choose(row, digit) {
  const isSame = state.chosen?.[0] === row && state.chosen[1] === digit;
  state.chosen = isSame ? null : [row, digit];
  update(summary(state.rows));
  const buttons = element("rows").querySelectorAll("ol")[row].querySelectorAll("button");
  buttons[digit].focus();
}

function showDetails() {
  const { chosen, rows } = state;
  const readable = rows.findIndex(({ digits }) => digits.length);
  const [rowIndex, digit] = chosen ?? [readable, 0];
  element("details").hidden = readable < 0;
  if (readable < 0) {
    drawOverlay(overlay, shownCanvas(), rows, null, null);
    return;
  }
  const row = rows[rowIndex];
  const attention = attentionOf(row, card(), digit, state.head);
  drawSeen(/** @type {HTMLCanvasElement} */ (element("seen")), row, card(), attention);
  drawOverlay(overlay, shownCanvas(), rows, chosen, attention);
  const ordinal = rows.length > 1 ? `, row ${rowIndex + 1}` : "";
  element("choice").textContent = `Digit ${digit + 1} of ${row.digits.length}${ordinal}. Choose another above.`;
  const candidates = [
    [String(row.digits[digit]), row.probability[digit]],
    [row.runnerUp[digit] > 9 ? "end of the row" : String(row.runnerUp[digit]), row.runnerUpProbability[digit]],
  ];
  const body = /** @type {HTMLElement} */ (element("alternatives").querySelector("tbody"));
  body.replaceChildren(
    ...candidates.map(([name, probability]) => {
      const line = create("tr");
      const bar = create("td");
      const meter = /** @type {HTMLMeterElement} */ (create("meter"));
      meter.value = Number(probability);
      meter.setAttribute("aria-label", `Probability of ${name}`);
      bar.append(meter);
      line.append(create("td", String(name)), create("td", percent(Number(probability))), bar);
      return line;
    }),
  );
}

/** @param {"draw" | "open" | "example"} source */
function show(source) {
  state.source = source;
  drawingCanvas.hidden = element("drawing-tools").hidden = source !== "draw";
  openedCanvas.hidden = source === "draw";
  element("draw").setAttribute("aria-pressed", String(source === "draw"));
  element("example").setAttribute("aria-pressed", String(source === "example"));
  element("hint").hidden = source !== "draw" || !drawing.isEmpty;
  element("truth").hidden = source !== "example";
  for (const id of ["undo", "clear"]) /** @type {HTMLButtonElement} */ (element(id)).disabled = drawing.isEmpty;
  void read();
}

/**
 * @param {Blob | null | undefined} file
 * @param {"open" | "example"} source
 */
async function open(file, source = "open") {
  if (!file) return;
  try {
    const picture = await decode(file);
    openedCanvas.width = picture.width;
    openedCanvas.height = picture.height;
    contextOf(openedCanvas).drawImage(picture, 0, 0);
    state.chosen = null;
    show(source);
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error));
  }
}

/** @param {number} step */
async function showExample(step) {
  const all = examples();
  if (!all.length) return;
  state.example = (state.example + step + all.length) % all.length;
  const { image, digits } = all[state.example];
  const bytes = Uint8Array.from(atob(image.split(",")[1]), (character) => character.charCodeAt(0));
  await open(new Blob([bytes], { type: "image/png" }), "example");
  element("truth").textContent = `Example ${state.example + 1} of ${all.length}, which the model has not seen. It shows ${digits.join(" ") || "no digits"}.`;
}

/**
 * @param {string} container id of a fieldset
 * @param {[string, string][]} options value and label
 * @param {(value: string) => void} onChange
 */
function radios(container, options, onChange) {
  element(container).append(
    ...options.map(([value, label], index) => {
      const input = /** @type {HTMLInputElement} */ (create("input"));
      Object.assign(input, { type: "radio", name: container, value, checked: index === 0 });
      input.addEventListener("change", () => onChange(value));
      const wrapped = create("label");
      wrapped.append(input, ` ${label}`);
      return wrapped;
    }),
  );
}

function describe() {
  element("card").textContent = card().about;
  element("heads").replaceChildren(create("legend", "Attention"));
  const heads = Array.from({ length: card().heads }, (_, index) => /** @type {[string, string]} */ ([String(index), `head ${index + 1}`]));
  radios("heads", [["-1", "all heads"], ...heads], (value) => {
    state.head = Number(value);
    showDetails();
  });
}

function listen() {
  element("draw").addEventListener("click", () => show("draw"));
  element("undo").addEventListener("click", () => drawing.undo());
  element("clear").addEventListener("click", () => drawing.clear());
  element("example").addEventListener("click", () => void showExample(0));
  element("previous-example").addEventListener("click", () => void showExample(-1));
  element("next-example").addEventListener("click", () => void showExample(1));
  for (const id of ["open", "photo"]) {
    const input = /** @type {HTMLInputElement} */ (element(id));
    input.addEventListener("change", () => {
      void open(input.files?.[0]);
      input.value = ""; // the same file can be chosen again
    });
  }
  document.addEventListener("paste", (event) => void open(firstFile(event.clipboardData)));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    element("stage").classList.add("dropping");
  });
  document.addEventListener("dragleave", () => element("stage").classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    element("stage").classList.remove("dropping");
    void open(firstFile(event.dataTransfer));
  });
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && state.source === "draw" && !drawing.isEmpty) {
      event.preventDefault();
      drawing.undo();
    }
  });
  if (state.cards.length > 1) {
    element("models").hidden = false;
    radios("models", state.cards.map(({ name }) => [name, name]), (value) => {
      state.name = value;
      state.chosen = null;
      state.example = 0;
      describe();
      if (state.source === "example") void showExample(0);
      else void read();
    });
  }
}

describe();
listen();
startRuntime().then(
  () => show("draw"),
  (error) => tell(`This browser cannot run the model: ${error instanceof Error ? error.message : error}`),
);
