// Only in `streamsvc demo`: which worker produces the answer, and a button that kills it.

import { request } from "./access.js";
import { sentenceOf, seqOf } from "./sentences.js";

const EPOCH_SEQS = 1e9; // each worker that takes an answer over numbers its events from the next multiple of this

/**
 * @typedef {{running: boolean, epoch: number, worker: number | null, process: number | null}} Producer
 *
 * @typedef {object} Parts
 * @property {HTMLElement[]} hidden what is shown in a demo
 * @property {HTMLButtonElement} kill
 * @property {Element} producer
 */

export class Demo {
  #parts;
  #say;
  #mark;
  /** @type {import("./conversation.js").Run | null} */
  #run = null;
  #epoch = -1;
  /** When the producer was killed; 0 if it was not. */
  #killed = 0;
  /** Whether another worker has taken over, and has not brought a word yet. */
  #isNew = false;

  /**
   * @param {Parts} parts
   * @param {(text: string) => void} say to people, also through a screen reader
   * @param {(label: string) => void} mark the latest word of the answer
   */
  constructor(parts, say, mark) {
    this.#parts = parts;
    this.#say = say;
    this.#mark = mark;
    for (const part of parts.hidden) part.hidden = false;
    parts.kill.addEventListener("click", () => this.#kill());
  }

  /**
   * Switch to another answer, or notice that this one has ended.
   * @param {import("./conversation.js").Run | null} run
   * @param {boolean} isBusy
   */
  take(run, isBusy) {
    this.#parts.kill.disabled = !(run && isBusy);
    if (run === this.#run) return;
    this.#run = run;
    this.#epoch = -1;
    this.#killed = 0;
    this.#isNew = false;
    this.#show(run ? "asking" : "idle", run ? "…" : "none");
  }

  /**
   * @param {import("./generation.js").Event} event
   * @param {string} eventId
   */
  event(event, eventId) {
    const epoch = Math.floor(Number(seqOf(eventId)) / EPOCH_SEQS);
    if (epoch > this.#epoch) this.#meet(epoch);
    if (event.type === "done") this.#show("done", "none: the answer has ended");
    if (!this.#isNew || event.type !== "text") return;
    this.#isNew = false;
    if (this.#killed) this.#say(`Words again, ${seconds(this.#killed)} after the kill: the next one, and none twice.`);
    this.#killed = 0;
  }

  /**
   * Learn who produces now.
   * @param {number} epoch
   */
  async #meet(epoch) {
    const run = this.#run;
    const tookOver = this.#epoch >= 0;
    const killed = this.#killed;
    this.#epoch = epoch;
    this.#isNew = tookOver;
    if (!run) return;
    try {
      const producer = await look(run.id);
      if (run !== this.#run || epoch !== this.#epoch || run.viewer.isDone) return;
      this.#show("open", nameOf(producer));
      if (!tookOver) return;
      this.#mark(`process ${producer.process} took over`);
      if (killed && this.#isNew) this.#say(`${nameOf(producer)} took over after ${seconds(killed)}, and asks the provider again.`);
    } catch (problem) {
      this.#say(sentenceOf(problem));
    }
  }

  async #kill() {
    const run = this.#run;
    if (!run) return;
    if (this.#killed) return this.#say("The producer is dead. When its lease has lapsed, another worker takes over.");
    this.#killed = performance.now();
    try {
      const producer = await request(`${addressOf(run.id)}/kill`, { method: "POST" });
      if (run !== this.#run || !producer.running) return;
      this.#show("cut", `${nameOf(producer)}: killed`);
      this.#say(
        `Killed ${nameOf(producer)} after event ${seqOf(run.viewer.cursor)}. ` +
          "When its lease has lapsed, another worker takes over.",
      );
    } catch (problem) {
      this.#killed = 0;
      this.#say(sentenceOf(problem));
    }
  }

  /**
   * @param {string} state
   * @param {string} text
   */
  #show(state, text) {
    this.#parts.producer.textContent = text;
    this.#parts.producer.setAttribute("data-state", state);
  }
}

/** @param {string} id */
const addressOf = (id) => `demo/generations/${encodeURIComponent(id)}`;

/**
 * @param {string} id
 * @returns {Promise<Producer>}
 */
const look = (id) => request(addressOf(id));

/** @param {Producer} producer */
const nameOf = ({ worker, process }) => (worker ? `Worker ${worker} (process ${process})` : "A new worker");

/** @param {number} since */
const seconds = (since) => `${((performance.now() - since) / 1000).toFixed(1)} s`;
