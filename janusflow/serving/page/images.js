/** Images as the page holds them: blobs, data URLs, and what an <img> shows. */
import { ServerError } from "./server/server.js";

/** Longest side of an image that is sent; models look at far fewer pixels. */
const MAX_SIDE = 2048;
const latest = new WeakMap();

/**
 * A blob from base64.
 * @param {string} text
 * @param {string} type
 */
export function blobFromBase64(text, type = "image/png") {
  const bytes = Uint8Array.from(atob(text), (each) => each.charCodeAt(0));
  return new Blob([bytes], { type });
}

/**
 * A data URL that holds the blob.
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
export function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/**
 * Show another image in the same node, without an empty moment between: it is decoded first.
 * Of images that come faster than they are decoded, an older one never replaces a newer one.
 * @param {HTMLImageElement} node
 * @param {string} url
 */
export async function showDecoded(node, url) {
  const turn = (latest.get(node) ?? 0) + 1;
  latest.set(node, turn);
  const next = new Image();
  next.src = url;
  await next.decode();
  if (latest.get(node) === turn) node.src = url;
}

/**
 * The image in a file as a blob to send: as it is, or smaller if it is very large.
 * @param {File | Blob} file
 * @param {{square?: boolean}} options `square` cuts out the central square, which is what is drawn
 * @throws {ServerError} it is no image that this browser knows
 */
export async function readImage(file, { square = false } = {}) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new ServerError("error.image", { name: file.name ?? "?" });
  }
  const { width, height } = bitmap;
  const side = Math.min(width, height);
  const [cutWidth, cutHeight] = square ? [side, side] : [width, height];
  const scale = Math.min(1, MAX_SIDE / Math.max(cutWidth, cutHeight));
  const isFit = scale === 1 && cutWidth === width && cutHeight === height;
  if (isFit && ["image/png", "image/jpeg", "image/webp"].includes(file.type)) return file;
  const canvas = document.createElement("canvas");
  canvas.width = Math.round(cutWidth * scale);
  canvas.height = Math.round(cutHeight * scale);
  const [left, top] = [(width - cutWidth) / 2, (height - cutHeight) / 2];
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, left, top, cutWidth, cutHeight, 0, 0, canvas.width, canvas.height);
  return pngOf(canvas);
}

/**
 * What a canvas shows, as PNG.
 * @param {HTMLCanvasElement} canvas
 * @returns {Promise<Blob>}
 */
export function pngOf(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/**
 * Take images that are dropped anywhere or pasted while a part of the page is shown. Text that is
 * dragged or pasted goes where it always goes.
 * @param {HTMLElement} panel gets the class `dropping` while files are dragged over the page
 * @param {(images: File[]) => void} take called with at least one
 */
export function onImages(panel, take) {
  const hasFiles = (event) => !panel.hidden && event.dataTransfer.types.includes("Files");
  const found = (transfer) => [...transfer.files].filter((file) => file.type.startsWith("image/"));
  document.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    panel.classList.add("dropping");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) panel.classList.remove("dropping");
  });
  document.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    panel.classList.remove("dropping");
    const images = found(event.dataTransfer);
    if (images.length) take(images);
  });
  document.addEventListener("paste", (event) => {
    const images = panel.hidden ? [] : found(event.clipboardData);
    if (images.length === 0) return;
    event.preventDefault();
    take(images);
  });
}
