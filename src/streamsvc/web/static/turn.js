// One answer in the conversation, as it grows: thinking, words or JSON, tool calls, a refusal, how likely its words were.

import { Answer } from "./answer.js";
import { Calls } from "./calls.js";
import { element, scrolling } from "./element.js";
import { StructuredAnswer } from "./structured.js";

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

  article = element("article", "turn");

  /** What can be done with the answer: a row of buttons below it. */
  actions = element("div", "actions");

  /** @type {import("./generation.js").Order | null} the request; null for an answer of an earlier page */
  order = null;

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
    this.actions.setAttribute("role", "group");
    this.actions.setAttribute("aria-label", "With this answer");
    this.article.append(this.#changes, this.#thoughts, this.#body, this.#refusal, calls, this.#likely, this.#footer);
    this.article.append(this.actions);
    this.#clear();
  }

  /** @param {string} text */
  set says(text) {
    this.#footer.textContent = text;
  }

  /** The answer grows, or grows again. */
  begin() {
    this.article.setAttribute("aria-busy", "true");
    this.says = "";
  }

  /**
   * @param {string} says how it ended, in a sentence
   * @param {boolean} isProblem
   */
  end(says, isProblem) {
    this.says = says;
    this.#footer.className = isProblem ? "problem" : "hint";
    this.article.removeAttribute("aria-busy");
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
   * @param {import("./generation.js").Message} message
   */
  show({ content, refusal, tool_calls }) {
    this.answer.append(String(content));
    this.answer.finish();
    this.#refuse(refusal ?? "");
    this.calls.show(tool_calls ?? []);
  }

  /** @param {Event} event */
  take(event) {
    switch (event.type) {
      case "start":
      case "restart":
        this.#clear();
        if (event.type === "start") this.#changes.textContent = changesOf(event);
        if (event.type === "restart") this.says = `${event.provider} starts over: ${event.reason}.`;
        break;
      case "status":
        this.says = `${event.provider} ${event.state === "retrying" ? "is retried" : "takes over"}: ${event.reason}.`;
        break;
      case "text":
        this.answer.append(event.text ?? "");
        break;
      case "reasoning":
        this.#thoughts.hidden = false;
        this.#thoughts.lastElementChild?.append(event.text ?? "");
        break;
      case "refusal":
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
        this.calls.take(event);
        break;
    }
  }

  #clear() {
    this.answer.clear();
    this.calls.clear();
    this.#done = null;
    this.#refusal.textContent = "";
    for (const part of [this.#thoughts, this.#likely]) part.lastElementChild?.replaceChildren();
    this.#thoughts.hidden = this.#likely.hidden = this.#refusal.hidden = true;
  }

  /** @param {string} piece */
  #refuse(piece) {
    this.#refusal.hidden &&= !piece;
    this.#refusal.append(piece);
  }
}

/** @param {Event} start which says what the provider lacks */
function changesOf({ dropped_parameters: dropped = [], adjusted_parameters: adjusted = {} }) {
  const left = dropped.length ? [`The provider lacks, and does not get: ${dropped.join(", ")}.`] : [];
  const nearest = Object.entries(adjusted).map(([name, value]) => `It gets the nearest ${name}: ${value}.`);
  return [...left, ...nearest].join(" ");
}

/** @param {{token: string, logprob: number, top_logprobs?: {token: string, logprob: number}[]}} token */
function lineOf({ token, logprob, top_logprobs = [] }) {
  const show = (/** @type {{token: string, logprob: number}} */ one) =>
    `${JSON.stringify(one.token)} ${(100 * Math.exp(one.logprob)).toFixed(1)} %`;
  const others = top_logprobs.filter((other) => other.token !== token).map(show);
  return `${show({ token, logprob })}${others.length ? `   or ${others.join(", ")}` : ""}\n`;
}
