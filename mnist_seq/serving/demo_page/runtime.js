// Run the models of this file: unpack them, and hand them pictures.

import { ort } from "./vendor/ort.js";

/**
 * @typedef {{ name: string, about: string, height: number, width: number, maxLength: number, heads: number,
 *   patchRows: number, patchColumns: number, patchSize: number, ordered: boolean }} Card
 * @typedef {{ data: Uint8ClampedArray, width: number, height: number }} Rgba  rows of red, green, blue and alpha
 * @typedef {{ digits: number[], probability: number[], confidence: number, box: number[], numShapes: number,
 *   canvas: Float32Array, attention: Float32Array, runnerUp: number[], runnerUpProbability: number[] }} Row
 *   attention: of each step, head and patch
 */

/**
 * Unpack what the exporter packed into an element, gzip and then base64, and drop it.
 * @param {string} id
 * @returns {Promise<Uint8Array>}
 */
export async function unpack(id) {
  const text = atob(textOf(id));
  const packed = new Uint8Array(text.length);
  for (let index = 0; index < text.length; index++) packed[index] = text.charCodeAt(index);
  document.getElementById(id)?.remove();
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
   * @param {number} index of the model in this file
   * @returns {Promise<Model>}
   */
  static async load(card, index) {
    const graph = await unpack(`model-${index}`);
    const session = await ort.InferenceSession.create(graph, { extra: { session: { disable_quant_qdq: "1" } } });
    return new Model(card, session);
  }

  /**
   * Read a picture, row by row.
   * @param {Rgba} picture
   * @returns {Promise<Row[]>}
   */
  async read({ data, width, height }) {
    const planes = new Uint8Array(4 * width * height);
    for (let plane = 0; plane < 4; plane++)
      for (let pixel = 0; pixel < width * height; pixel++)
        planes[plane * width * height + pixel] = data[4 * pixel + plane];
    const outputs = await this.session.run({
      pictures: new ort.Tensor("uint8", planes, [1, 4, height, width]),
      sizes: new ort.Tensor("int64", BigInt64Array.of(BigInt(height), BigInt(width)), [1, 2]),
    });
    return Array.from({ length: outputs.digits.dims[0] }, (_, row) => this.#row(outputs, row));
  }

  /**
   * @param {any} outputs of the graph
   * @param {number} row
   * @returns {Row}
   */
  #row(outputs, row) {
    const { maxLength, height, width } = this.card;
    /**
     * @param {string} name
     * @param {number} size of a row
     */
    const part = (name, size) => outputs[name].data.slice(row * size, (row + 1) * size);
    const all = Array.from(part("digits", maxLength), Number);
    const length = all.findIndex((digit) => digit > 9);
    const count = length < 0 ? maxLength : length;
    /** @param {string} name */
    const perDigit = (name) => Array.from(part(name, maxLength).slice(0, count), Number);
    const [numSteps, numRows, numHeads, numPatches] = outputs.attention.dims;
    const stepSize = numHeads * numPatches;
    const attention = new Float32Array(numSteps * stepSize);
    for (let step = 0; step < numSteps; step++) {
      const start = (step * numRows + row) * stepSize;
      attention.set(outputs.attention.data.subarray(start, start + stepSize), step * stepSize);
    }
    return {
      digits: all.slice(0, count),
      probability: perDigit("probability"),
      confidence: Number(outputs.confidence.data[row]),
      box: Array.from(part("window", 4), Number),
      numShapes: Number(outputs.num_shapes.data[row]),
      canvas: part("canvases", height * width),
      attention,
      runnerUp: perDigit("runner_up"),
      runnerUpProbability: perDigit("runner_up_probability"),
    };
  }
}
