// Read pictures by the service that sent this page.

import { canvasOf } from "./picture.js";

/**
 * @typedef {{ digits: number[], confidence: number, per_digit: number[], box: number[] | null, warning: string,
 *   rows: Reading[] }} Reading  see the documentation of the service
 */

/** Time after which a reading is given up, milliseconds. */
const TIMEOUT = 30_000;
/** Times that a request is sent again to a service that is busy. */
const RETRIES = 5;
const NO_ANSWER = "The service does not answer. Is it still running?";

/**
 * Ask the service, with the token that was entered.
 * @param {string} path
 * @param {RequestInit} [options] of fetch
 * @returns {Promise<Response>}
 * @throws {Error} with the reason, for people
 */
export async function request(path, options) {
  const { value: token } = /** @type {HTMLInputElement} */ (document.getElementById("token"));
  const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
  const send = () => fetch(path, { ...options, headers }).catch(() => null);
  let response = await send();
  for (let again = 0; response?.status === 429 && again < RETRIES; again++) {
    const seconds = Number(response.headers.get("Retry-After") ?? 1);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    response = await send();
  }
  if (!response) throw new Error(NO_ANSWER);
  if (response.status === 401) throw new Error("This service requires an access token: enter it above.");
  if (!response.ok) {
    const { detail } = await response.json().catch(() => ({ detail: response.statusText }));
    throw new Error(`The service rejected the request: ${detail}`);
  }
  return response;
}

/** A model that the service runs. */
export class ServiceModel {
  /** @param {import("./runtime.js").Card} card */
  constructor(card) {
    this.card = card;
  }

  /**
   * Read a picture, row by row.
   * @param {import("./runtime.js").Rgba} picture
   * @returns {Promise<import("./runtime.js").Row[]>}
   */
  async read({ data, width, height }) {
    const canvas = canvasOf(new ImageData(data, width, height));
    const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const form = new FormData();
    form.append("files", file, "picture.png");
    const response = await request("read", { method: "POST", body: form, signal: AbortSignal.timeout(TIMEOUT) });
    /** @type {{ readings: Reading[] }} */
    const { readings } = await response.json().catch(() => {
      throw new Error(NO_ANSWER);
    });
    const [reading] = readings;
    return (reading.rows.length ? reading.rows : [reading]).map(({ digits, confidence, per_digit, box, warning }) => ({
      digits,
      probability: per_digit,
      confidence,
      box,
      warning: warning || reading.warning,
      explanation: null,
    }));
  }
}
