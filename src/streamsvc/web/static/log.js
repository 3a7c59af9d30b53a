// The conversation on the page: questions and answers in a column, with the end in sight.

import { element } from "./element.js";
import { thumbnailOf } from "./images.js";
import { keepAtEnd } from "./tail.js";
import { textOf } from "./transcript.js";
import { Turn } from "./turn.js";

/** @typedef {import("./generation.js").Message} Message */

export class Log {
  #box;
  #turns;

  /** Call it before the last answer grows. */
  keepAtEnd;

  /**
   * @param {Element} box scrolls
   * @param {Element} turns is filled, in the box
   */
  constructor(box, turns) {
    this.#box = box;
    this.#turns = turns;
    this.keepAtEnd = keepAtEnd(box);
  }

  clear() {
    this.#turns.replaceChildren();
  }

  /**
   * @param {import("./options.js").Choices} choices with which the answer is asked for
   * @param {boolean} isLive whether it is asked for now
   * @returns {Turn} an answer that begins
   */
  begin(choices, isLive) {
    const turn = new Turn(choices);
    turn.isLive = isLive;
    this.#show(turn.article);
    turn.begin();
    this.toEnd();
    return turn;
  }

  toEnd() {
    this.#box.scrollTop = this.#box.scrollHeight;
  }

  /**
   * @param {string} prompt
   * @param {Element[]} [thumbnails]
   */
  question(prompt, thumbnails = []) {
    const question = element("p", "question", prompt);
    question.prepend(...thumbnails);
    this.#show(question);
    return question;
  }

  /**
   * Show a conversation that the browser has kept.
   * @param {import("./transcript.js").Transcript} transcript
   * @param {(turn: Turn) => void} onTurn called with each answer
   * @returns {Turn | undefined} the last answer
   */
  transcript(transcript, onTurn) {
    /** @type {Turn | undefined} */
    let turn;
    for (const [at, item] of transcript.items.entries()) {
      turn = this.#item(item) ?? turn;
      if (turn?.item !== item) continue;
      turn.order = { ...item.answer?.choices, messages: transcript.before(at) };
      onTurn(turn);
    }
    this.toEnd();
    return turn;
  }

  /**
   * @param {import("./shelf.js").Item} item
   * @returns {Turn | undefined} if it is an answer
   */
  #item(item) {
    const { message, answer } = item;
    if (answer || message?.role === "assistant") {
      const turn = new Turn(answer?.choices ?? {});
      this.#show(turn.article);
      turn.show(item);
      return turn;
    }
    if (message?.role === "user") this.#asked(message);
    else if (message) this.#show(element("p", "result", `Result: ${message.content}`));
    return undefined;
  }

  /**
   * Remove an answer, and what comes after it.
   * @param {Element} part
   */
  cut(part) {
    while (part.nextElementSibling) part.nextElementSibling.remove();
    part.remove();
  }

  /** Remove the last question, and what comes after it. */
  cutLastQuestion() {
    const question = [...this.#turns.querySelectorAll(":scope > .question")].at(-1);
    if (question) this.cut(question);
  }

  /** @param {Message} question */
  async #asked({ content }) {
    const question = this.question(textOf(content));
    for (const part of typeof content === "string" ? [] : content) {
      if (part.type === "image_url") question.insertBefore(await thumbnailOf(part.image_url.url), question.lastChild);
    }
  }

  /** @param {Element} part */
  #show(part) {
    this.#turns.append(part);
  }
}
