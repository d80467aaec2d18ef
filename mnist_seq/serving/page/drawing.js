// Draw with a mouse, a pen or a finger.

import { contextOf } from "./picture.js";

/** Width of the pen, as a fraction of the height of the drawing area. */
const PEN = 0.045;

/** A canvas on which one writes: black ink on white paper, stroke by stroke. */
export class Drawing {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} onChange called after each part of a stroke
   */
  constructor(canvas, onChange) {
    this.canvas = canvas;
    this.onChange = onChange;
    /** @type {[number, number][][]} points of each stroke, as fractions of the canvas' width and height */
    this.strokes = [];
    this.pointer = -1;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.extend(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (this.pointer = -1));
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  undo() {
    this.strokes.pop();
    this.changed();
  }

  clear() {
    this.strokes = [];
    this.changed();
  }

  /** @param {PointerEvent} event */
  begin(event) {
    if (this.pointer !== -1 || event.button !== 0) return; // a second finger does not write
    event.preventDefault();
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([this.at(event)]);
    this.changed();
  }

  /** @param {PointerEvent} event */
  extend(event) {
    if (event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    const stroke = this.strokes[this.strokes.length - 1];
    for (const part of events.length ? events : [event]) stroke.push(this.at(part));
    this.changed();
  }

  /**
   * @param {PointerEvent} event
   * @returns {[number, number]}
   */
  at(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    return [(event.clientX - left) / width, (event.clientY - top) / height];
  }

  /** Give the canvas as many pixels as it covers on the screen. */
  fit() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width) return; // hidden
    this.canvas.width = Math.round(width);
    this.canvas.height = Math.round(height);
    this.paint();
  }

  changed() {
    this.paint();
    this.onChange();
  }

  paint() {
    const { width, height } = this.canvas;
    const context = contextOf(this.canvas);
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, width, height);
    context.strokeStyle = context.fillStyle = "#000000";
    context.lineWidth = PEN * height;
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.strokes) {
      context.beginPath();
      for (const [x, y] of stroke) context.lineTo(x * width, y * height);
      if (stroke.length === 1) context.lineTo(stroke[0][0] * width + 0.1, stroke[0][1] * height); // a dot
      context.stroke();
    }
  }
}
