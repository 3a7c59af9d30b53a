// Marks in an answer. In the source a mark is one character, which its words cannot contain.

/** A code point that is not a character, for use within a program (The Unicode Standard, section 23.7). */
export const SEAM = "\uFDD0";

const REPLACEMENT = "\uFFFD";

/**
 * Return a piece of an answer without the character that stands for a mark.
 * @param {string} piece
 */
export const withoutSeams = (piece) => (piece.includes(SEAM) ? piece.replaceAll(SEAM, REPLACEMENT) : piece);

/** @param {string} source */
export const countSeams = (source) => (source.includes(SEAM) ? source.split(SEAM).length - 1 : 0);

// A mark before "**word" or "2. word" stands before the word, or the Markdown would no longer be what it is.
const BEFORE_MARKUP =
  /(\uFDD0+)((?:[^\p{L}\p{N}\uFDD0]|(?<=^[ \t>\uFDD0]*)\d{1,9}[.)][ \t])+)(?=[\p{L}\p{N}])/gmu;

/**
 * Move each mark to the next word.
 * @param {string} source
 */
export const toWords = (source) => (source.includes(SEAM) ? source.replace(BEFORE_MARKUP, "$2$1") : source);

/**
 * @param {string} label
 * @returns {import("./draw.js").Branch}
 */
export const seam = (label) => ({ tag: "span", attributes: { class: "seam", "data-label": label }, children: [] });

/** Gives each mark of a source its label, in their order. */
export class Labels {
  #labels;
  #next;

  /**
   * @param {readonly string[]} labels of the whole answer
   * @param {number} first the index of the first mark of the source
   */
  constructor(labels, first) {
    this.#labels = labels;
    this.#next = first;
  }

  /**
   * Return a text with its marks as trees.
   * @param {string} text
   * @returns {import("./draw.js").Tree[]}
   */
  split(text) {
    if (!text.includes(SEAM)) return text ? [text] : [];
    return text.split(SEAM).flatMap((part, at) => [...(at ? [this.take()] : []), ...(part ? [part] : [])]);
  }

  /** Return the next mark. */
  take() {
    return seam(this.#labels[this.#next++] ?? "");
  }

  /** Return the next marks, up to the one with an index, which is not among them. */
  *upTo(/** @type {number} */ end) {
    while (this.#next < end) yield this.take();
  }
}
