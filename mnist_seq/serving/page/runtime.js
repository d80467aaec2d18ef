// Run a model of this file: unpack it, and hand it pictures.

import { ort } from "./vendor/ort.js";

/**
 * @typedef {{ name: string, about: string, height: number, width: number, maxLength: number, heads: number,
 *   patchRows: number, patchColumns: number }} Card
 * @typedef {{ data: Uint8Array, width: number, height: number }} Rgba  rows of red, green, blue and alpha
 * @typedef {{ digits: number[], probability: number[], confidence: number, box: number[], numShapes: number,
 *   canvas: Float32Array, attention: Float32Array, runnerUp: number[], runnerUpProbability: number[] }} Row
 */

/**
 * Unpack what the exporter packed into an element: gzip, then base64.
 * @param {string} id
 * @returns {Promise<Uint8Array>}
 */
export async function unpack(id) {
  const packed = Uint8Array.from(atob(textOf(id)), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * @param {string} id
 * @returns {string} what stands in an element
 */
export function textOf(id) {
  const element = document.getElementById(id);
  if (!element) throw new Error(`this file has no ${id}`);
  return element.textContent ?? "";
}

/** Prepare ONNX Runtime: one thread, so that no special headers are needed, from bytes, so that nothing is fetched. */
export async function startRuntime() {
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpack("runtime");
}

/** A model that reads pictures of any size. */
export class Model {
  /**
   * @param {Card} card
   * @param {any} session
   */
  constructor(card, session) {
    this.card = card;
    this.session = session;
  }

  /**
   * @param {Card} card
   * @returns {Promise<Model>}
   */
  static async load(card) {
    return new Model(card, await ort.InferenceSession.create(await unpack(`model-${card.name}`)));
  }

  /**
   * Read a picture, row by row.
   * @param {Rgba} picture
   * @returns {Promise<Row[]>}
   */
  async read({ data, width, height }) {
    const planes = new Uint8Array(4 * width * height);
    for (let plane = 0; plane < 4; plane++)
      for (let pixel = 0; pixel < width * height; pixel++) planes[plane * width * height + pixel] = data[4 * pixel + plane];
    const outputs = await this.session.run({
      pictures: new ort.Tensor("uint8", planes, [1, 4, height, width]),
      sizes: new ort.Tensor("int64", BigInt64Array.of(BigInt(height), BigInt(width)), [1, 2]),
    });
    const { maxLength } = this.card;
    const numRows = outputs.digits.dims[0];
    const [numSteps, , perStep] = [outputs.attention.dims[0], 0, outputs.attention.data.length / (outputs.attention.dims[0] * numRows)];
    return Array.from({ length: numRows }, (_, row) => {
      const all = Array.from(outputs.digits.data.slice(row * maxLength, (row + 1) * maxLength), Number);
      const length = all.findIndex((digit) => digit > 9);
      const count = length < 0 ? maxLength : length;
      /** @param {string} name */
      const perDigit = (name) => Array.from(outputs[name].data.slice(row * maxLength, row * maxLength + count), Number);
      const attention = new Float32Array(numSteps * perStep);
      for (let step = 0; step < numSteps; step++)
        attention.set(outputs.attention.data.subarray((step * numRows + row) * perStep, (step * numRows + row + 1) * perStep), step * perStep);
      const pixels = this.card.height * this.card.width;
      return {
        digits: all.slice(0, count),
        probability: perDigit("probability"),
        confidence: Number(outputs.confidence.data[row]),
        box: Array.from(outputs.window.data.slice(4 * row, 4 * row + 4), Number),
        numShapes: Number(outputs.num_shapes.data[row]),
        canvas: outputs.canvases.data.slice(row * pixels, (row + 1) * pixels),
        attention,
        runnerUp: perDigit("runner_up"),
        runnerUpProbability: perDigit("runner_up_probability"),
      };
    });
  }
}
