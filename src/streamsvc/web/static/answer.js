// An answer that grows, with its Markdown.

import { draw } from "./draw.js";
import { Labels, SEAM, withoutSeams } from "./seams.js";

const SHARE = 4; // after drawing it rests four times as long as that took, however costly an answer is

/** @type {typeof import("./sheet.js").Sheet | null} null before Markdown can be read */
let Sheet = null;
/** @type {Set<() => void>} */
const waiting = new Set();

/** Resolves when Markdown can be read. Until then, and if it cannot be loaded, an answer is plain text. */
export const ready = import("./sheet.js").then(
  (module) => {
    Sheet = module.Sheet;
    for (const redraw of waiting) redraw();
    waiting.clear();
  },
  () => {},
);

export class Answer {
  #element;
  /** @type {import("./sheet.js").Sheet | null} */
  #sheet = null;
  /** What is not drawn: its line ends are "\n", and a mark is one character. */
  #fresh = "";
  #endsWithReturn = false;
  /** @type {string[]} */
  #labels = [];
  #frame = 0;
  #isStale = false;
  #isFinished = false;
  #notBefore = 0;

  /** All of it, as it came. */
  text = "";

  /** @param {Element} element is filled */
  constructor(element) {
    this.#element = element;
  }

  clear() {
    cancelAnimationFrame(this.#frame);
    waiting.delete(this.#redraw);
    this.#element.replaceChildren();
    this.#sheet = null;
    this.#fresh = this.text = "";
    this.#labels = [];
    this.#frame = this.#notBefore = 0;
    this.#endsWithReturn = this.#isStale = this.#isFinished = false;
  }

  /** @param {string} piece */
  append(piece) {
    if (!piece) return;
    this.text += piece;
    const isSecondHalf = this.#endsWithReturn && piece.startsWith("\n");
    this.#endsWithReturn = piece.endsWith("\r");
    this.#add(withoutSeams(isSecondHalf ? piece.slice(1) : piece).replace(/\r\n?/g, "\n"));
  }

  /**
   * Mark this position; the label is not part of the text.
   * @param {string} label
   */
  mark(label) {
    this.#labels.push(label);
    this.#add(SEAM);
  }

  /** The answer is over: what is still open is what it is. */
  finish() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#isFinished = true;
    this.#redraw();
  }

  /** @param {string} source */
  #add(source) {
    this.#fresh += source;
    this.#isStale = true;
    if (this.#frame) return; // the first word of a frame is drawn at once, the others together with the next frame
    this.#redraw();
    this.#wait();
  }

  #wait() {
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      const isRested = performance.now() >= this.#notBefore;
      if (isRested && !this.#isStale) return;
      if (isRested) this.#redraw();
      this.#wait();
    });
  }

  #redraw = () => {
    const began = performance.now();
    this.#isStale = false;
    if (Sheet) this.#draw(Sheet);
    else this.#drawPlain();
    const now = performance.now();
    this.#notBefore = now + SHARE * (now - began);
  };

  /** @param {typeof import("./sheet.js").Sheet} Made */
  #draw(Made) {
    this.#sheet ??= new Made(this.#element, this.#labels);
    const fresh = this.#fresh;
    this.#fresh = "";
    if (this.#isFinished) this.#sheet.finish(fresh);
    else this.#sheet.grow(fresh);
  }

  #drawPlain() {
    waiting.add(this.#redraw);
    draw(this.#element, [{ tag: "p", children: new Labels(this.#labels, 0).split(this.#fresh) }]);
  }
}
