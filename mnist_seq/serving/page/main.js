// The page: where pictures come from, what is chosen, and what is shown.

import { Drawing } from "./drawing.js";
import { decode, pixelsOf } from "./picture.js";
import { BrowserModel, fromBase64 } from "./runtime.js";
import { Hopeless, ServiceModel } from "./service.js";
import {
  attentionOf, confidenceOf, create, digitsOf, drawOverlay, drawSeen, element, percent, showCandidates, showRows,
  summaryOf,
} from "./view.js";

/** @typedef {"draw" | "open" | "example"} Source */

/** Least time between two readings of a drawing, milliseconds, and in multiples of what one takes. */
const LEAST_PAUSE = 50;
const PAUSES = 2;
/** Time without a change after which a reading is announced to screen readers, milliseconds. */
const QUIET = 700;
/** Pictures with a shorter longer side than this are shown with sharp pixels. */
const SMALL = 200;

/** @param {string} id */
const canvas = (id) => /** @type {HTMLCanvasElement} */ (element(id));
/** @param {string} id */
const input = (id) => /** @type {HTMLInputElement} */ (element(id));

/** @type {import("./runtime.js").Card[]} */
const cards = JSON.parse(element("cards").textContent ?? "");
const drawing = new Drawing(
  canvas("drawing"),
  () => {
    if (state.source !== "draw") return;
    dropComparison();
    notify("");
    showTools();
    if (drawing.isEmpty) showNothing();
    readSoon();
  },
  () => readSoon(),
);

const state = {
  /** @type {Map<number, BrowserModel | ServiceModel>} those that are loaded */
  models: new Map(),
  /** @type {Map<number, Promise<BrowserModel | ServiceModel>>} */
  loading: new Map(),
  model: 0,
  /** @type {Source} */
  source: "draw",
  /** @type {HTMLCanvasElement | null} what was opened */
  picture: null,
  /** @type {number[] | null} digits of the example that is shown */
  truth: null,
  example: 0,
  /** @type {import("./view.js").Reading | null} of what is shown */
  reading: null,
  /** @type {[number, number] | null} row and digit */
  chosen: null,
  head: -1,
  /** aborted by every new picture and model, and when the drawing is cleared: the reading of an older one is dropped */
  current: new AbortController(),
  /** raised by every file that is opened, and by turning to the drawing: an older file is dropped */
  opening: 0,
  /** raised by every comparison, and by every change of the picture */
  comparison: 0,
};

// ---------------------------------------------------------------------------------------------------- reading

const queue = {
  isBusy: false,
  isDue: false,
  timer: 0,
  /** duration and end of the last reading, milliseconds */
  cost: 0,
  end: 0,
};

/** Read what is shown now. What changes while it is read is read next. */
async function read() {
  queue.isDue = true;
  if (queue.isBusy) return;
  queue.isBusy = true;
  while (queue.isDue) {
    queue.isDue = false;
    const { signal } = state.current;
    try {
      await readPicture(signal);
    } catch (error) {
      if (!signal.aborted) fail(error);
    }
  }
  queue.isBusy = false;
}

/** What is shown, or the model, has changed: stop reading what was shown before. */
function supersede() {
  state.current.abort();
  state.current = new AbortController();
}

/** @param {unknown} error */
function fail(error) {
  Object.assign(state, { reading: null, chosen: null });
  render(messageOf(error));
  element("retry").hidden = error instanceof Hopeless;
}

/** Read again after a failure. */
function retry() {
  render("Reading …");
  element("result").focus(); // the button is hidden now
  void read();
}

/** Read a drawing while it grows, and leave the browser time to show it. */
function readSoon() {
  if (queue.timer) return;
  queue.timer = window.setTimeout(() => {
    queue.timer = 0;
    void read();
  }, Math.max(LEAST_PAUSE, queue.end + PAUSES * queue.cost - performance.now()));
}

/** @param {AbortSignal} signal */
async function readPicture(signal) {
  const { model: index } = state;
  const model = state.models.get(index);
  if (!model) {
    if (!state.reading) render(loadingText(index));
    // Other models can read meanwhile: this one reads once it is loaded, if it is still chosen.
    const isChosen = () => index === state.model;
    load(index).then(
      () => void (isChosen() && read()),
      (error) => void (isChosen() && fail(error)),
    );
    return;
  }
  const shown = state.source === "draw" ? (drawing.isEmpty ? null : canvas("drawing")) : state.picture;
  if (!shown) {
    if (!performance.getEntriesByName("ready").length) performance.mark("ready");
    showNothing();
    return;
  }
  const start = performance.now();
  const { rows, warning } = await model.read(pixelsOf(shown), signal);
  queue.cost = performance.measure("read", { start }).duration;
  queue.end = start + queue.cost;
  if (signal.aborted) return;
  state.reading = { card: model.card, width: shown.width, height: shown.height, rows, warning };
  const [row, digit] = state.chosen ?? [0, 0];
  if (rows[row]?.digits[digit] === undefined) state.chosen = null;
  render(summaryOf(rows));
}

/**
 * Load a model once; after a failure, the next call tries anew.
 * @param {number} index
 * @returns {Promise<BrowserModel | ServiceModel>}
 */
function load(index) {
  const begun = state.loading.get(index);
  if (begun) return begun;
  const { graph } = cards[index];
  const loading =
    graph === null ? Promise.resolve(new ServiceModel(cards[index])) : BrowserModel.load(cards[index], graph);
  state.loading.set(index, loading);
  loading.then(
    (model) => state.models.set(index, model),
    () => state.loading.delete(index),
  );
  return loading;
}

/** @param {number} index */
function loadingText(index) {
  const { graph } = cards[index];
  const isFetched = graph !== null && !document.getElementById(graph); // the service exports it when it is first asked
  return isFetched ? "Loading the model, which can take half a minute …" : "Loading the model …";
}

/** Read the same picture with every model. */
async function compare() {
  const shown = state.source === "draw" ? canvas("drawing") : state.picture;
  if (!shown) return;
  const pixels = pixelsOf(shown);
  const body = /** @type {HTMLTableSectionElement} */ (element("comparison").querySelector("tbody"));
  const comparison = ++state.comparison;
  body.replaceChildren();
  element("comparison").hidden = false;
  for (const [index, card] of cards.entries()) {
    const line = create("tr");
    const name = create("th", card.name);
    name.setAttribute("scope", "row");
    const waiting = create("td", state.models.has(index) ? "Reading …" : loadingText(index));
    line.append(name, waiting);
    body.append(line);
    /** @type {string[]} */
    let cells;
    try {
      const model = await load(index);
      if (comparison !== state.comparison) return; // it shows another picture by now
      const start = performance.now();
      const { rows } = await model.read(pixels);
      const time = performance.now() - start;
      cells = [digitsOf(rows).join(" / ") || "no digits", percent(confidenceOf(rows)), `${time.toFixed(0)} ms`];
    } catch (error) {
      cells = [messageOf(error)];
    }
    waiting.replaceWith(...cells.map((text) => create("td", text)));
    if (comparison !== state.comparison) return;
  }
  announce(Array.from(body.rows, (line) => line.innerText).join("; "));
}

async function copy() {
  if (!state.reading) return;
  const copied = await navigator.clipboard.writeText(digitsOf(state.reading.rows).join("\n")).then(
    () => true,
    () => false,
  );
  element("copy").textContent = copied ? "Copied" : "Not allowed to copy";
  announce(element("copy").textContent ?? "");
}

// ---------------------------------------------------------------------------------------------------- showing

/** @param {unknown} error */
const messageOf = (error) => (error instanceof Error ? error.message : String(error));

/** Nothing is drawn yet, or any more. */
function showNothing() {
  supersede();
  Object.assign(state, { reading: null, chosen: null });
  render(state.models.has(state.model) ? "Ready: write a number" : loadingText(state.model));
}

/** The picture has changed: what the models read before is outdated. */
function dropComparison() {
  element("comparison").hidden = true;
  state.comparison++;
}

let announcing = 0;

/** @param {string} text for screen readers */
function announce(text) {
  clearTimeout(announcing);
  element("announcement").textContent = text;
}

/** Announce what the page says, once nothing has changed for a while. */
function announceSoon() {
  clearTimeout(announcing);
  announcing = window.setTimeout(() => {
    const told = ["notice", "result", "warning", "truth", ...(state.chosen ? ["choice"] : [])].map(element);
    const texts = told.filter(({ hidden }) => !hidden).map(({ textContent }) => textContent ?? "");
    announce(texts.map((text) => (/[.?!…]$/.test(text) ? text : `${text}.`)).join(" "));
  }, QUIET);
}

/**
 * Say something about a file, next to what is read.
 * @param {string} text
 */
function notify(text) {
  element("notice").hidden = !text;
  element("notice").textContent = text;
  if (text) announceSoon();
}

/** @param {string} text what the page says of the reading */
function render(text) {
  const { reading, chosen } = state;
  element("result").textContent = text;
  announceSoon();
  showRows(element("rows"), reading?.rows ?? [], cards[state.model].attended && choose, chosen);
  const warning = reading?.warning ?? "";
  element("warning").hidden = !warning;
  element("warning").textContent = warning;
  element("retry").hidden = true;
  element("copy").hidden = !reading || !digitsOf(reading.rows).length || !navigator.clipboard; // absent without https
  element("copy").textContent = "Copy";
  element("compare").hidden = !reading || cards.length < 2;
  showDetails();
}

function showDetails() {
  const { reading, chosen, head } = state;
  const card = cards[state.model];
  const first = reading?.rows.findIndex(({ digits }) => digits.length) ?? -1;
  element("details").hidden = first < 0 || !card.attended;
  element("seen-side").hidden = !card.attended;
  if (!reading || first < 0) {
    drawSeen(canvas("seen"), card, reading?.rows[0]?.explanation?.canvas ?? null, null);
    drawOverlay(canvas("overlay"), null, null, null);
    return;
  }
  const [rowIndex, digit] = chosen ?? [first, 0];
  const row = reading.rows[rowIndex];
  const attention = chosen && attentionOf(reading, rowIndex, digit, head);
  drawOverlay(canvas("overlay"), reading, chosen, attention);
  if (!row.explanation) return;
  drawSeen(canvas("seen"), reading.card, row.explanation.canvas, attention);
  const place = reading.rows.length > 1 ? ` of row ${rowIndex + 1}` : "";
  element("choice").textContent = chosen
    ? `Digit ${digit + 1} of ${row.digits.length}${place}. The picture shows where the model looks while it reads it.`
    : "Choose a digit above to see where the model looks while it reads it.";
  element("alternatives").hidden = element("heads").hidden = !chosen;
  const { runnerUp, runnerUpProbability } = row.explanation;
  const other = runnerUp[digit] > 9 ? "the end" : String(runnerUp[digit]);
  showCandidates(/** @type {HTMLElement} */ (element("alternatives").querySelector("tbody")), [
    [String(row.digits[digit]), row.probability[digit]],
    [other, runnerUpProbability[digit]],
  ]);
}

/**
 * @param {number} row
 * @param {number} digit
 */
function choose(row, digit) {
  const isChosen = state.chosen?.[0] === row && state.chosen[1] === digit;
  state.chosen = isChosen ? null : [row, digit];
  if (state.reading) render(summaryOf(state.reading.rows));
}

function showTools() {
  for (const id of ["undo", "clear"]) element(id).setAttribute("aria-disabled", String(drawing.isEmpty));
  element("hint").hidden = state.source !== "draw" || !drawing.isEmpty;
}

/**
 * Show a source, and read it.
 * @param {Source} source
 */
function setSource(source) {
  const { picture, truth } = state;
  const opened = canvas("opened");
  dropComparison();
  notify("");
  supersede();
  drawing.endStroke();
  Object.assign(state, { source, reading: null, chosen: null });
  canvas("drawing").hidden = element("drawing-tools").hidden = source !== "draw";
  opened.hidden = source === "draw";
  if (source !== "draw" && picture) {
    [opened.width, opened.height] = [picture.width, picture.height];
    opened.getContext("2d")?.drawImage(picture, 0, 0);
    opened.classList.toggle("small", Math.max(picture.width, picture.height) < SMALL);
    opened.setAttribute("aria-label", source === "example" ? "A test scene" : "The picture that you opened");
    element("stage").style.setProperty("--aspect", String(picture.width / picture.height));
  }
  element("stage").classList.toggle("fitted", source !== "draw");
  element("draw").setAttribute("aria-pressed", String(source === "draw"));
  element("example").setAttribute("aria-pressed", String(source === "example"));
  element("truth").hidden = source !== "example";
  if (truth && source === "example")
    element("truth").textContent =
      `Example ${state.example + 1} of ${examples().length}, which the model has not seen: ${truth.join(" ") || "no digits"}`;
  showTools();
  if (!state.models.has(state.model)) render(loadingText(state.model));
  else render(source === "draw" && drawing.isEmpty ? "Ready: write a number" : "Reading …");
  void read();
}

// ---------------------------------------------------------------------------------------------------- sources

const examples = () => cards[state.model].examples;

/**
 * @param {Blob | null | undefined} file
 * @param {number[] | null} [truth] of an example
 * @param {string} [notice] shown with it
 */
async function openFile(file, truth = null, notice = "") {
  if (!file) return;
  const opening = ++state.opening;
  try {
    const picture = await decode(file);
    if (opening !== state.opening) return; // something else was opened meanwhile
    Object.assign(state, { picture, truth });
    setSource(truth ? "example" : "open");
    notify(notice);
  } catch (error) {
    if (opening !== state.opening) return;
    notify(messageOf(error));
    if (!state.reading) void read(); // another model was chosen meanwhile
  }
}

/** @param {number} step */
function showExample(step) {
  const all = examples();
  if (!all.length) return;
  state.example = (state.example + step + all.length) % all.length;
  const { image, digits } = all[state.example];
  void openFile(new Blob([fromBase64(image)], { type: "image/png" }), digits);
}

/** @param {DataTransfer | null} data what was dropped or pasted */
function openFirst(data) {
  const files = [...(data?.files ?? [])];
  const file = files.find(({ type }) => type.startsWith("image/")) ?? files[0];
  if (file) void openFile(file, null, files.length > 1 ? `Only one of the ${files.length} files was opened: ${file.name}` : "");
  else notify("There is no picture in what you dropped or pasted.");
}

// ---------------------------------------------------------------------------------------------------- controls

/**
 * @param {string} container id of a fieldset
 * @param {string} legend
 * @param {string[]} labels
 * @param {(index: number) => void} onChange
 */
function radios(container, legend, labels, onChange) {
  element(container).replaceChildren(
    create("legend", legend),
    ...labels.map((label, index) => {
      const radio = /** @type {HTMLInputElement} */ (create("input"));
      Object.assign(radio, { type: "radio", name: container, checked: index === 0 });
      radio.addEventListener("change", () => onChange(index));
      const wrapped = create("label");
      wrapped.append(radio, ` ${label}`);
      return wrapped;
    }),
  );
}

/** Show what belongs to the model that is chosen. */
function describeModel() {
  const card = cards[state.model];
  state.head = -1;
  element("about").textContent = card.about;
  element("examples-group").hidden = !examples().length;
  element("privacy").textContent = card.graph
    ? `A small Transformer that runs in this page. What you draw or open stays on this device${
        cards.some((it) => it.graph === null) ? ", unless you compare the models" : ""
      }.`
    : "What you draw or open is sent to the server of this page, which reads it.";
  const labels = Array.from({ length: card.attended?.heads ?? 0 }, (_, index) => `head ${index + 1}`);
  radios("heads", "Show the attention of", ["all heads", ...labels], (index) => {
    state.head = index - 1;
    showDetails();
  });
}

/** @param {number} index */
function setModel(index) {
  supersede();
  Object.assign(state, { model: index, example: 0, reading: null, chosen: null });
  describeModel();
  if (state.source === "example" && examples().length) showExample(0);
  else setSource(state.source === "example" ? "open" : state.source); // the example stays, as any other picture
}

/**
 * @param {string} id
 * @param {() => void} action unless the button is disabled
 */
function onClick(id, action) {
  element(id).addEventListener("click", () => element(id).getAttribute("aria-disabled") !== "true" && action());
}

function listen() {
  onClick("draw", () => {
    state.opening++;
    setSource("draw");
  });
  onClick("undo", () => drawing.undo());
  onClick("clear", () => drawing.clear());
  onClick("example", () => showExample(0));
  onClick("previous-example", () => showExample(-1));
  onClick("next-example", () => showExample(1));
  onClick("compare", () => void compare());
  onClick("retry", retry);
  onClick("copy", () => void copy());
  for (const id of ["open", "photo"])
    input(id).addEventListener("change", () => {
      void openFile(input(id).files?.[0]);
      input(id).value = ""; // the same file can be chosen again
    });
  document.addEventListener("paste", (event) => {
    if (!(event.target instanceof HTMLInputElement)) openFirst(event.clipboardData); // a token is pasted as text
  });
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    element("stage").classList.add("dropping");
  });
  document.addEventListener("dragleave", () => element("stage").classList.remove("dropping"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    element("stage").classList.remove("dropping");
    openFirst(event.dataTransfer);
  });
  document.addEventListener("keydown", (event) => {
    if (event.target === element("token")) return; // what is typed there is undone
    if (!(event.ctrlKey || event.metaKey) || event.key !== "z" || state.source !== "draw" || drawing.isEmpty) return;
    event.preventDefault();
    drawing.undo();
  });
  window.addEventListener("resize", showDetails);
  element("token").addEventListener("change", () => {
    supersede();
    void read();
  });
  element("access").addEventListener("submit", (event) => event.preventDefault()); // Enter has changed the token
}

listen();
describeModel();
if (cards.length > 1) {
  element("models").hidden = false;
  radios("models", "Model", cards.map(({ name }) => name), setModel);
}
setSource("draw");
