// Get pictures: from files, the clipboard and dropped data, upright, as the pixels that a model reads.

/** Longer side that a picture is reduced to, pixels: what is written stays legible, and a phone has the memory. */
const LONGEST_SIDE = 2000;

/**
 * Decode a file. The browser turns it upright by its EXIF orientation.
 * @param {Blob} file
 * @returns {Promise<HTMLCanvasElement>}
 * @throws {Error} with a message for people, if it is no picture
 */
export async function decode(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error("This file is not a picture that your browser can open: choose a PNG, JPEG or WebP file.");
  }
  const scale = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const context = contextOf(canvas);
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return canvas;
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {import("./runtime.js").Rgba}
 */
export function pixelsOf(canvas) {
  const { data, width, height } = contextOf(canvas).getImageData(0, 0, canvas.width, canvas.height);
  return { data: new Uint8Array(data.buffer), width, height };
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {CanvasRenderingContext2D}
 */
export function contextOf(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("This browser cannot draw.");
  return context;
}

/**
 * @param {DataTransfer | null} data what was dropped or pasted
 * @returns {Blob | null} its first file
 */
export function firstFile(data) {
  return data?.files[0] ?? null;
}
