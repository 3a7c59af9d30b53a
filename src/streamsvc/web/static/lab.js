// Try to break it: what you can do to a stream, and how the service copes.

import { refusalOf, send } from "./access.js";
import { Answer } from "./answer.js";
import { eventsOf, snapshot } from "./generation.js";
import { outcomeOf } from "./reasons.js";
import { sentenceOf, seqOf } from "./sentences.js";
import { keepAtEnd } from "./tail.js";
import { Viewer, readRaw } from "./viewer.js";

const CUT_SECONDS = 1.5;
const LOOK_MS = 500;
const RAW_CHARS = 200_000;

/**
 * @typedef {object} Parts
 * @property {Element} says what has happened, also to screen readers
 * @property {Element} call the state of the call to the provider
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
  /** Aborted when what is being looked at from outside is over. */
  #looking = new AbortController();
  #isLeft = false;

  /** @param {Parts} parts */
  constructor(parts) {
    this.#parts = parts;
    parts.raw.addEventListener("toggle", () => this.#showRaw());
    addEventListener("pagehide", () => this.#reading.abort());
    addEventListener("pageshow", (event) => event.persisted && this.#showRaw());
  }

  /**
   * Switch to another answer.
   * @param {import("./conversation.js").Run | null} run
   */
  take(run) {
    if (run === this.#run) return;
    this.spare();
    this.#looking.abort();
    this.#run = run;
    this.#isLeft = false;
    this.say("");
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

  /** Close what the page can do without: a browser has six connections to a host for all its tabs. */
  spare() {
    this.#second?.close();
    this.#second = null;
    this.#parts.other.hidden = true;
    this.#reading.abort();
  }

  cut() {
    if (!this.#run) return;
    const { viewer, grace } = this.#run;
    const meanwhile =
      grace === 0
        ? "Without a grace a lost connection counts as a closed tab: the call is closed."
        : "The answer continues meanwhile.";
    this.say(`Cut after event ${seqOf(viewer.cursor)}. ${meanwhile}`);
    viewer.cut(CUT_SECONDS);
  }

  /** @param {string} seq of the last event before the connection was lost */
  back(seq) {
    this.say(`Back, with the id of event ${seq}.`);
  }

  openSecond() {
    if (!this.#run) return;
    this.#second?.close();
    const { other, otherState, otherTab, otherAnswer } = this.#parts;
    const answer = new Answer(otherAnswer);
    const keep = keepAtEnd(otherAnswer);
    answer.clear();
    other.hidden = false;
    otherTab.href = `?follow=${this.#run.id}`;
    this.#second = new Viewer(
      this.#run.id,
      (event, eventId) => {
        keep();
        if (event.type === "start" || event.type === "restart") answer.clear();
        if (event.type === "text" || event.type === "refusal") answer.append(event.text ?? "");
        if (event.type === "tool_call_begun") answer.append(`\n${event.name} `);
        if (event.type === "tool_call_arguments") answer.append(event.arguments);
        if (event.type === "done") answer.finish();
        otherState.textContent = `event ${seqOf(eventId)}`;
      },
      (state) => (otherState.textContent = state),
    );
    this.#second.connect();
    this.say("Two viewers, one generation, one call to the provider.");
  }

  /** Close every connection of this page to the answer, and look from outside what becomes of it. */
  async leave() {
    const run = this.#run;
    if (!run) return;
    this.#isLeft = true;
    run.viewer.close();
    this.spare();
    this.#looking.abort();
    const { signal } = (this.#looking = new AbortController());
    const left = performance.now();
    const seconds = () => `${((performance.now() - left) / 1000).toFixed(1)} s`;
    this.say(`Left at event ${seqOf(run.viewer.cursor)}. This page no longer watches.`);
    try {
      for (;;) {
        const { status, outcome, last_event_id } = await snapshot(run.id);
        if (signal.aborted) return;
        const seq = seqOf(last_event_id);
        if (status !== "running") {
          this.call(`closed: ${outcomeOf(outcome ?? "")}`, "done");
          this.say(
            outcome === "no_viewers"
              ? `The call to the provider was closed within ${seconds()} of the tab, at event ${seq}.`
              : `It ended within the grace, at event ${seq}: ${outcomeOf(outcome ?? "")}.`,
          );
          return;
        }
        this.call(`open, left for ${seconds()}, at event ${seq}`, "open");
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
        if (signal.aborted) return;
      }
    } catch (problem) {
      if (!signal.aborted) this.say(sentenceOf(problem));
    }
  }

  /** Come back to an answer that was left, or ask a finished one for more. */
  async comeBack() {
    const run = this.#run;
    if (!run) return;
    const { id, viewer } = run;
    if (!viewer.isDone) {
      this.#looking.abort();
      this.#isLeft = false;
      viewer.connect();
      this.#showRaw();
      return;
    }
    try {
      const response = await send(eventsOf(id, viewer.cursor));
      if (run !== this.#run) return;
      if (!response.ok) throw await refusalOf(response);
      this.say(
        response.status === 204
          ? "204 No Content: it is finished, and stays finished. A browser that gets a 204 stops asking."
          : "The service no longer keeps this answer, and does not generate another.",
      );
    } catch (problem) {
      this.say(sentenceOf(problem));
    }
  }

  async #showRaw() {
    this.#reading.abort();
    const { raw, frames } = this.#parts;
    frames.textContent = "";
    if (!raw.open || !this.#run || this.#isLeft) return;
    const reading = (this.#reading = new AbortController());
    const keep = keepAtEnd(frames);
    let chars = 0;
    try {
      await readRaw(
        this.#run.id,
        (text) => {
          keep();
          frames.append(text);
          chars += text.length;
          while (chars > RAW_CHARS && frames.childNodes.length > 1) {
            chars -= frames.firstChild?.textContent?.length ?? 0;
            frames.firstChild?.remove();
          }
        },
        reading.signal,
      );
    } catch {
      if (!reading.signal.aborted) frames.append("\n(the connection was lost)");
    }
  }

  /** @param {string} text */
  say(text) {
    this.#parts.says.textContent = text;
  }
}
