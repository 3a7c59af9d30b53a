// The conversations that the browser keeps: a list of them, and each under a key of its own.

import { isEntry, isItem } from "./kept.js";
import { Store } from "./storage.js";

/** @typedef {import("./generation.js").Message} Message */
/** @typedef {import("./options.js").Choices} Choices */

/**
 * @typedef {object} Item of a conversation, in the order in which they are shown
 * @property {Message | null} message null for an answer of which nothing arrived
 * @property {boolean} [isLeftOut] shown, and not sent: a question that was not answered
 * @property {Ending} [answer] of an answer
 *
 * @typedef {object} Ending how an answer was asked for, and how it ended
 * @property {string} generation its id; empty if the service refused it
 * @property {string} cursor the id of its last event
 * @property {boolean} isOver whether it has ended, as far as the page has seen
 * @property {string} says how, in a sentence
 * @property {boolean} isProblem
 * @property {boolean} isWaiting whether it waits for results of tools
 * @property {string} thoughts the model's reasoning
 * @property {Choices} choices
 *
 * @typedef {{id: string, title: string, at: number, generation: string}} Entry of the list: `at` is when it was
 *   last changed, in milliseconds since 1970; `generation` is the id of its last answer
 */

/** @typedef {"kept" | "too large" | "refused"} Keeping what became of a conversation; "refused": nothing can be stored */

const MAX_CONVERSATIONS = 50;

export class Shelf {
  #store;

  /** @param {string} [prefix] of the keys */
  constructor(prefix) {
    this.#store = new Store(prefix);
  }

  /** @returns {Entry[]} the latest first */
  list() {
    const entries = this.#store.read("list");
    return Array.isArray(entries) ? entries.filter(isEntry) : [];
  }

  /**
   * @param {string} id
   * @returns {Item[]} empty if it is not stored, or cannot be read
   */
  load(id) {
    const items = this.#store.read(id);
    return Array.isArray(items) && items.every(isItem) ? items : [];
  }

  /**
   * Store a conversation; if there is no room, the oldest others make some, unless it is too large even without them.
   * @param {Entry} entry
   * @param {Item[]} items
   * @returns {Keeping}
   */
  save(entry, items) {
    const listed = this.list();
    const others = listed.filter(({ id }) => id !== entry.id);
    /** @type {Map<string, string>} */
    const removed = new Map();
    while (others.length >= MAX_CONVERSATIONS) this.#remove(others, removed);
    const text = JSON.stringify(items);
    while (!(this.#store.write(entry.id, text) && this.#store.write("list", JSON.stringify([entry, ...others])))) {
      if (others.length) {
        this.#remove(others, removed);
      } else {
        if (!listed.some(({ id }) => id === entry.id)) this.#store.forget(entry.id);
        removed.forEach((text, id) => this.#store.write(id, text));
        return this.#mayStore() ? "too large" : "refused";
      }
    }
    return "kept";
  }

  /** @param {string} id */
  delete(id) {
    this.#store.write("list", JSON.stringify(this.list().filter((entry) => entry.id !== id)));
    this.#store.forget(id);
  }

  #mayStore() {
    const mayStore = this.#store.write("trial", "");
    this.#store.forget("trial");
    return mayStore;
  }

  /**
   * @param {Entry[]} entries the last of which is removed
   * @param {Map<string, string>} removed gets what it was, by id
   */
  #remove(entries, removed) {
    const { id } = /** @type {Entry} */ (entries.pop());
    removed.set(id, this.#store.text(id) ?? "");
    this.#store.forget(id);
  }
}
