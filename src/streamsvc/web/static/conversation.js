// A conversation: the history goes up with each question, and each answer is followed as it grows.

import { Answer } from "./answer.js";
import { Refused, create, snapshot, stop } from "./generation.js";
import { keepAtEnd } from "./tail.js";
import { Viewer } from "./viewer.js";

/**
 * @typedef {object} Run an answer, from the question to its end
 * @property {string} id of the generation
 * @property {Viewer} viewer
 * @property {number | undefined} grace seconds; undefined if the service chose it
 *
 * @typedef {{role: string, content: string}} Message
 * @typedef {Omit<import("./generation.js").Order, "messages">} Choices
 * @typedef {{article: Element, thoughts: HTMLDetailsElement, footer: Element, answer: Answer}} Turn
 */

export class Conversation {
  #log;
  #keepAtEnd;
  #announcer;
  #pulse;
  #onChange;
  #onBack;
  /** @type {Message[]} */
  #messages = [];
  /** @type {Turn | null} the latest: what happens to an older one changes nothing here */
  #current = null;
  #isStopWanted = false;

  /** @type {Run | null} the latest */
  run = null;

  /** From the question until the answer has ended or has been left. */
  isBusy = false;

  /**
   * @param {Element} log is filled
   * @param {Element} announcer says what happens, not every word
   * @param {import("./pulse.js").Pulse} pulse
   * @param {() => void} onChange
   * @param {(seq: string) => void} onBack called when a lost connection is back
   */
  constructor(log, announcer, pulse, onChange, onBack) {
    this.#log = log;
    this.#keepAtEnd = keepAtEnd(log);
    this.#announcer = announcer;
    this.#pulse = pulse;
    this.#onChange = onChange;
    this.#onBack = onBack;
  }

  /**
   * Ask the next question.
   * @param {string} prompt
   * @param {Choices} choices
   * @returns {Promise<boolean>} whether the service accepted it
   */
  async ask(prompt, choices) {
    this.#settle();
    const messages = this.#messages;
    messages.push({ role: "user", content: prompt });
    const turn = this.#begin(prompt, "asking");
    try {
      const { id, grace } = await createWithin({ ...choices, messages });
      if (turn !== this.#current) {
        await stop(id); // the conversation was cleared meanwhile
        return true;
      }
      remember(id, messages);
      this.#watch(id, turn, grace);
      if (this.#isStopWanted) this.stop();
      return true;
    } catch (problem) {
      if (turn !== this.#current) return true;
      messages.pop();
      this.#refused(turn, problem);
      return false;
    }
  }

  /**
   * Follow an answer that was asked for before a reload, or in another tab.
   * @param {string} id
   */
  async follow(id) {
    this.#messages = recall(id);
    for (const { role, content } of this.#messages.slice(0, -1)) {
      if (role === "user") this.#show(element("p", "question", content));
      else this.#turn().answer.append(content);
    }
    const question = this.#messages.at(-1)?.content;
    const turn = this.#begin(question ?? "(asked in another tab; the next question is a new conversation)", "connecting", false);
    try {
      await snapshot(id);
      if (turn === this.#current) this.#watch(id, turn);
    } catch (problem) {
      if (turn === this.#current) this.#refused(turn, problem);
    }
  }

  /** Stop the answer, for every viewer. */
  async stop() {
    this.#isStopWanted = true;
    const run = this.run;
    if (!run) return; // it is stopped when it has an id
    try {
      await stop(run.id);
    } catch (problem) {
      this.#announcer.textContent = `${sentenceOf(problem)} This page has left the answer.`;
      run.viewer.close();
    }
  }

  /** Forget all of it. */
  clear() {
    this.#current = null;
    this.run?.viewer.close();
    this.#messages = [];
    this.run = null;
    this.isBusy = false;
    this.#log.replaceChildren();
    this.#announcer.textContent = "";
    this.#pulse.start();
    this.#pulse.state("idle");
    history.replaceState(null, "", location.pathname);
    this.#onChange();
  }

  /**
   * @param {string} question
   * @param {string} state
   */
  #begin(question, state, isLive = true) {
    this.#show(element("p", "question", question));
    const turn = (this.#current = this.#turn());
    turn.article.setAttribute("aria-busy", "true");
    this.#log.scrollTop = this.#log.scrollHeight;
    this.run = null;
    this.isBusy = true;
    this.#isStopWanted = false;
    this.#pulse.start(isLive);
    this.#pulse.state(state);
    this.#announcer.textContent = "Answering.";
    this.#onChange();
    return turn;
  }

  /**
   * @param {string} id
   * @param {Turn} turn
   * @param {number} [grace]
   */
  #watch(id, turn, grace) {
    let wasAway = false;
    const viewer = new Viewer(
      id,
      (event, eventId) => {
        if (turn !== this.#current) return;
        this.#pulse.event(event, eventId);
        this.#take(event, turn);
      },
      (state) => {
        if (turn !== this.#current) return;
        this.#pulse.state(state);
        if (state === "open") this.#opened(turn, wasAway ? seqOf(viewer.cursor) : "");
        wasAway = state !== "open";
        this.isBusy = viewer.isConnected;
        if (state === "closed") this.#end(turn, "You left before the end.");
        if (state === "refused") this.#end(turn, "The connection was refused; you can come back to this answer.", true);
        this.#onChange();
      },
    );
    this.run = { id, viewer, grace };
    viewer.connect();
  }

  /**
   * @param {Turn} turn
   * @param {string} seq of the last event before the connection was lost, if it was
   */
  #opened({ answer, article, footer }, seq) {
    if (!seq) return;
    answer.mark(`back after event ${seq}`);
    article.setAttribute("aria-busy", "true");
    footer.textContent = "";
    this.#onBack(seq);
  }

  /**
   * @param {import("./generation.js").Event} event
   * @param {Turn} turn
   */
  #take(event, turn) {
    const { answer, thoughts, footer } = turn;
    this.#keepAtEnd();
    if (event.type === "start" || event.type === "restart") {
      answer.clear();
      thoughts.hidden = true;
      thoughts.lastElementChild?.replaceChildren();
      if (event.type === "restart") footer.textContent = `${event.provider} starts over: ${event.reason}.`;
    } else if (event.type === "status") {
      const what = event.state === "retrying" ? "is retried" : "takes over";
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
  }

  /** What there is of the latest answer is part of the conversation; a question without any is not. */
  #settle() {
    if (this.#messages.at(-1)?.role !== "user") return;
    const text = this.#current?.answer.text ?? "";
    if (text.trim()) this.#messages.push({ role: "assistant", content: text });
    else this.#messages.pop();
  }

  /**
   * @param {Turn} turn
   * @param {unknown} problem
   */
  #refused(turn, problem) {
    this.#pulse.state("refused");
    this.#end(turn, sentenceOf(problem), true);
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

  /** @param {Element} part */
  #show(part) {
    this.#log.querySelector(":scope > .hint")?.remove(); // the hint of an empty conversation
    this.#log.append(part);
  }

  /** @returns {Turn} */
  #turn() {
    const article = element("article", "turn");
    article.setAttribute("aria-label", "Answer");
    const thoughts = /** @type {HTMLDetailsElement} */ (element("details", "thoughts"));
    thoughts.hidden = true;
    thoughts.append(element("summary", "", "Thinking"), element("p"));
    const body = element("div", "answer");
    const footer = element("p", "hint");
    article.append(thoughts, body, footer);
    this.#show(article);
    return { article, thoughts, footer, answer: new Answer(body) };
  }
}

/**
 * Create; if the service allows less grace than was chosen, let it choose.
 * @param {import("./generation.js").Order} order
 * @returns {Promise<{id: string, grace: number | undefined}>}
 */
async function createWithin(order) {
  try {
    return { id: (await create(order)).id, grace: order.grace_seconds };
  } catch (problem) {
    if (!(problem instanceof Refused) || problem.field !== "grace_seconds") throw problem;
    return { id: (await create({ ...order, grace_seconds: undefined })).id, grace: undefined };
  }
}

/**
 * Let a reload come back to this answer, and to the conversation before it.
 * @param {string} id
 * @param {Message[]} messages
 */
function remember(id, messages) {
  history.replaceState(null, "", `?follow=${id}`);
  try {
    sessionStorage.setItem("conversation", JSON.stringify({ id, messages }));
  } catch {
    // The browser does not store this much, or nothing at all; then a reload starts over.
  }
}

/**
 * @param {string} id
 * @returns {Message[]} up to the question of this answer; empty if another conversation is stored
 */
function recall(id) {
  const kept = JSON.parse(sessionStorage.getItem("conversation") ?? "{}");
  return kept.id === id ? kept.messages : [];
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
