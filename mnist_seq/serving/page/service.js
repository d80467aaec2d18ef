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
const OTHER_MODEL = "The service runs another model now: reload this page.";

/** An error that trying again does not mend. */
export class Hopeless extends Error {}

/**
 * Ask the service, with the token that was entered.
 * @param {string} path
 * @param {RequestInit} [options] of fetch
 * @returns {Promise<Response>}
 * @throws {Error} with the reason, for people
 */
export async function request(path, options) {
  const token = /** @type {HTMLInputElement} */ (document.getElementById("token")).value.trim();
  if (/[^!-~]/.test(token)) throw new Error("This access token has characters that no token has: enter it again above.");
  const headers = token ? { Authorization: `Bearer ${token}` } : undefined;
  const send = () => fetch(path, { ...options, headers }).catch(() => null);
  let response = await send();
  for (let again = 0; response?.status === 429 && again < RETRIES && !options?.signal?.aborted; again++) {
    const seconds = Number(response.headers.get("Retry-After") ?? 1);
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
    response = await send();
  }
  if (!response) throw new Error(NO_ANSWER);
  if (response.status === 401)
    throw new Error(token ? "This access token is wrong: enter another above." : "This service requires an access token: enter it above.");
  if (response.status === 404) throw new Hopeless(OTHER_MODEL);
  if (!response.ok) {
    const { detail } = await response.json().catch(() => ({ detail: response.statusText }));
    throw new Error(`The service ${response.status < 500 ? "rejected the request" : "failed"}: ${detail}`);
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
   * @param {AbortSignal} [signal] ends the reading
   * @returns {Promise<import("./runtime.js").Prediction>}
   */
  async read({ data, width, height }, signal) {
    const canvas = canvasOf(new ImageData(data, width, height));
    const file = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
    const form = new FormData();
    form.append("files", file, "picture.png");
    /** @type {{ model: string, readings: Reading[] }} */
    const { model, readings } = await this.#post(form, signal);
    if (model !== this.card.name) throw new Hopeless(OTHER_MODEL);
    const [reading] = readings;
    const rows = (reading.rows.length ? reading.rows : [reading]).map(({ digits, confidence, per_digit, box }) => ({
      digits,
      probability: per_digit,
      confidence,
      box,
      explanation: null,
    }));
    return { rows, warning: reading.warning };
  }

  /**
   * @param {FormData} body
   * @param {AbortSignal} [signal]
   */
  async #post(body, signal) {
    const controller = new AbortController();
    const stop = () => controller.abort();
    const timer = setTimeout(stop, TIMEOUT);
    signal?.addEventListener("abort", stop);
    if (signal?.aborted) stop(); // while the picture was encoded
    try {
      const response = await request("read", { method: "POST", body, signal: controller.signal });
      return await response.json().catch(() => {
        throw new Error(NO_ANSWER);
      });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", stop);
    }
  }
}
