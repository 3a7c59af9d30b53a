// A conversation: the history goes up with each question, and each answer is followed as it grows.

import { showAddress } from "./address.js";
import { createWithin, questionOf } from "./asking.js";
import { snapshot, stop } from "./generation.js";
import { Log } from "./log.js";
import { endOf, isGone, lossOf, sentenceOf, seqOf } from "./sentences.js";
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
  #choices;
  #transcript;
  /** @type {Turn | null} the latest: what happens to an older one changes nothing here */
  #current = null;
  #isStopWanted = false;

  /** @type {Run | null} the latest */
  run = null;

  /** @type {(event: import("./generation.js").Event, eventId: string) => void} called with each event of the latest */
  onEvent = () => {};

  /** @type {(turn: Turn) => void} called with each answer that is shown */
  onTurn = () => {};

  /** From the question until the answer has ended or has been left. */
  isBusy = false;

  /** @type {(question: Message) => void} called with the last question when it is to be edited */
  onEdit = () => {};

  /** Called when the last question is asked again. */
  onAgain = () => {};

  /**
   * @param {object} parts
   * @param {Element} parts.box scrolls
   * @param {Element} parts.turns is filled, in the box
   * @param {Element} parts.announcer says what happens, not every word
   * @param {import("./pulse.js").Pulse} parts.pulse
   * @param {import("./transcript.js").Transcript} parts.transcript
   * @param {() => void} parts.onChange
   * @param {(seq: string) => void} parts.onBack called when a lost connection is back
   * @param {() => Choices | null} parts.choices those that are chosen now; null if they are not possible
   */
  constructor({ box, turns, announcer, pulse, transcript, onChange, onBack, choices }) {
    this.#log = new Log(box, turns);
    this.#announcer = announcer;
    this.#pulse = pulse;
    this.#transcript = transcript;
    this.#onChange = onChange;
    this.#onBack = onBack;
    this.#choices = choices;
    addEventListener("pagehide", () => this.isBusy && this.#keep());
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
    this.#transcript.add([questionOf(prompt, images)]);
    return this.#send(choices, []);
  }

  /** Ask for the last answer again, with the settings of now. */
  async again() {
    if (this.isBusy || !this.#current) return;
    const choices = this.#choices();
    if (!choices) return;
    this.onAgain();
    this.#log.cut(this.#current.article);
    this.#transcript.rewindAnswer();
    await this.#send(choices, []);
  }

  /** Forget the last question, which is asked differently. */
  rewind() {
    if (this.isBusy) return;
    this.#transcript.rewindQuestion();
    this.#log.cutLastQuestion();
    this.#leave();
  }

  /**
   * Follow an answer that was asked for before a reload, or in another tab.
   * @param {string} id
   */
  async follow(id) {
    if (this.#transcript.openAt(id)) return this.#restore();
    this.#log.question(ELSEWHERE);
    await this.#resume(this.#begin({}, "connecting", false), id);
  }

  /**
   * Show another conversation.
   * @param {string} id
   */
  async open(id) {
    this.clear();
    if (this.#transcript.open(id)) await this.#restore();
  }

  /** Stop the answer, for every viewer. */
  async stop() {
    this.#isStopWanted = true;
    const run = this.run;
    if (!run) return; // it is stopped when it has an id
    try {
      await stop(run.id);
    } catch (problem) {
      run.viewer.close(); // which says something as well
      this.#announcer.textContent = `${sentenceOf(problem)} This page has left the answer.`;
    }
  }

  /**
   * Mark the latest word of the answer.
   * @param {string} label
   */
  mark(label) {
    this.#current?.answer.mark(label);
  }

  /** Leave it, and begin a new one. */
  clear() {
    if (this.isBusy) this.#keep();
    this.#transcript.clear();
    this.#log.clear();
    this.#announcer.textContent = "";
    this.#leave();
  }

  /** The latest answer is no longer looked at. */
  #leave() {
    this.#current?.leave();
    this.#current = null;
    this.run?.viewer.close();
    this.run = null;
    this.isBusy = false;
    this.#pulse.start();
    this.#pulse.state("idle");
    showAddress("");
    this.#onChange();
  }

  /**
   * @param {Choices} choices
   * @param {import("./shelf.js").Item[]} results that were added to be sent, and are taken back if they are refused
   */
  async #send(choices, results) {
    const { messages } = this.#transcript;
    const turn = this.#begin(choices, "asking");
    const item = (turn.item = this.#transcript.begin(choices));
    turn.order = { ...choices, messages };
    try {
      const { id, grace } = await createWithin(turn.order);
      turn.order = { ...turn.order, grace_seconds: grace };
      if (turn !== this.#current) {
        await stop(id); // the conversation was left meanwhile
        return true;
      }
      item.answer.generation = id;
      showAddress(id);
      this.#transcript.save();
      this.#watch(id, turn, { grace });
      if (this.#isStopWanted) this.stop();
      return true;
    } catch (problem) {
      if (turn !== this.#current) return true;
      if (results.length) this.#transcript.takeBack([...results, item]);
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
    if (turn !== this.#current || this.isBusy) return;
    turn.calls.open(false);
    if (turn.item?.answer) turn.item.answer.isWaiting = false;
    if (await this.#send(turn.choices, this.#transcript.add(results))) return;
    this.#current = turn;
    turn.calls.open(true);
    if (turn.item?.answer) turn.item.answer.isWaiting = true;
  }

  /**
   * @param {Choices} choices
   * @param {string} state
   */
  #begin(choices, state, isLive = true) {
    const turn = this.#log.begin(choices, isLive);
    this.#take(turn);
    this.onTurn(turn);
    this.isBusy = true;
    this.#pulse.start(isLive);
    this.#pulse.state(state);
    this.#announcer.textContent = "Answering.";
    this.#onChange();
    return turn;
  }

  /** @param {Turn} turn is the latest from now on */
  #take(turn) {
    this.#current?.withdraw();
    this.#current = turn;
    turn.isLast = true;
    this.run = null;
    this.#isStopWanted = false;
    turn.actions.onAgain = () => this.again();
    turn.actions.onEdit = () => this.onEdit(this.#transcript.question ?? { role: "user", content: "" });
  }

  /** Show the conversation that is open, and go on with its last answer. */
  async #restore() {
    const turn = this.#log.transcript(this.#transcript, this.onTurn);
    if (!turn?.item?.answer) return;
    const { generation, isOver, cursor, isWaiting } = turn.item.answer;
    this.#take(turn);
    showAddress(generation);
    if (!generation || isOver) {
      if (isWaiting) this.#askForResults(turn);
      if (generation) this.run = { id: generation, viewer: Viewer.over(generation, cursor), grace: undefined };
      this.#pulse.start(false);
      this.#pulse.state(generation ? "done" : "idle");
      turn.offer();
      return this.#onChange();
    }
    turn.isLive = false;
    turn.begin();
    this.isBusy = true;
    this.#pulse.start(false);
    this.#pulse.state("connecting");
    this.#onChange();
    await this.#resume(turn, generation);
  }

  /**
   * @param {Turn} turn
   * @param {string} id
   */
  async #resume(turn, id) {
    try {
      await snapshot(id);
      if (turn === this.#current) this.#watch(id, turn, { isLive: false });
    } catch (problem) {
      if (turn !== this.#current) return;
      this.#pulse.state("refused");
      this.#lost(turn, problem);
    }
  }

  /**
   * @param {string} id
   * @param {Turn} turn
   * @param {{grace?: number, isLive?: boolean}} how
   */
  #watch(id, turn, { grace, isLive = true }) {
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
        if (state === "reconnecting" && !wasAway) this.#announcer.textContent = "Connection lost; trying again.";
        turn.connection(state);
        if (state === "open") this.#opened(turn, wasAway ? seqOf(viewer.cursor) : "");
        wasAway = state !== "open";
        this.isBusy = viewer.isConnected;
        if (state === "closed") this.#end(turn, "You left before the end.");
        if (state === "refused") this.#lost(turn, problem);
        this.#onChange();
      },
    );
    this.run = { id, viewer, grace };
    turn.isLive = isLive;
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
    const mayGoOn = count > 0 && done.status === "completed" && turn.item !== null;
    if (mayGoOn) this.#askForResults(turn);
    const waits = mayGoOn ? ` The model waits for ${count > 1 ? `${count} results` : "the result"}.` : "";
    if (turn.item?.answer) Object.assign(turn.item.answer, { isWaiting: mayGoOn, isOver: true });
    this.#end(turn, endOf(done) + waits, done.status === "failed");
  }

  /** @param {Turn} turn whose calls wait for results */
  #askForResults(turn) {
    turn.calls.ask((results) => this.#sendResults(turn, results));
  }

  /** What there is of the latest answer is part of the conversation; a question without any is not. */
  #settle() {
    const turn = this.#current;
    if (turn?.item?.answer?.isWaiting) {
      turn.calls.open(false);
      turn.item.answer.isWaiting = false;
      this.#transcript.add(turn.calls.results());
    }
    this.#transcript.leaveOutUnanswered();
  }

  /**
   * The question was refused.
   * @param {Turn} turn
   * @param {unknown} problem
   */
  #refused(turn, problem) {
    this.#pulse.state("refused");
    if (turn.item?.answer) turn.item.answer.isOver = true;
    this.#end(turn, sentenceOf(problem), true);
  }

  /**
   * The answer cannot be followed.
   * @param {Turn} turn
   * @param {unknown} problem
   */
  #lost(turn, problem) {
    if (turn.item?.answer && isGone(problem)) turn.item.answer.isOver = true;
    this.#end(turn, lossOf(problem, turn.message !== null), true);
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
    this.#keep();
    this.#onChange();
  }

  /** Let the browser keep what there is. */
  #keep() {
    this.#current?.record(this.run?.viewer.cursor ?? "");
    this.#transcript.save();
  }
}
