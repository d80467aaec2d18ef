// Get pictures: from files, the clipboard and dropped data, upright, as the pixels that a model reads.

/** Longer side that a picture is reduced to, pixels: what is written stays legible, and a phone has the memory. */
const LONGEST_SIDE = 1280;

/**
 * Decode a file. The browser turns it upright by its EXIF orientation.
 * @param {Blob} file
 * @returns {Promise<HTMLCanvasElement>}
 * @throws {Error} with a message for people, if it is no picture
 */
export async function decode(file) {
  const address = URL.createObjectURL(file);
  try {
    const image = new Image();
    image.src = address;
    await image.decode();
    const scale = Math.min(1, LONGEST_SIDE / Math.max(image.naturalWidth, image.naturalHeight));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(image.naturalWidth * scale));
    canvas.height = Math.max(1, Math.round(image.naturalHeight * scale));
    const context = contextOf(canvas);
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height);
    return canvas;
  } catch {
    throw new Error("This file is not a picture that your browser can open. Choose a PNG, JPEG or WebP file.");
  } finally {
    URL.revokeObjectURL(address);
  }
}

/**
 * @param {HTMLCanvasElement} canvas
 * @returns {import("./runtime.js").Rgba}
 */
export function pixelsOf(canvas) {
  const { data, width, height } = contextOf(canvas).getImageData(0, 0, canvas.width, canvas.height);
  return { data, width, height };
}

/**
 * @param {ImageData} image
 * @returns {HTMLCanvasElement}
 */
export function canvasOf(image) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  contextOf(canvas).putImageData(image, 0, 0);
  return canvas;
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
