// Nerves of steel: what one can do to a stream, and what the service makes of it.

import { Answer } from "./answer.js";
import { eventsOf, snapshot } from "./generation.js";
import { sentenceOf, seqOf } from "./conversation.js";
import { Viewer, readRaw } from "./viewer.js";

const CUT_SECONDS = 1.5;
const LOOK_MS = 200;
const RAW_CHARS = 200_000;

/**
 * @typedef {object} Parts
 * @property {Element} says
 * @property {Element} call how the call to the provider is
 * @property {HTMLElement} other
 * @property {Element} otherState
 * @property {HTMLAnchorElement} otherTab
 * @property {Element} otherAnswer
 * @property {HTMLDetailsElement} raw
 * @property {Element} frames
 */

export class Lab {
  #parts;
  /** @type {import("./conversation.js").Run | null} */
  #run = null;
  /** @type {Viewer | null} */
  #second = null;
  #reading = new AbortController();

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
    parts.raw.addEventListener("toggle", () => this.#showRaw());
  }

  /**
   * Work on another answer.
   * @param {import("./conversation.js").Run | null} run
   */
  take(run) {
    if (run === this.#run) return;
    this.#closeSecond();
    this.#run = run;
    this.#say("");
    this.#showRaw();
  }

  /**
   * @param {string} text
   * @param {"open" | "done" | "idle"} state
   */
  call(text, state) {
    this.#parts.call.textContent = text;
    this.#parts.call.setAttribute("data-state", state);
  }

  cut() {
    if (!this.#run) return;
    this.#say(`Cut after event ${seqOf(this.#run.viewer.cursor)}. Words go on being written meanwhile.`);
    this.#run.viewer.cut(CUT_SECONDS);
  }

  openSecond() {
    if (!this.#run) return;
    this.#closeSecond();
    const { other, otherState, otherTab, otherAnswer } = this.#parts;
    const answer = new Answer(otherAnswer);
    answer.clear();
    other.hidden = false;
    otherTab.href = `?follow=${this.#run.id}`;
    this.#second = new Viewer(
      this.#run.id,
      (event, eventId) => {
        if (event.type === "start" || event.type === "restart") answer.clear();
        if (event.type === "text") answer.append(event.text ?? "");
        if (event.type === "done") answer.finish();
        otherState.textContent = `event ${seqOf(eventId)}`;
        otherAnswer.scrollTop = otherAnswer.scrollHeight;
      },
      (state) => (otherState.textContent = state),
    );
    this.#second.connect();
    this.#say("Two viewers, one generation, one call to the provider.");
  }

  /** Close every connection of this page to the answer, and look from outside what becomes of it. */
  async leave() {
    const run = this.#run;
    if (!run) return;
    run.viewer.close();
    this.#closeSecond();
    this.#reading.abort();
    const left = performance.now();
    const seconds = () => `${((performance.now() - left) / 1000).toFixed(1)} s`;
    try {
      for (;;) {
        const { status, outcome, last_event_id } = await snapshot(run.id);
        if (run !== this.#run || run.viewer.isConnected) return;
        if (status !== "running") {
          this.call(`closed (${outcome})`, "done");
          this.#say(`The call to the provider was closed ${seconds()} after the tab, at event ${seqOf(last_event_id)}.`);
          return;
        }
        this.call("open, nobody watches", "open");
        this.#say(`Nobody watches. ${seconds()} of grace are over; event ${seqOf(last_event_id)} is written.`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    } catch (problem) {
      this.#say(sentenceOf(problem));
    }
  }

  /** Come back to an answer that was left, or ask a finished one for more. */
  async comeBack() {
    if (!this.#run) return;
    const { id, viewer } = this.#run;
    if (!viewer.isDone) {
      this.#say(`Back with the id of event ${seqOf(viewer.cursor)}.`);
      viewer.connect();
      return;
    }
    try {
      const { status } = await fetch(eventsOf(id, viewer.cursor));
      this.#say(
        status === 204
          ? "204 No Content: it is finished, and stays finished. A browser that hears that asks no more."
          : `The service answered ${status}.`,
      );
    } catch {
      this.#say("The service cannot be reached.");
    }
  }

  async #showRaw() {
    this.#reading.abort();
    const { raw, frames } = this.#parts;
    frames.textContent = "";
    if (!raw.open || !this.#run) return;
    const reading = (this.#reading = new AbortController());
    try {
      await readRaw(this.#run.id, (text) => {
        frames.append(text);
        if ((frames.textContent ?? "").length > RAW_CHARS) frames.firstChild?.remove();
        frames.scrollTop = frames.scrollHeight;
      }, reading.signal);
    } catch {
      if (!reading.signal.aborted) frames.append("\n(the connection was lost)");
    }
  }

  #closeSecond() {
    this.#second?.close();
    this.#second = null;
    this.#parts.other.hidden = true;
  }

  /** @param {string} text */
  #say(text) {
    this.#parts.says.textContent = text;
  }
}
