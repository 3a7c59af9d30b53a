// The lesson: waiting for an answer and reading along, side by side.

import { Refused, send } from "./access.js";
import { Answer } from "./answer.js";
import { sentenceOf } from "./sentences.js";
import { create, eventsOf, snapshot, stop } from "./generation.js";
import { Viewer } from "./viewer.js";

/** @param {number} ms */
const seconds = (ms) => `${(ms / 1000).toFixed(ms < 1000 ? 2 : 1)} s`;

const lost = () => new Refused({ detail: "The connection was lost; start both again." });

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
    if (text) this.firstMs ||= performance.now() - this.#began;
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
  #id = "";
  /** Whether the page was hidden meanwhile, when a browser may be late. */
  #wasHidden = false;
  /** Aborted when the page is left: what is measured then is the page's absence. */
  #waiting = new AbortController();

  /**
   * @param {Element} waits
   * @param {Element} streams
   * @param {Element} verdict
   */
  constructor(waits, streams, verdict) {
    this.#waits = new Lane(waits);
    this.#streams = new Lane(streams);
    this.#verdict = verdict;
    addEventListener("pagehide", () => this.#waiting.abort());
    document.addEventListener("visibilitychange", () => (this.#wasHidden ||= document.hidden));
  }

  /**
   * @param {string} prompt
   * @param {string | undefined} provider
   */
  async run(prompt, provider) {
    const lanes = [this.#waits, this.#streams];
    const began = performance.now();
    for (const lane of lanes) lane.begin(began);
    this.#verdict.textContent = "Both have asked.";
    this.#wasHidden = document.hidden;
    const timer = setInterval(() => lanes.forEach((lane) => lane.endMs || lane.draw()), 100);
    this.#waiting = new AbortController();
    /** @type {Viewer | undefined} */
    let viewer;
    try {
      const { id } = await create({ messages: [{ role: "user", content: prompt }], provider });
      this.#id = id;
      const streamed = new Promise((resolve, reject) => {
        viewer = this.#stream(id, resolve, reject);
      });
      const [error] = await Promise.all([streamed, this.#wait(id)]);
      this.#verdict.textContent = error ?? this.#comparison();
    } catch (problem) {
      this.#verdict.textContent = sentenceOf(problem);
    } finally {
      viewer?.close();
      this.#id = "";
      clearInterval(timer);
      for (const lane of lanes) lane.end();
    }
  }

  /**
   * Like a page that waits: show nothing before the whole answer is there.
   * @param {string} id
   */
  async #wait(id) {
    await send(eventsOf(id), { signal: this.#waiting.signal })
      .then((response) => response.text())
      .catch(() => Promise.reject(lost()));
    const { status, text } = await snapshot(id);
    if (status === "running") throw lost();
    this.#waits.show(text);
    this.#waits.end();
  }

  /**
   * Like a page that streams.
   * @param {string} id
   * @param {(error: string | undefined) => void} onEnd gets the sentence of its error, if it failed
   * @param {(problem: Refused) => void} onLost
   */
  #stream(id, onEnd, onLost) {
    const lane = this.#streams;
    const viewer = new Viewer(
      id,
      (event) => {
        if (event.type === "start" || event.type === "restart") lane.answer.clear();
        if (event.type === "text") lane.show(event.text ?? "");
        if (event.type !== "done") return;
        lane.end();
        onEnd(event.error?.message);
      },
      (state) => (state === "refused" || state === "reconnecting") && onLost(lost()),
    );
    viewer.connect();
    return viewer;
  }

  /** End it early, for both. */
  async stop() {
    if (this.#id) await stop(this.#id).catch(() => {});
  }

  #comparison() {
    const [waited, streamed] = [this.#waits, this.#streams];
    if (!streamed.firstMs) return "The answer is empty.";
    if (this.#wasHidden) return "This page was hidden meanwhile, so the times cannot be compared.";
    const times = Math.round(waited.firstMs / streamed.firstMs);
    if (times < 2) return "This answer came almost at once: there was nothing to wait for.";
    return (
      `Both ended after ${seconds(streamed.endMs)}. On the left there was nothing to read for ` +
      `${seconds(waited.firstMs)}; on the right for ${seconds(streamed.firstMs)}, ${times} times less. ` +
      "The total is the same; the wait is gone, because people read along while the rest is written."
    );
  }
}
