// The messages of a conversation, with what the browser keeps of each answer.

import { Shelf } from "./shelf.js";

/**
 * @typedef {import("./generation.js").Message} Message
 * @typedef {import("./options.js").Choices} Choices
 * @typedef {import("./shelf.js").Item} Item
 * @typedef {import("./shelf.js").Ending} Ending
 */

const TITLE_CHARS = 60;

export class Transcript {
  #shelf;
  /** @type {Item[]} */
  #items = [];

  /** Empty until something is asked. */
  id = "";

  /** @type {import("./shelf.js").Keeping} what became of it when it was last to be kept */
  keeping = "kept";

  /** @param {Shelf} shelf */
  constructor(shelf) {
    this.#shelf = shelf;
  }

  /** What is sent with the next question. */
  get messages() {
    return sent(this.#items);
  }

  /** @returns {readonly Item[]} */
  get items() {
    return this.#items;
  }

  get last() {
    return this.#items.at(-1);
  }

  /** The last question. */
  get question() {
    return this.#items.filter(({ message }) => message?.role === "user").at(-1)?.message;
  }

  /** Its text. */
  get lastQuestion() {
    return textOf(this.question?.content ?? "");
  }

  /**
   * What was sent for an answer.
   * @param {number} at its place among the items
   */
  before(at) {
    const items = this.#items.slice(0, at);
    return sent([...items.slice(0, -1), ...items.slice(-1).map(({ message }) => ({ message }))]);
  }

  clear() {
    this.id = "";
    this.#items = [];
    this.keeping = "kept";
  }

  /**
   * @param {string} id
   * @returns {boolean} whether the browser has it
   */
  open(id) {
    const items = this.#shelf.load(id);
    if (!items.length) return false;
    this.id = id;
    this.#items = items;
    this.keeping = "kept";
    return true;
  }

  /**
   * Open the conversation that ends with this answer.
   * @param {string} generation
   */
  openAt(generation) {
    const entry = this.#shelf.list().find((one) => one.generation === generation);
    return Boolean(entry && this.open(entry.id));
  }

  /**
   * @param {Message[]} messages a question, or results of tools
   * @returns {Item[]} to take them back
   */
  add(messages) {
    const items = messages.map((message) => ({ message }));
    this.#items.push(...items);
    return items;
  }

  /**
   * An answer begins.
   * @param {Choices} choices
   * @returns {Item & {answer: Ending}}
   */
  begin(choices) {
    const answer = {
      generation: "", cursor: "", isOver: false, says: "", isProblem: false, isWaiting: false, thoughts: "", choices,
    };
    const item = { message: null, answer };
    this.#items.push(item);
    return item;
  }

  /** @param {Item[]} items */
  takeBack(items) {
    this.#items = this.#items.filter((item) => !items.includes(item));
  }

  /** A question without an answer is shown, and not sent. */
  leaveOutUnanswered() {
    const [question, answer] = this.#items.slice(-2);
    if (question?.message?.role === "user" && answer?.answer && !answer.message) question.isLeftOut = true;
  }

  /** Forget the last answer, so that it can be asked for again. */
  rewindAnswer() {
    if (this.last?.answer) this.#items.pop();
    if (this.last) this.last.isLeftOut = false;
  }

  /** Forget the last question, and what came of it. */
  rewindQuestion() {
    const at = this.#items.map(({ message }) => message?.role).lastIndexOf("user");
    if (at >= 0) this.#items.splice(at);
  }

  /** Let the browser keep it. */
  save() {
    if (!this.#items.length) return;
    this.id ||= newId();
    const generation = this.#items.filter(({ answer }) => answer).at(-1)?.answer?.generation ?? "";
    this.keeping = this.#shelf.save({ id: this.id, title: titleOf(this.#items), at: Date.now(), generation }, this.#items);
  }
}

/** @param {Item[]} items */
const sent = (items) => items.flatMap(({ message, isLeftOut }) => (message && !isLeftOut ? [message] : []));

/** @param {Item[]} items */
function titleOf(items) {
  const content = items.find(({ message }) => message?.role === "user")?.message?.content ?? "";
  const text = (typeof content === "string" ? content : textOf(content)).trim().replace(/\s+/g, " ");
  return text.length > TITLE_CHARS ? `${text.slice(0, TITLE_CHARS)}…` : text || "An image";
}

/** @param {Message["content"]} content */
export const textOf = (content) =>
  typeof content === "string" ? content : content.map((part) => (part.type === "text" ? part.text : "")).join("");

/** `crypto.randomUUID` is only there in pages with TLS. */
const newId = () => Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("");
