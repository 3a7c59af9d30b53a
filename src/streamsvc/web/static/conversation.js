// A conversation: the history goes up with each question, and each answer is followed as it grows.

import { Refused } from "./access.js";
import { create, snapshot, stop } from "./generation.js";
import { forget, recall, remember } from "./history.js";
import { Log } from "./log.js";
import { Viewer } from "./viewer.js";

/**
 * @typedef {object} Run an answer, from the question to its end
 * @property {string} id of the generation
 * @property {Viewer} viewer
 * @property {number | undefined} grace seconds; undefined if the service chose it
 *
 * @typedef {import("./generation.js").Message} Message
 * @typedef {import("./options.js").Choices} Choices
 * @typedef {import("./turn.js").Turn} Turn
 */

const ELSEWHERE = "(asked in another tab; the next question is a new conversation)";

export class Conversation {
  #log;
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

  /** @type {(event: import("./generation.js").Event, eventId: string) => void} called with each event of the latest */
  onEvent = () => {};

  /** From the question until the answer has ended or has been left. */
  isBusy = false;

  /**
   * @param {Element} box scrolls
   * @param {Element} turns is filled, in the box
   * @param {Element} announcer says what happens, not every word
   * @param {import("./pulse.js").Pulse} pulse
   * @param {() => void} onChange
   * @param {(seq: string) => void} onBack called when a lost connection is back
   */
  constructor(box, turns, announcer, pulse, onChange, onBack) {
    this.#log = new Log(box, turns);
    this.#announcer = announcer;
    this.#pulse = pulse;
    this.#onChange = onChange;
    this.#onBack = onBack;
  }

  /**
   * Ask the next question.
   * @param {string} prompt
   * @param {import("./images.js").Image[]} images
   * @param {Choices} choices
   * @returns {Promise<boolean>} whether the service accepted it
   */
  ask(prompt, images, choices) {
    this.#settle();
    this.#log.question(prompt, images.map(({ thumbnail }) => thumbnail));
    return this.#send([questionOf(prompt, images)], choices);
  }

  /**
   * Follow an answer that was asked for before a reload, or in another tab.
   * @param {string} id
   */
  async follow(id) {
    const { messages, choices } = recall(id);
    this.#messages = messages;
    for (const message of messages) this.#log.message(message);
    if (!messages.length) this.#log.question(ELSEWHERE);
    const turn = this.#begin(choices, "connecting", false);
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

  /**
   * Mark the latest word of the answer.
   * @param {string} label
   */
  mark(label) {
    this.#current?.answer.mark(label);
  }

  /** Forget all of it. */
  clear() {
    this.#current = null;
    this.run?.viewer.close();
    this.#messages = [];
    this.run = null;
    this.isBusy = false;
    this.#log.clear();
    this.#announcer.textContent = "";
    this.#pulse.start();
    this.#pulse.state("idle");
    forget();
    this.#onChange();
  }

  /**
   * @param {Message[]} added a question, or an answer that calls tools and the results of its calls
   * @param {Choices} choices
   */
  async #send(added, choices) {
    const messages = this.#messages;
    messages.push(...added);
    const turn = this.#begin(choices, "asking");
    turn.order = { ...choices, messages: [...messages] };
    try {
      const { id, grace } = await createWithin(turn.order);
      if (turn !== this.#current) {
        await stop(id); // the conversation was cleared meanwhile
        return true;
      }
      remember(id, messages, choices);
      this.#watch(id, turn, grace);
      if (this.#isStopWanted) this.stop();
      return true;
    } catch (problem) {
      if (turn !== this.#current) return true;
      messages.splice(-added.length);
      this.#refused(turn, problem);
      return false;
    }
  }

  /**
   * Send the results of the calls of an answer.
   * @param {Turn} turn
   * @param {Message[]} results
   */
  async #sendResults(turn, results) {
    if (turn !== this.#current || this.isBusy || !turn.message) return;
    turn.calls.open(false);
    if (await this.#send([turn.message, ...results], turn.choices)) return;
    this.#current = turn;
    turn.calls.open(true);
  }

  /**
   * @param {Choices} choices
   * @param {string} state
   */
  #begin(choices, state, isLive = true) {
    const turn = (this.#current = this.#log.begin(choices));
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
        this.#log.keepAtEnd();
        turn.take(event);
        this.onEvent(event, eventId);
        if (event.type === "done") this.#done(turn, event);
      },
      (state, problem) => {
        if (turn !== this.#current) return;
        this.#pulse.state(state);
        if (state === "open") this.#opened(turn, wasAway ? seqOf(viewer.cursor) : "");
        wasAway = state !== "open";
        this.isBusy = viewer.isConnected;
        if (state === "closed") this.#end(turn, "You left before the end.");
        const why = problem ? sentenceOf(problem) : "The connection was refused.";
        if (state === "refused") this.#end(turn, `${why} You can come back to this answer.`, true);
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
  #opened(turn, seq) {
    if (!seq) return;
    turn.answer.mark(`back after event ${seq}`);
    turn.begin();
    this.#onBack(seq);
  }

  /**
   * @param {Turn} turn
   * @param {import("./generation.js").Event} done
   */
  #done(turn, done) {
    const count = turn.calls.whole.length;
    const mayGoOn = count > 0 && done.status === "completed" && this.#messages.length > 0;
    if (mayGoOn) turn.calls.ask((results) => this.#sendResults(turn, results));
    const waits = mayGoOn ? ` The model waits for ${count > 1 ? `${count} results` : "the result"}.` : "";
    this.#end(turn, endOf(done) + waits, done.status === "failed");
  }

  /** What there is of the latest answer is part of the conversation; a question without any is not. */
  #settle() {
    const last = this.#messages.at(-1)?.role;
    if (last !== "user" && last !== "tool") return;
    const turn = this.#current;
    if (turn?.message) {
      turn.calls.open(false);
      this.#messages.push(turn.message, ...turn.calls.results());
    } else if (last === "user") {
      this.#messages.pop();
    }
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
  #end(turn, says, isProblem = false) {
    turn.end(says, isProblem);
    const words = turn.answer.text.split(/\s+/).filter(Boolean).length;
    this.#announcer.textContent = words ? `The answer has ${words} words. ${says}` : says;
    this.isBusy = false;
    this.#onChange();
  }
}

/**
 * @param {string} prompt
 * @param {import("./images.js").Image[]} images
 * @returns {Message}
 */
function questionOf(prompt, images) {
  if (!images.length) return { role: "user", content: prompt };
  const pictures = images.map(({ url }) => ({ type: /** @type {const} */ ("image_url"), image_url: { url } }));
  return { role: "user", content: [{ type: "text", text: prompt }, ...pictures] };
}

/**
 * Ask with the chosen grace; where the service allows less, with the one that it chooses.
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
