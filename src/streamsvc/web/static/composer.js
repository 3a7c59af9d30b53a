// Where a question is written: it grows, takes images, and brings the last question back.

import { imagesIn, thumbnailOf } from "./images.js";
import { textOf } from "./transcript.js";

/**
 * @typedef {import("./images.js").Image} Image
 * @typedef {import("./generation.js").Message} Message
 *
 * @typedef {object} Parts
 * @property {HTMLFormElement} form
 * @property {HTMLTextAreaElement} prompt
 * @property {HTMLInputElement} image a field for files
 * @property {HTMLElement} editing shown while the last question is edited; has a button
 */

export class Composer {
  #parts;
  #images;
  #onAsk;
  #isEditing = false;

  /** @type {() => string} the last question */
  recall = () => "";

  /**
   * @param {Parts} parts
   * @param {import("./images.js").Images} images
   * @param {(text: string, images: Image[], isEdited: boolean) => Promise<boolean>} onAsk whether it was accepted
   */
  constructor(parts, images, onAsk) {
    this.#parts = parts;
    this.#images = images;
    this.#onAsk = onAsk;
    this.#listenToKeys();
    this.#listenToImages();
    parts.editing.querySelector("button")?.addEventListener("click", () => this.cancel());
  }

  /**
   * Send a question.
   * @param {string} text
   */
  async ask(text) {
    if (!text.trim()) return;
    const { prompt } = this.#parts;
    if (prompt.value === text) this.#write("");
    const taken = this.#images.take();
    const isEdited = this.#isEditing;
    this.#edit(false);
    if (await this.#onAsk(text, taken, isEdited)) return;
    this.#images.putBack(taken);
    if (prompt.value) return;
    this.#write(text);
    this.#edit(isEdited);
  }

  /**
   * Let the last question be written differently.
   * @param {Message} question
   */
  async edit({ content }) {
    this.#edit(true);
    this.#write(textOf(content));
    this.#parts.prompt.focus();
    const urls = (typeof content === "string" ? [] : content).flatMap((part) =>
      part.type === "image_url" ? [part.image_url.url] : []);
    const name = "image";
    this.#images.putBack(await Promise.all(urls.map(async (url) => ({ url, name, thumbnail: await thumbnailOf(url) }))));
  }

  /** Write a new question instead. */
  cancel() {
    if (!this.#isEditing) return;
    this.#edit(false);
    this.#clear();
    this.#parts.prompt.focus();
  }

  /**
   * Forget a question that is asked again; the draft of another one stays.
   * @param {string} question
   */
  forget(question) {
    if (!this.#isEditing && this.#parts.prompt.value !== question) return;
    this.#edit(false);
    this.#clear();
  }

  #clear() {
    this.#write("");
    this.#images.take();
  }

  /** The question has another answer now: what is written is the draft of a new one. */
  endEdit() {
    this.#edit(false);
  }

  get isEditing() {
    return this.#isEditing;
  }

  /** @param {boolean} isEditing */
  #edit(isEditing) {
    this.#isEditing = isEditing;
    this.#parts.editing.hidden = !isEditing;
  }

  /** @param {string} text */
  #write(text) {
    this.#parts.prompt.value = text;
    this.#grow();
  }

  /** Where the browser does not do that by itself (`field-sizing`). */
  #grow() {
    const { prompt } = this.#parts;
    if (CSS.supports("field-sizing", "content")) return;
    prompt.style.height = "auto";
    prompt.style.height = `${prompt.scrollHeight}px`;
  }

  #listenToKeys() {
    const { form, prompt } = this.#parts;
    prompt.addEventListener("input", () => this.#grow());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.ask(prompt.value);
    });
    prompt.addEventListener("keydown", (event) => {
      if (event.isComposing) return;
      if (event.key === "Enter" && !event.shiftKey) {
        event.preventDefault();
        this.ask(prompt.value);
      } else if (event.key === "ArrowUp" && !prompt.value && this.recall()) {
        event.preventDefault();
        this.#write(this.recall());
      }
    });
  }

  #listenToImages() {
    const { form, prompt, image } = this.#parts;
    image.addEventListener("change", async () => {
      await this.#images.add(image.files ?? []);
      image.value = ""; // the same file may be chosen again
    });
    prompt.addEventListener("paste", (event) => {
      const pasted = imagesIn(event.clipboardData);
      if (pasted.length) event.preventDefault();
      this.#images.add(pasted);
    });
    form.addEventListener("dragover", (event) => event.preventDefault());
    form.addEventListener("drop", (event) => {
      if (!event.dataTransfer?.files.length) return; // text goes where it is dropped
      event.preventDefault();
      this.#images.add(event.dataTransfer.files);
    });
  }
}
