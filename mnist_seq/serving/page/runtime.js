// Run models in this browser: unpack them, and hand them pictures.

import { Hopeless, request } from "./service.js";
import { ort } from "./vendor/ort.js";

/**
 * @typedef {{ image: string, digits: number[] }} Example  image: PNG in base64
 * @typedef {{ patchRows: number, patchColumns: number, patchSize: number, heads: number }} Attended  what a model
 *   that explains itself attends to
 * @typedef {{ name: string, graph: string | null, about: string, height: number, width: number, maxLength: number,
 *   attended: Attended | null, examples: Example[] }} Card  graph: id of its graph; null if the service runs the model
 * @typedef {{ data: Uint8ClampedArray<ArrayBuffer>, width: number, height: number }} Rgba  rows of red, green, blue,
 *   alpha
 * @typedef {{ canvas: Float32Array, attention: Float32Array, runnerUp: number[], runnerUpProbability: number[] }}
 *   Explanation  attention: of each step, head and patch
 * @typedef {{ digits: number[], probability: number[], confidence: number, box: number[] | null,
 *   explanation: Explanation | null }} Row
 * @typedef {{ rows: Row[], warning: string }} Prediction  warning: why the digits cannot be right, or not all of them
 */

/**
 * Unpack what the exporter packed with gzip. It stands in an element in base64; in a page of the service it is fetched.
 * @param {string} id
 * @returns {Promise<Uint8Array>}
 */
async function unpack(id) {
  const element = document.getElementById(id);
  const packed = element ? fromBase64(element.textContent ?? "") : await (await request(`page/${id}`)).arrayBuffer();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/**
 * @param {string} text
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function fromBase64(text) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let index = 0; index < characters.length; index++) bytes[index] = characters.charCodeAt(index);
  return bytes;
}

const UNSUPPORTED =
  "This browser cannot run the model: it is from before mid-2023, or does not allow WebAssembly here. Reload to try again.";

/** @type {Promise<void> | null} */
let runtime = null;

/** Prepare ONNX Runtime: one thread, so that no special headers are needed, from bytes, so that nothing is fetched. */
async function startRuntime() {
  if (!("DecompressionStream" in window) || !("WebAssembly" in window)) throw new Hopeless(UNSUPPORTED);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpack("runtime");
}

/** A model that runs in this browser, and reads pictures of any size. */
export class BrowserModel {
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
   * @param {string} graph id of its graph
   * @returns {Promise<BrowserModel>}
   */
  static async load(card, graph) {
    runtime ??= startRuntime();
    await runtime.catch((error) => {
      runtime = null; // the next model tries anew
      throw error;
    });
    const options = { extra: { session: { disable_quant_qdq: "1" } } }; // else weights stay in 8 bits, and all is slower
    const bytes = await unpack(graph);
    const session = await ort.InferenceSession.create(bytes, options).catch(
      /** @param {unknown} error */ (error) => {
        throw /backend|WebAssembly/.test(String(error)) ? new Hopeless(UNSUPPORTED, { cause: error }) : error;
      },
    );
    for (const id of ["runtime", graph]) document.getElementById(id)?.remove(); // what failed is unpacked anew
    return new BrowserModel(card, session);
  }

  /**
   * Read a picture, row by row.
   * @param {Rgba} picture
   * @returns {Promise<Prediction>}
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
    const rows = Array.from({ length: outputs.digits.dims[0] }, (_, row) => this.#row(outputs, row));
    return { rows, warning: this.#warning(outputs) };
  }

  /** @param {any} outputs of the graph */
  #warning({ num_shapes: numShapes, num_omitted: numOmitted }) {
    const { maxLength } = this.card;
    const warnings = Array.from(numShapes.data, (count, row) => {
      const place = numShapes.dims[0] > 1 ? `In row ${row + 1}, there` : "There";
      return count > maxLength ? `${place} seem to be ${count} digits; this model reads at most ${maxLength} in a row.` : "";
    });
    if (numOmitted.data[0] > 0) warnings.push(`The picture has ${numOmitted.data[0]} more rows, which were not read.`);
    return warnings.filter(Boolean).join(" ");
  }

  /**
   * @param {any} outputs of the graph
   * @param {number} row
   * @returns {Row}
   */
  #row(outputs, row) {
    const { height, width, attended } = this.card;
    /**
     * @param {string} name
     * @param {number} size of a row
     */
    const part = (name, size) => outputs[name].data.slice(row * size, (row + 1) * size);
    const numSlots = outputs.digits.dims[1]; // a model that classifies cells has one for each
    const all = Array.from(part("digits", numSlots), Number);
    const length = all.findIndex((digit) => digit > 9);
    const count = length < 0 ? numSlots : length;
    /** @param {string} name */
    const perDigit = (name) => Array.from(part(name, numSlots).slice(0, count), Number);
    return {
      digits: all.slice(0, count),
      probability: perDigit("probability"),
      confidence: Number(outputs.confidence.data[row]),
      box: Array.from(part("window", 4), Number),
      explanation: attended && {
        canvas: part("canvases", height * width),
        attention: attentionOfRow(outputs.attention, row),
        runnerUp: perDigit("runner_up"),
        runnerUpProbability: perDigit("runner_up_probability"),
      },
    };
  }
}

/**
 * @param {{ data: Float32Array, dims: number[] }} attention of each step, row, head and patch
 * @param {number} row
 * @returns {Float32Array} of each step, head and patch
 */
function attentionOfRow({ data, dims: [numSteps, numRows, numHeads, numPatches] }, row) {
  const stepSize = numHeads * numPatches;
  const attention = new Float32Array(numSteps * stepSize);
  for (let step = 0; step < numSteps; step++) {
    const start = (step * numRows + row) * stepSize;
    attention.set(data.subarray(start, start + stepSize), step * stepSize);
  }
  return attention;
}
