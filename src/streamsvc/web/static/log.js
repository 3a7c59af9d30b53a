// The conversation on the page: questions and answers below one another, with the end in sight.

import { element } from "./element.js";
import { thumbnailOf } from "./images.js";
import { keepAtEnd } from "./tail.js";
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
   * @returns {Turn} an answer that begins
   */
  begin(choices) {
    const turn = new Turn(choices);
    this.#show(turn.article);
    turn.begin();
    this.#box.scrollTop = this.#box.scrollHeight;
    return turn;
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
   * Show a message of the conversation before a reload.
   * @param {Message} message
   */
  async message(message) {
    const { role, content } = message;
    if (role === "user") {
      const parts = typeof content === "string" ? [] : content;
      const question = this.question(textOf(content));
      for (const part of parts) {
        if (part.type !== "image_url") continue;
        question.insertBefore(await thumbnailOf(part.image_url.url), question.lastChild);
      }
    } else if (role === "assistant") {
      const turn = new Turn({});
      this.#show(turn.article);
      turn.show(message);
    } else {
      this.#show(element("p", "result", `Result: ${content}`));
    }
  }

  /** @param {Element} part */
  #show(part) {
    this.#turns.append(part);
  }
}

/** @param {Message["content"]} content */
const textOf = (content) =>
  typeof content === "string" ? content : content.map((part) => (part.type === "text" ? part.text : "")).join("");
