// Draw with a mouse, a pen or a finger.

import { contextOf } from "./picture.js";

/** Width of the pen, as a fraction of the height of the drawing area. */
const PEN = 0.045;
/** Largest number of pixels of the canvas for each pixel of the page. */
const MOST_PIXELS = 2;

/** A canvas on which one writes: black ink on white paper, stroke by stroke. */
export class Drawing {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {() => void} onChange called after each part of a stroke
   * @param {() => void} onResize called after what is written has been drawn anew in another size
   */
  constructor(canvas, onChange, onResize) {
    this.canvas = canvas;
    this.onChange = onChange;
    this.onResize = onResize;
    /** @type {[number, number][][]} points of each stroke, in heights of the canvas: so ink keeps its shape */
    this.strokes = [];
    /** Pixels of the canvas for each height; less than its height where what was written on a wider area must fit. */
    this.scale = 0;
    /** Right end of the canvas, in heights. */
    this.rightmost = 0;
    /** @type {PointerEvent | null} the pointer that writes */
    this.pointer = null;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.extend(event));
    canvas.addEventListener("pointerup", (event) => this.end(event));
    canvas.addEventListener("pointercancel", (event) => this.cancel(event));
    canvas.addEventListener("lostpointercapture", (event) => this.end(event));
    new ResizeObserver(() => this.fit()).observe(canvas);
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  /** End the stroke that is being drawn. */
  endStroke() {
    this.pointer = null;
  }

  undo() {
    this.endStroke();
    this.strokes.pop();
    this.changed();
  }

  clear() {
    this.endStroke();
    this.strokes = [];
    this.changed();
  }

  /** @param {PointerEvent} event */
  begin(event) {
    if (event.button !== 0) return;
    if (this.pointer) {
      if (event.pointerType !== "pen" || this.pointer.pointerType !== "touch") return; // a second finger does not write
      this.strokes.pop(); // the palm came before the pen
    }
    event.preventDefault();
    this.pointer = event;
    this.strokes.push([this.at(event)]);
    try {
      this.canvas.setPointerCapture(event.pointerId);
    } catch {
      // it is up already
    }
    this.changed();
  }

  /** @param {PointerEvent} event */
  extend(event) {
    if (event.pointerId !== this.pointer?.pointerId) return;
    const parts = event.getCoalescedEvents?.() ?? [];
    const stroke = this.strokes[this.strokes.length - 1];
    const added = (parts.length ? parts : [event]).map((part) => this.at(part));
    this.ink([stroke[stroke.length - 1], ...added]); // alone: there may be thousands of points already
    stroke.push(...added);
    this.onChange();
  }

  /** @param {PointerEvent} event */
  end(event) {
    if (event.pointerId === this.pointer?.pointerId) this.endStroke();
  }

  /** @param {PointerEvent} event taken back by the system, such as the touch of a palm */
  cancel(event) {
    if (event.pointerId === this.pointer?.pointerId) this.undo();
  }

  /**
   * @param {PointerEvent} event
   * @returns {[number, number]} on the canvas, even if the pointer has left it
   */
  at(event) {
    const { left, top, width, height } = this.canvas.getBoundingClientRect();
    const x = Math.min(Math.max(event.clientX - left, 0), width);
    const y = Math.min(Math.max(event.clientY - top, 0), height);
    return [(x / width) * this.rightmost, (y / height) * (this.canvas.height / this.scale)];
  }

  /** Give the canvas the pixels that it covers on the screen. */
  fit() {
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width) return; // hidden
    const pixels = Math.min(window.devicePixelRatio, MOST_PIXELS);
    const size = [Math.round(width * pixels), Math.round(height * pixels)];
    if (this.canvas.width === size[0] && this.canvas.height === size[1]) return;
    [this.canvas.width, this.canvas.height] = size;
    this.paint();
    if (!this.isEmpty) this.onResize();
  }

  changed() {
    this.paint();
    this.onChange();
  }

  paint() {
    const { width, height } = this.canvas;
    const context = contextOf(this.canvas);
    this.rightmost = width / height;
    for (const stroke of this.strokes) for (const [x] of stroke) this.rightmost = Math.max(this.rightmost, x);
    this.scale = width / this.rightmost;
    context.fillStyle = "#ffffff";
    context.fillRect(0, 0, width, height);
    for (const stroke of this.strokes) this.ink(stroke);
  }

  /** @param {[number, number][]} points of a stroke, or of a part of one */
  ink([[x, y], ...points]) {
    const { scale } = this;
    const context = contextOf(this.canvas);
    context.strokeStyle = "#000000";
    context.lineWidth = PEN * scale;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    context.moveTo(x * scale, y * scale);
    context.lineTo(x * scale + 0.1, y * scale); // a dot, if nothing follows
    for (const [nextX, nextY] of points) context.lineTo(nextX * scale, nextY * scale);
    context.stroke();
  }
}
