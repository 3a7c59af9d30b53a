// The dialog that asks for a key when the service wants one.

import { tryKey } from "./access.js";

export class KeyDialog {
  #dialog;
  #form;
  #field;
  #problem;
  #onAccepted;
  #isAccepted = false;

  /**
   * @param {HTMLDialogElement} dialog has a form with a password field, a `.problem` and a button `.cancel`
   * @param {() => void} onAccepted called with each new key, once it is in use
   */
  constructor(dialog, onAccepted) {
    const part = (/** @type {string} */ selector) => /** @type {any} */ (dialog.querySelector(selector));
    this.#dialog = dialog;
    this.#form = part("form");
    this.#field = part("input");
    this.#problem = part(".problem");
    this.#onAccepted = onAccepted;
    this.#form.addEventListener("submit", (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.#try();
    });
    part(".cancel").addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => event.stopPropagation()); // Escape closes it, and stops no answer
  }

  /**
   * Ask for a key until one is accepted, or the person cancels.
   * @param {string} reason why one is needed, if it is not the first
   * @returns {Promise<boolean>} whether one was accepted
   */
  ask(reason) {
    this.#isAccepted = false;
    this.#problem.textContent = reason;
    this.#dialog.showModal();
    return new Promise((resolve) => {
      const closed = () => {
        this.#field.value = this.#problem.textContent = "";
        resolve(this.#isAccepted);
      };
      this.#dialog.addEventListener("close", closed, { once: true });
    });
  }

  async #try() {
    this.#problem.textContent = "";
    const sentence = await tryKey(this.#field.value.trim());
    if (!this.#dialog.open) return; // cancelled meanwhile
    if (sentence) {
      this.#problem.textContent = sentence;
      this.#field.select();
      return;
    }
    this.#isAccepted = true;
    this.#onAccepted();
    this.#dialog.close();
  }
}
