// One answer in the conversation, as it grows: thinking, words or JSON, tool calls, a refusal, how likely its words were.

import { Actions } from "./actions.js";
import { Answer } from "./answer.js";
import { Calls } from "./calls.js";
import { element, scrolling } from "./element.js";
import { progressOf, restartOf } from "./reasons.js";
import { changesOf } from "./sentences.js";
import { StructuredAnswer } from "./structured.js";
import { Waiting, asked, going } from "./waiting.js";

/** @typedef {import("./generation.js").Event} Event */

export class Turn {
  #thoughts = element("details", "thoughts");
  #likely = element("details", "likely");
  #refusal = element("p", "refusal");
  #footer = element("p", "hint");
  #changes = element("p", "changes");
  #body = element("div", "answer");
  /** @type {Event | null} */
  #done = null;
  #waiting;
  /** When it was asked for, in the time of `performance.now`. */
  #asked = performance.now();
  /** The entry that is asked. */
  #provider = "";
  /** Whether some of it has arrived. */
  #hasWords = false;
  #isLost = false;

  article = element("article", "turn");

  /** @type {import("./generation.js").Order | null} the request; null if it was made elsewhere */
  order = null;

  /** Whether it was asked for by this page, and not before a reload. */
  isLive = true;

  /** Whether it is the latest one, which may be asked for again. */
  isLast = false;

  /** @type {import("./shelf.js").Item | null} as the browser keeps it; null if it was asked for elsewhere */
  item = null;

  answer;
  calls;

  /** @param {import("./options.js").Choices} choices with which it was asked for */
  constructor(choices) {
    this.choices = choices;
    const format = /** @type {any} */ (choices.response_format);
    this.answer = format ? new StructuredAnswer(this.#body, format.json_schema.schema) : new Answer(this.#body);
    const calls = element("div", "calls");
    this.calls = new Calls(calls);
    this.#thoughts.append(element("summary", "", "Thinking"), element("p"));
    this.#likely.append(element("summary", "", "How likely each token was"), scrolling("Log probabilities"));
    this.article.setAttribute("aria-label", "Answer");
    const waiting = element("p", "waiting");
    this.#waiting = new Waiting(waiting);
    this.actions = new Actions(this.#body, () => this.answer.text);
    this.article.append(this.#changes, this.#thoughts, this.#body, this.#refusal, calls, this.#likely, waiting);
    this.article.append(this.#footer, this.actions.row);
    this.#clear();
  }

  /** The answer grows, or grows again. */
  begin() {
    this.article.setAttribute("aria-busy", "true");
    this.#footer.textContent = "";
    this.#wait();
  }

  /**
   * @param {string} says how it ended, in a sentence
   * @param {boolean} isProblem
   */
  end(says, isProblem) {
    this.#footer.textContent = says;
    this.#footer.className = isProblem ? "problem" : "hint";
    this.#rest();
    this.offer();
  }

  /** The page looks at another answer. */
  leave() {
    this.#rest();
    this.withdraw();
  }

  /** It is not the last one any more. */
  withdraw() {
    this.isLast = false;
    this.offer();
  }

  /** Show what can be done with it. */
  offer() {
    this.actions.offer(Boolean(this.answer.text.trim()), this.isLast && this.item !== null);
  }

  /** @param {import("./viewer.js").State} state of the connection to the service */
  connection(state) {
    if (state === "open") {
      this.#isLost = false;
      this.#wait();
    } else if (!this.#isLost && (state === "reconnecting" || state === "cut")) {
      this.#isLost = true;
      this.#waiting.begin(going(state === "cut" ? "Connection cut" : "Connection lost; trying again"));
    }
  }

  /**
   * Let the browser keep what there is.
   * @param {string} cursor the id of the last event
   */
  record(cursor) {
    if (!this.item?.answer) return;
    this.item.message = this.message;
    Object.assign(this.item.answer, {
      says: this.#footer.textContent,
      isProblem: this.#footer.className === "problem",
      thoughts: this.#thoughts.lastElementChild?.textContent,
      cursor: cursor || this.item.answer.cursor,
    });
  }

  #rest() {
    this.article.removeAttribute("aria-busy");
    this.#waiting.end();
  }

  /** Say what it waits for. */
  #wait() {
    if (this.#hasWords) this.#waiting.flow(this.#provider);
    else this.#waiting.begin(this.#provider ? asked(this.#provider) : going(this.isLive ? "Asking" : "Connecting"), this.#asked);
  }

  /**
   * The answer as part of the history; null if there is nothing of it.
   * @returns {import("./generation.js").Message | null}
   */
  get message() {
    const { text } = this.answer;
    const refusal = this.#refusal.textContent || undefined;
    const calls = this.calls.whole;
    if (!(text.trim() || refusal || calls.length)) return null;
    return {
      role: "assistant",
      content: text,
      refusal,
      tool_calls: calls.length ? calls : undefined,
      provider_data: this.#done?.provider_data,
    };
  }

  /**
   * Show an earlier answer.
   * @param {import("./shelf.js").Item} item
   */
  show(item) {
    this.item = item;
    const { message, answer } = item;
    this.#done = message?.provider_data ? { type: "done", provider_data: message.provider_data } : null;
    if (message) {
      this.answer.append(String(message.content));
      this.answer.finish();
      this.#refuse(message.refusal ?? "");
      this.calls.show(message.tool_calls ?? []);
    }
    if (answer?.thoughts) this.#think(answer.thoughts);
    this.end(answer?.says ?? "", answer?.isProblem ?? false);
  }

  /** @param {Event} event */
  take(event) {
    switch (event.type) {
      case "start":
        this.#clear();
        this.#changes.textContent = changesOf(event);
        this.#provider = event.provider;
        if (!this.isLive) this.#asked = performance.now() - Math.max(0, Date.now() - event.created * 1000);
        this.#wait();
        break;
      case "restart":
        this.#clear();
        this.#waiting.begin(going(restartOf(this.#provider, /** @type {any} */ (event))));
        this.#provider = event.provider;
        break;
      case "status":
        this.#waiting.begin(going(progressOf(this.#provider, /** @type {any} */ (event))));
        if (event.dropped_parameters || event.adjusted_parameters) this.#changes.textContent = changesOf(event);
        this.#provider = event.provider;
        break;
      case "text":
        this.#flow();
        this.answer.append(event.text ?? "");
        break;
      case "reasoning":
        this.#flow();
        this.#think(event.text ?? "");
        break;
      case "refusal":
        this.#flow();
        this.#refuse(event.text ?? "");
        break;
      case "logprobs":
        this.#likely.hidden = false;
        this.#likely.lastElementChild?.append(event.content.map(lineOf).join(""));
        break;
      case "done":
        this.#done = event;
        this.answer.finish();
        this.calls.finish();
        break;
      case "tool_call_begun":
      case "tool_call_arguments":
      case "tool_call":
        this.#flow();
        this.calls.take(event);
        break;
    }
  }

  #flow() {
    this.#hasWords = true;
    this.#waiting.flow(this.#provider);
  }

  #clear() {
    this.#hasWords = false;
    this.answer.clear();
    this.calls.clear();
    this.#done = null;
    this.#refusal.textContent = "";
    for (const part of [this.#thoughts, this.#likely]) part.lastElementChild?.replaceChildren();
    this.#thoughts.hidden = this.#likely.hidden = this.#refusal.hidden = true;
  }

  /** @param {string} piece */
  #think(piece) {
    this.#thoughts.hidden = false;
    this.#thoughts.lastElementChild?.append(piece);
  }

  /** @param {string} piece */
  #refuse(piece) {
    this.#refusal.hidden &&= !piece;
    this.#refusal.append(piece);
  }
}

/** @param {{token: string, logprob: number, top_logprobs?: {token: string, logprob: number}[]}} token */
function lineOf({ token, logprob, top_logprobs = [] }) {
  const show = (/** @type {{token: string, logprob: number}} */ one) =>
    `${JSON.stringify(one.token)} ${(100 * Math.exp(one.logprob)).toFixed(1)} %`;
  const others = top_logprobs.filter((other) => other.token !== token).map(show);
  return `${show({ token, logprob })}${others.length ? `   or ${others.join(", ")}` : ""}\n`;
}
