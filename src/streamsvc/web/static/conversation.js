// A conversation: the history goes up with each question, and each answer is followed as it grows.

import { Answer } from "./answer.js";
import { Refused, create, snapshot, stop } from "./generation.js";
import { Viewer } from "./viewer.js";

/**
 * @typedef {object} Run an answer, from the question to its end
 * @property {string} id of the generation
 * @property {Viewer} viewer
 *
 * @typedef {Omit<import("./generation.js").Order, "messages">} Choices
 * @typedef {{article: Element, thoughts: HTMLDetailsElement, footer: Element, answer: Answer}} Turn
 */

export class Conversation {
  #log;
  #announcer;
  #pulse;
  #onChange;
  /** @type {{role: string, content: string}[]} */
  #messages = [];
  #isStopWanted = false;
  /** @type {Answer | null} of the latest question */
  #latest = null;

  /** @type {Run | null} the latest */
  run = null;

  /** From the question until the answer has ended or has been left. */
  isBusy = false;

  /**
   * @param {Element} log is filled
   * @param {Element} announcer says to screen readers what happens, not every word
   * @param {import("./pulse.js").Pulse} pulse
   * @param {() => void} onChange
   */
  constructor(log, announcer, pulse, onChange) {
    this.#log = log;
    this.#announcer = announcer;
    this.#pulse = pulse;
    this.#onChange = onChange;
  }

  /**
   * Ask the next question.
   * @param {string} prompt
   * @param {Choices} choices
   * @returns {Promise<boolean>} whether there will be an answer
   */
  async ask(prompt, choices) {
    this.#settle();
    const turn = this.#turn(prompt);
    this.#messages.push({ role: "user", content: prompt });
    this.#begin("asking");
    try {
      const { id } = await createWithin({ ...choices, messages: this.#messages });
      history.replaceState(null, "", `?follow=${id}`); // a reload comes back to this answer
      this.#latest = turn.answer;
      this.#watch(id, turn);
      if (this.#isStopWanted) this.stop();
      return true;
    } catch (problem) {
      this.#messages.pop();
      this.#pulse.state("refused");
      this.#end(turn, sentenceOf(problem), true);
      return false;
    }
  }

  /**
   * Follow an answer that somebody else asked for.
   * @param {string} id
   */
  async follow(id) {
    const turn = this.#turn(`An answer from another tab, or from before a reload: ${id}`);
    this.#begin("connecting");
    try {
      await snapshot(id);
      this.#watch(id, turn);
    } catch (problem) {
      this.#pulse.state("refused");
      this.#end(turn, sentenceOf(problem), true);
    }
  }

  /** Stop the answer, for every viewer. */
  async stop() {
    this.#isStopWanted = true;
    if (!this.run) return; // it is stopped when it has an id
    try {
      await stop(this.run.id);
    } catch (problem) {
      this.#announcer.textContent = sentenceOf(problem);
    }
  }

  /** Forget all of it. */
  clear() {
    this.run?.viewer.close();
    this.#messages = [];
    this.#latest = this.run = null;
    this.isBusy = false;
    this.#log.replaceChildren();
    history.replaceState(null, "", location.pathname);
    this.#onChange();
  }

  /** @param {string} state */
  #begin(state) {
    this.run = null;
    this.isBusy = true;
    this.#isStopWanted = false;
    this.#pulse.start();
    this.#pulse.state(state);
    this.#announcer.textContent = "Answering.";
    this.#onChange();
  }

  /**
   * @param {string} id
   * @param {Turn} turn
   */
  #watch(id, turn) {
    let wasAway = false;
    const viewer = new Viewer(
      id,
      (event, eventId) => {
        this.#pulse.event(event, eventId);
        this.#take(event, turn);
      },
      (state) => {
        this.#pulse.state(state);
        if (state === "open" && wasAway) turn.answer.mark(`back after event ${seqOf(viewer.cursor)}`);
        wasAway = state !== "open";
        this.isBusy = viewer.isConnected;
        if (state === "closed") this.#end(turn, "Left before its end.");
        if (state === "refused") this.#end(turn, "The service has no more of this answer.", true);
        this.#onChange();
      },
    );
    this.run = { id, viewer };
    viewer.connect();
  }

  /**
   * @param {import("./generation.js").Event} event
   * @param {Turn} turn
   */
  #take(event, turn) {
    const { answer, thoughts, footer } = turn;
    const isAtEnd = this.#log.scrollHeight - this.#log.scrollTop - this.#log.clientHeight < 40;
    if (event.type === "start" || event.type === "restart") {
      answer.clear();
      thoughts.hidden = true;
      thoughts.lastElementChild?.replaceChildren();
      if (event.type === "restart") footer.textContent = `${event.provider} begins anew: ${event.reason}.`;
    } else if (event.type === "status") {
      const what = event.state === "retrying" ? "is asked again" : "is asked instead";
      footer.textContent = `${event.provider} ${what}: ${event.reason}.`;
    } else if (event.type === "text") {
      answer.append(event.text ?? "");
    } else if (event.type === "reasoning") {
      thoughts.hidden = false;
      thoughts.lastElementChild?.append(event.text ?? "");
    } else if (event.type === "done") {
      answer.finish();
      this.#end(turn, endOf(event), event.status === "failed");
    }
    if (isAtEnd) this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** What there is of the latest answer is part of the conversation; a question without any is not. */
  #settle() {
    const text = this.#latest?.text;
    if (text) this.#messages.push({ role: "assistant", content: text });
    else if (this.#latest) this.#messages.pop();
    this.#latest = null;
  }

  /**
   * @param {Turn} turn
   * @param {string} says how it ended, in a sentence
   */
  #end({ article, footer, answer }, says, isProblem = false) {
    footer.textContent = says;
    footer.className = isProblem ? "problem" : "hint";
    article.removeAttribute("aria-busy");
    const words = answer.text.split(/\s+/).filter(Boolean).length;
    this.#announcer.textContent = words ? `The answer has ${words} words. ${says}` : says;
    this.isBusy = false;
    this.#onChange();
  }

  /**
   * @param {string} prompt
   * @returns {Turn}
   */
  #turn(prompt) {
    if (!this.#messages.length) this.#log.replaceChildren();
    const question = element("p", "question", prompt);
    const article = element("article", "turn");
    article.setAttribute("aria-busy", "true");
    article.setAttribute("aria-label", "Answer");
    const thoughts = /** @type {HTMLDetailsElement} */ (element("details", "thoughts"));
    thoughts.hidden = true;
    thoughts.append(element("summary", "", "Thinking"), element("p"));
    const body = element("div", "answer");
    const footer = element("p", "hint");
    article.append(thoughts, body, footer);
    this.#log.append(question, article);
    this.#log.scrollTop = this.#log.scrollHeight;
    return { article, thoughts, footer, answer: new Answer(body) };
  }
}

/**
 * Create; where the service allows less grace than was chosen, with its own.
 * @param {import("./generation.js").Order} order
 */
async function createWithin(order) {
  try {
    return await create(order);
  } catch (problem) {
    if (!(problem instanceof Refused) || problem.field !== "grace_seconds") throw problem;
    return create({ ...order, grace_seconds: undefined });
  }
}

/** @param {import("./generation.js").Event} done */
function endOf({ status, finish_reason, provider, model, usage, error }) {
  const by = `${provider}/${model}`;
  const tokens = usage ? `, ${usage.output_tokens} tokens${usage.estimated ? " (estimated)" : ""}` : "";
  if (error) return error.message;
  if (status === "completed") return `Complete: ${by}${tokens}.`;
  if (status === "stopped") return `Stopped: ${by}${tokens}.`;
  return `Incomplete (${finish_reason}): ${by}${tokens}.`;
}

/** @param {unknown} problem */
export const sentenceOf = (problem) =>
  problem instanceof Refused ? problem.message : "Something went wrong in this page.";

/** @param {string} eventId */
export const seqOf = (eventId) => eventId.slice(eventId.lastIndexOf(".") + 1);

/**
 * @param {string} tag
 * @param {string} [className]
 * @param {string} [text]
 */
function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}
