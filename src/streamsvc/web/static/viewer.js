// One viewer of a generation: a connection that can be looked at, cut and closed.

import { eventsOf, follow } from "./generation.js";

/**
 * The connected viewers. When the reader follows a link, the browser may keep this page with its streams
 * open, and the model runs on; so they close with the page, and return with it.
 * @type {Set<Viewer>}
 */
const connected = new Set();
addEventListener("pagehide", () => connected.forEach((viewer) => viewer.hide()));
addEventListener("pageshow", (event) => event.persisted && connected.forEach((viewer) => viewer.connect()));

/** @typedef {"connecting" | "open" | "cut" | "reconnecting" | "done" | "refused" | "closed"} State */

export class Viewer {
  /** @type {EventSource | null} */
  #source = null;
  #id;
  #onEvent;
  #onState;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

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
   * @param {(state: State) => void} [onState]
   */
  constructor(id, onEvent, onState = () => {}) {
    this.#id = id;
    this.#onEvent = onEvent;
    this.#onState = onState;
  }

  /**
   * Connect; a viewer that was connected before resumes where it was. After a loss the browser does that
   * by itself.
   */
  connect() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.isConnected = true;
    connected.add(this);
    this.#change(this.cursor ? "reconnecting" : "connecting");
    const source = follow(
      this.#id,
      (event, eventId) => {
        this.cursor = eventId;
        this.isDone = event.type === "done";
        if (this.isDone) this.#end("done");
        this.#onEvent(event, eventId);
      },
      this.cursor,
    );
    source.onopen = () => this.#change("open");
    source.onerror = () => {
      // Either the browser is reconnecting, or the response was not a stream, and it has given up.
      if (source.readyState === EventSource.CLOSED) this.#end("refused");
      else this.#change("reconnecting");
    };
    this.#source = source;
  }

  /** @param {State} state */
  #end(state) {
    this.isConnected = false;
    connected.delete(this);
    this.#change(state);
  }

  /** @param {State} state */
  #change(state) {
    this.state = state;
    this.#onState(state);
  }

  /**
   * Cut the connection, as a lost network does, and resume where it was.
   * @param {number} seconds how long the network is away
   */
  cut(seconds) {
    if (this.isDone) return;
    this.#source?.close();
    this.#change("cut");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.connect(), seconds * 1000);
  }

  /** Leave with the page, and come back with it. */
  hide() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#change("cut");
  }

  /** Leave for good, as a tab does that is closed. */
  close() {
    clearTimeout(this.#timer);
    this.#source?.close();
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
  const response = await fetch(eventsOf(id), { signal });
  if (!response.body) return;
  for (const reader = response.body.pipeThrough(new TextDecoderStream()).getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    onText(value);
  }
}
