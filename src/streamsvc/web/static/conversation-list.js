// The list of the conversations that the browser keeps.

import { element } from "./element.js";

/** @typedef {import("./shelf.js").Entry} Entry */

export class ConversationList {
  #list;
  #onOpen;
  #onDelete;

  /**
   * @param {HTMLElement} list is filled
   * @param {(id: string) => void} onOpen
   * @param {(id: string) => void} onDelete
   */
  constructor(list, onOpen, onDelete) {
    this.#list = list;
    this.#onOpen = onOpen;
    this.#onDelete = onDelete;
  }

  /**
   * @param {Entry[]} entries
   * @param {string} current the id of the conversation that is shown
   */
  show(entries, current) {
    const focused = [...this.#list.querySelectorAll("button")].findIndex((button) => button === document.activeElement);
    this.#list.replaceChildren(...entries.map((entry) => this.#row(entry, entry.id === current)));
    if (focused < 0) return;
    const buttons = this.#list.querySelectorAll("button");
    const next = buttons[Math.min(focused, buttons.length - 1)] ?? document.getElementById("prompt");
    next?.focus(); // the button that had the focus is another one now
  }

  /**
   * @param {Entry} entry
   * @param {boolean} isCurrent
   */
  #row({ id, title, at }, isCurrent) {
    const row = element("li");
    const open = element("button", "open quiet", title);
    const remove = element("button", "delete quiet", "✕");
    for (const button of [open, remove]) button.type = "button";
    open.title = new Date(at).toLocaleString();
    if (isCurrent) open.setAttribute("aria-current", "true");
    remove.setAttribute("aria-label", `Delete ${title}`);
    remove.title = "Delete";
    open.addEventListener("click", () => this.#onOpen(id));
    remove.addEventListener("click", () => this.#onDelete(id));
    row.append(open, remove);
    return row;
  }
}
