// The lesson: one answer, waited for and read along, side by side.

import { Answer } from "./answer.js";
import { sentenceOf } from "./conversation.js";
import { create, eventsOf, snapshot } from "./generation.js";
import { Viewer } from "./viewer.js";

/** @param {number} ms */
const seconds = (ms) => `${(ms / 1000).toFixed(ms < 1000 ? 2 : 1)} s`;

/** A page that shows an answer, and a stopwatch over it. */
class Lane {
  #first;
  #end;
  #bar;
  #began = 0;
  answer;
  firstMs = 0;
  endMs = 0;

  /** @param {Element} article */
  constructor(article) {
    const part = (/** @type {string} */ name) => /** @type {HTMLElement} */ (article.querySelector(name));
    this.#first = part(".first");
    this.#end = part(".end");
    this.#bar = part(".bar i");
    this.answer = new Answer(part(".answer"));
  }

  /** @param {number} now */
  begin(now) {
    this.#began = now;
    this.firstMs = this.endMs = 0;
    this.answer.clear();
    this.draw();
  }

  /** @param {string} text */
  show(text) {
    this.firstMs ||= performance.now() - this.#began;
    this.answer.append(text);
  }

  end() {
    this.endMs ||= performance.now() - this.#began;
    this.answer.finish();
    this.draw();
  }

  draw() {
    const now = this.endMs || performance.now() - this.#began;
    this.#first.textContent = this.firstMs ? seconds(this.firstMs) : "–";
    this.#end.textContent = this.endMs ? seconds(this.endMs) : `… ${seconds(now)}`;
    const reading = this.firstMs && now ? 1 - this.firstMs / now : 0;
    this.#bar.style.width = `${Math.round(100 * reading)}%`; // the share of the time with something to read
  }
}

export class Lesson {
  #waits;
  #streams;
  #verdict;

  /**
   * @param {Element} waits
   * @param {Element} streams
   * @param {Element} verdict
   */
  constructor(waits, streams, verdict) {
    this.#waits = new Lane(waits);
    this.#streams = new Lane(streams);
    this.#verdict = verdict;
  }

  /**
   * @param {string} prompt
   * @param {string} provider
   */
  async run(prompt, provider) {
    const lanes = [this.#waits, this.#streams];
    const began = performance.now();
    for (const lane of lanes) lane.begin(began);
    this.#verdict.textContent = "Both have asked.";
    const timer = setInterval(() => lanes.forEach((lane) => lane.endMs || lane.draw()), 100);
    try {
      const { id } = await create({ messages: [{ role: "user", content: prompt }], provider });
      const [error] = await Promise.all([this.#stream(id), this.#wait(id)]);
      this.#verdict.textContent = error ?? this.#comparison();
    } catch (problem) {
      this.#verdict.textContent = sentenceOf(problem);
    } finally {
      clearInterval(timer);
      for (const lane of lanes) lane.end();
    }
  }

  /**
   * As a page does it that waits: nothing is shown before everything is there.
   * @param {string} id
   */
  async #wait(id) {
    await (await fetch(eventsOf(id))).text();
    this.#waits.show((await snapshot(id)).text);
    this.#waits.end();
  }

  /**
   * @param {string} id
   * @returns {Promise<string | null>} the sentence of its error, if it failed
   */
  #stream(id) {
    return new Promise((resolve) => {
      new Viewer(
        id,
        (event) => {
          if (event.type === "start" || event.type === "restart") this.#streams.answer.clear();
          if (event.type === "text") this.#streams.show(event.text ?? "");
          if (event.type !== "done") return;
          this.#streams.end();
          resolve(event.error?.message ?? null);
        },
        (state) => state === "refused" && resolve("The connection was lost."),
      ).connect();
    });
  }

  #comparison() {
    const [waited, streamed] = [this.#waits, this.#streams];
    const times = Math.max(1, Math.round(waited.firstMs / streamed.firstMs));
    return (
      `Both ended after ${seconds(streamed.endMs)}. On the left there was nothing to read for ` +
      `${seconds(waited.firstMs)}; on the right for ${seconds(streamed.firstMs)}, ${times} times less. ` +
      "The total is the same; the wait is gone, because people read along while the rest is written."
    );
  }
}
