// The row of buttons below an answer: copy it, ask again, edit the question.

import { toClipboard } from "./clipboard.js";
import { element } from "./element.js";

const SAID_MS = 1500;

export class Actions {
  #copy = button("Copy answer");
  #again = button("Ask again");
  #edit = button("Edit question");

  /** The row; others may add buttons to it. */
  row = element("div", "actions");

  /** @type {() => void} */
  onAgain = () => {};

  /** @type {() => void} */
  onEdit = () => {};

  /**
   * @param {Element} answer
   * @param {() => string} textOf the answer, as it came
   */
  constructor(answer, textOf) {
    this.row.setAttribute("role", "group");
    this.row.setAttribute("aria-label", "With this answer");
    this.row.append(this.#copy, this.#again, this.#edit);
    this.#copy.addEventListener("click", async () => {
      this.#copy.textContent = (await toClipboard(answer, textOf())) ? "Copied" : "Selected";
      setTimeout(() => (this.#copy.textContent = "Copy answer"), SAID_MS);
    });
    this.#again.addEventListener("click", () => this.onAgain());
    this.#edit.addEventListener("click", () => this.onEdit());
    this.offer(false, false);
  }

  /**
   * @param {boolean} hasText whether there is something to copy
   * @param {boolean} isLast whether it may be asked for again
   */
  offer(hasText, isLast) {
    this.#copy.hidden = !hasText;
    this.#again.hidden = this.#edit.hidden = !isLast;
  }
}

/** @param {string} name */
function button(name) {
  const made = element("button", "", name);
  made.type = "button";
  return made;
}
