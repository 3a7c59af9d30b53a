// One viewer of a generation: a connection that can be looked at, cut and closed.

import { hasKey, send } from "./access.js";
import { eventsOf, follow, snapshot } from "./generation.js";

/**
 * The connected viewers. When the reader follows a link, the browser may keep this page with its streams
 * open, and the model runs on; so they close with the page, and return with it.
 * @type {Set<Viewer>}
 */
const connected = new Set();
addEventListener("pagehide", () => connected.forEach((viewer) => viewer.hide()));
addEventListener("pageshow", (event) => event.persisted && connected.forEach((viewer) => viewer.connect()));

/** The codes of a `done` that may be about the ticket of an address, or its key, and not about the answer. */
const TICKET_CODES = ["ticket_spent", "ticket_invalid", "not_resumable"];

/** @typedef {"connecting" | "open" | "cut" | "reconnecting" | "done" | "refused" | "closed"} State */

export class Viewer {
  /** @type {EventSource | null} */
  #source = null;
  #id;
  #onEvent;
  #onState;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #attempt = 0;
  /** Whether it has come back after a refusal, and nothing has arrived since. */
  #isSecondTry = false;

  /** The id of the last event, which is where it comes back. */
  cursor = "";

  /** @type {State} */
  state = "connecting";

  /** Whether the answer has come to its end here. */
  isDone = false;

  /** Whether it is connected, or on its way to be. */
  isConnected = false;

  /**
   * @param {string} id of the generation
   * @param {(event: import("./generation.js").Event, eventId: string) => void} onEvent
   * @param {(state: State, problem?: unknown) => void} [onState] gets a `Refused` with a state that has one
   */
  constructor(id, onEvent, onState = () => {}) {
    this.#id = id;
    this.#onEvent = onEvent;
    this.#onState = onState;
  }

  /**
   * A viewer that has seen the whole answer, before a reload.
   * @param {string} id of the generation
   * @param {string} cursor the id of the last event
   */
  static over(id, cursor) {
    const viewer = new Viewer(id, () => {});
    Object.assign(viewer, { cursor, isDone: true, state: "done" });
    return viewer;
  }

  /**
   * Connect; a viewer that was connected before resumes where it was. After a loss the browser does that
   * by itself.
   */
  connect() {
    this.#isSecondTry = false;
    return this.#open();
  }

  async #open() {
    const attempt = this.#hangUp();
    this.isConnected = true;
    connected.add(this);
    this.#change(this.cursor ? "reconnecting" : "connecting");
    try {
      const source = await follow(this.#id, (event, eventId) => this.#take(event, eventId), this.cursor);
      if (attempt !== this.#attempt) return source.close(); // cut or closed meanwhile
      source.onopen = () => this.#change("open");
      source.onerror = () => {
        // Either the browser is reconnecting, or the response was not a stream, and it has given up.
        if (source.readyState === EventSource.CLOSED) this.#refused();
        else this.#change("reconnecting");
      };
      this.#source = source;
    } catch (problem) {
      if (attempt === this.#attempt) this.#end("refused", problem);
    }
  }

  /**
   * @param {import("./generation.js").Event} event
   * @param {string} eventId
   */
  #take(event, eventId) {
    const mayBeTicket = hasKey() && event.type === "done" && TICKET_CODES.includes(event.error?.code);
    if (mayBeTicket && !this.#isSecondTry) return void this.#refused();
    this.#isSecondTry = false;
    this.cursor = eventId;
    this.isDone = event.type === "done";
    if (this.isDone) this.#end("done");
    this.#onEvent(event, eventId);
  }

  /** An EventSource hides why it was refused, so ask for the answer; if the reason is gone by then, come back. */
  async #refused() {
    const attempt = this.#hangUp();
    if (this.#isSecondTry) return this.#end("refused");
    this.#change("reconnecting");
    try {
      await snapshot(this.#id); // which asks for a key if the last one does not count
      if (attempt !== this.#attempt) return;
      this.#isSecondTry = true;
      this.#open();
    } catch (problem) {
      if (attempt === this.#attempt) this.#end("refused", problem);
    }
  }

  /** Close the connection, or give up getting one; returns the number of the next attempt. */
  #hangUp() {
    clearTimeout(this.#timer);
    this.#source?.close();
    return ++this.#attempt;
  }

  /**
   * @param {State} state
   * @param {unknown} [problem]
   */
  #end(state, problem) {
    this.isConnected = false;
    connected.delete(this);
    this.#change(state, problem);
  }

  /**
   * @param {State} state
   * @param {unknown} [problem]
   */
  #change(state, problem) {
    this.state = state;
    this.#onState(state, problem);
  }

  /**
   * Cut the connection, as a lost network does, and resume where it was.
   * @param {number} seconds how long the network is away
   */
  cut(seconds) {
    if (this.isDone) return;
    this.hide();
    this.#timer = setTimeout(() => this.connect(), seconds * 1000);
  }

  /** Leave with the page, and come back with it. */
  hide() {
    this.#hangUp();
    this.#change("cut");
  }

  /** Leave for good, as a tab does that is closed. */
  close() {
    this.#hangUp();
    if (this.isConnected) this.#end("closed");
  }
}

/**
 * Read the bytes of the stream as they come, as one more viewer.
 * @param {string} id
 * @param {(text: string) => void} onText
 * @param {AbortSignal} signal
 */
export async function readRaw(id, onText, signal) {
  const response = await send(eventsOf(id), { signal });
  if (!response.body) return;
  for (const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    onText(value);
  }
}
