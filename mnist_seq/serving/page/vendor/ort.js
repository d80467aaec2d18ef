// ONNX Runtime Web, which the page brings along as a script of its own.

/** @type {any} */
export const ort = /** @type {any} */ (globalThis).ort;
