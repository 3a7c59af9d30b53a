// Images in a question: from a file, the clipboard or a drop; made small enough to send, and shown as thumbnails.
// They are drawn on a canvas, so they need no address, and the page's policy allows none.

import { Refused } from "./access.js";
import { element } from "./element.js";

const TYPES = ["image/png", "image/jpeg", "image/webp", "image/gif"]; // those that providers take
const MAX_FILE_BYTES = 20_000_000;
const MAX_BYTES = 150_000; // several have to fit into one request (`limits.max_body_bytes`)
const MAX_IMAGES = 4;
const SIDES_PX = [1280, 960, 640, 320];
const THUMBNAIL_PX = 64;

/** @typedef {{url: string, name: string, thumbnail: HTMLCanvasElement}} Image */

/** The images of the next question. */
export class Images {
  #box;
  #onProblem;
  /** @type {Image[]} */
  #images = [];

  /**
   * @param {Element} box is filled with thumbnails
   * @param {(problem: unknown) => void} onProblem gets a `Refused` with a sentence
   */
  constructor(box, onProblem) {
    this.#box = box;
    this.#onProblem = onProblem;
  }

  /** @param {Iterable<File>} files */
  async add(files) {
    for (const file of files) {
      try {
        if (this.#images.length >= MAX_IMAGES) throw new Refused({ detail: `A question takes up to ${MAX_IMAGES} images.` });
        this.#images.push(await imageOf(file));
      } catch (problem) {
        this.#onProblem(problem);
      }
    }
    this.#draw();
  }

  /** @returns {Image[]} which are then no longer here */
  take() {
    const taken = this.#images;
    this.#images = [];
    this.#draw();
    return taken;
  }

  /** @param {Image[]} images */
  putBack(images) {
    this.#images = images;
    this.#draw();
  }

  #draw() {
    this.#box.replaceChildren(...this.#images.map((image) => {
      const item = element("li");
      const remove = element("button", "", "Remove");
      remove.type = "button";
      remove.setAttribute("aria-label", `Remove ${image.name}`);
      remove.addEventListener("click", () => {
        this.#images = this.#images.filter((other) => other !== image);
        this.#draw();
        document.getElementById("prompt")?.focus(); // the button is gone
      });
      item.append(image.thumbnail, remove);
      return item;
    }));
  }
}

/** @param {DataTransfer | null} data of a drop, or of the clipboard */
export const imagesIn = (data) => [...(data?.files ?? [])].filter(({ type }) => type.startsWith("image/"));

/**
 * Show an image of the conversation again.
 * @param {string} url in base64
 */
export async function thumbnailOf(url) {
  const bytes = Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (char) => char.charCodeAt(0));
  return thumbnail(await createImageBitmap(new Blob([bytes])), "image");
}

/**
 * @param {File} file
 * @returns {Promise<Image>}
 */
async function imageOf(file) {
  const name = file.name || "image";
  if (file.size > MAX_FILE_BYTES) throw new Refused({ detail: `${name} is larger than ${MAX_FILE_BYTES / 1e6} MB.` });
  const bitmap = await createImageBitmap(file).catch(() => {
    throw new Refused({ detail: `${name} is not an image that this browser can read.` });
  });
  const isFine = TYPES.includes(file.type) && file.size <= MAX_BYTES;
  return { url: await dataUrl(isFine ? file : await smaller(bitmap)), name, thumbnail: thumbnail(bitmap, name) };
}

/**
 * @param {ImageBitmap} bitmap
 * @returns {Promise<Blob>} a JPEG
 */
async function smaller(bitmap) {
  for (const side of SIDES_PX) {
    const blob = await new Promise((resolve) => drawn(bitmap, side).toBlob(resolve, "image/jpeg", 0.8));
    if (blob && (blob.size <= MAX_BYTES || side === SIDES_PX.at(-1))) return blob;
  }
  throw new Refused({ detail: "This browser cannot make the image smaller." });
}

/**
 * @param {ImageBitmap} bitmap
 * @param {string} name
 */
function thumbnail(bitmap, name) {
  const canvas = drawn(bitmap, THUMBNAIL_PX);
  canvas.className = "thumbnail";
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  return canvas;
}

/**
 * @param {ImageBitmap} bitmap
 * @param {number} side at most, in pixels
 */
function drawn(bitmap, side) {
  const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const canvas = element("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  if (!pen) throw new Refused({ detail: "This browser cannot draw images." });
  pen.fillStyle = "#fff"; // a JPEG has no transparency
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/**
 * @param {Blob} blob
 * @returns {Promise<string>}
 */
const dataUrl = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Refused({ detail: "The image cannot be read." }));
    reader.readAsDataURL(blob);
  });
