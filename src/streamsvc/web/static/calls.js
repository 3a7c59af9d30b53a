// The tool calls of an answer: shown as they are written, and answered in a form when they are whole.

import { codeBlock } from "./code.js";
import { element } from "./element.js";
import { exampleResult } from "./examples.js";

/**
 * @typedef {{figure: HTMLElement, title: HTMLElement, code: HTMLElement, name: string, isWhole: boolean}} Draft
 * @typedef {import("./generation.js").ToolCall} ToolCall
 * @typedef {import("./generation.js").Message} Message
 */

export class Calls {
  #element;
  /** @type {Draft[]} by index */
  #drafts = [];
  /** @type {HTMLTextAreaElement[]} */
  #results = [];

  /** @type {ToolCall[]} the whole ones; only these count */
  whole = [];

  /** @param {Element} box is filled */
  constructor(box) {
    this.#element = box;
  }

  clear() {
    this.#element.replaceChildren();
    this.#drafts = [];
    this.#results = [];
    this.whole = [];
  }

  /** @param {import("./generation.js").Event} event of one of the three types of `event: tool` */
  take(event) {
    if (event.type === "tool_call_begun") this.#begin(event.index, event.name);
    else if (event.type === "tool_call_arguments") this.#drafts[event.index]?.code.append(event.arguments);
    else this.#complete(event);
  }

  /**
   * Show calls of an earlier answer.
   * @param {ToolCall[]} calls
   */
  show(calls) {
    calls.forEach(({ id, function: { name, arguments: args }, provider_data }, index) =>
      this.#complete({ type: "tool_call", index, id, name, arguments: args, provider_data }));
  }

  /** The answer is over: a draft that is not whole stays one. */
  finish() {
    for (const { figure, title, name, isWhole } of this.#drafts) {
      if (isWhole) continue;
      figure.classList.remove("draft");
      title.textContent = `${name}: not whole, so it does not count`;
    }
  }

  /**
   * Let the user give the results.
   * @param {(results: Message[]) => void} onResults
   */
  ask(onResults) {
    const form = element("form", "results");
    form.autocomplete = "off";
    this.#results = this.whole.map(({ function: { name, arguments: args } }) => {
      const label = element("label", "", `Result of ${name}`);
      const box = element("textarea");
      box.rows = 2;
      box.value = exampleResult(name, args);
      box.placeholder = "JSON or words";
      label.append(box);
      form.append(label);
      return box;
    });
    const send = element("button", "primary", this.whole.length > 1 ? "Send the results" : "Send the result");
    form.append(send);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      onResults(this.results());
    });
    this.#element.append(form);
  }

  /** @param {boolean} isOpen whether results can be sent */
  open(isOpen) {
    for (const part of this.#element.querySelectorAll("textarea, .results button")) {
      /** @type {HTMLButtonElement} */ (part).disabled = !isOpen;
    }
  }

  /** @returns {Message[]} one for each call; the API needs all of them */
  results() {
    return this.whole.map(({ id }, at) => ({
      role: "tool",
      tool_call_id: id,
      content: this.#results[at]?.value.trim() || "(no result was given)",
    }));
  }

  /**
   * @param {number} index
   * @param {string} name
   */
  #begin(index, name) {
    const { figure, title, code } = codeBlock(`${name} …`, `Arguments of ${name}`);
    figure.className = "call draft";
    this.#drafts[index] = { figure, title, code, name, isWhole: false };
    this.#element.append(figure);
  }

  /** @param {import("./generation.js").Event} call */
  #complete({ index, id, name, arguments: args, provider_data }) {
    if (!this.#drafts[index]) this.#begin(index, name);
    const { figure, title, code } = this.#drafts[index];
    this.#drafts[index].isWhole = true;
    figure.classList.remove("draft");
    title.textContent = `Tool call: ${name}`;
    code.textContent = JSON.stringify(JSON.parse(args), null, 2);
    this.whole.push({ id, type: "function", function: { name, arguments: args }, provider_data });
  }
}
