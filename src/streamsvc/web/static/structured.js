// A structured answer: JSON that grows, and is laid out and checked when it is whole.

import { codeBlock } from "./code.js";
import { element } from "./element.js";
import { mismatch } from "./schema.js";

export class StructuredAnswer {
  #element;
  #schema;
  /** @type {Text | null} */
  #node = null;

  /** All of it, as it came. */
  text = "";

  /**
   * @param {Element} box is filled
   * @param {any} schema
   */
  constructor(box, schema) {
    this.#element = box;
    this.#schema = schema;
  }

  clear() {
    this.#element.replaceChildren();
    this.#node = null;
    this.text = "";
  }

  /** @param {string} piece */
  append(piece) {
    this.text += piece;
    if (!this.#node) {
      const { figure, code } = codeBlock("JSON", "Structured answer");
      this.#node = document.createTextNode("");
      code.append(this.#node);
      this.#element.append(figure);
    }
    this.#node.appendData(piece);
  }

  /** The words that are marked would be part of the JSON, so the mark stands below. */
  mark(/** @type {string} */ label) {
    this.#element.append(element("p", "hint", label));
  }

  /** The answer is over: lay it out, and say whether it fits. */
  finish() {
    if (!this.#node) return;
    const verdict = element("p", "check");
    this.#element.append(verdict);
    try {
      const value = JSON.parse(this.text);
      this.#node.data = JSON.stringify(value, null, 2);
      const wrong = mismatch(value, this.#schema);
      verdict.textContent = wrong ? `It does not fit the schema: ${wrong}` : "It fits the schema.";
      verdict.classList.toggle("problem", Boolean(wrong));
    } catch {
      verdict.textContent = "This is not whole JSON.";
      verdict.classList.add("problem");
    }
  }
}
