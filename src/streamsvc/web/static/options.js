// What goes with a question besides its words: the settings, tools and format that are chosen in the page.

import { Refused } from "./access.js";
import { SCHEMAS, TOOLS } from "./examples.js";

/** @typedef {Omit<import("./generation.js").Order, "messages">} Choices */

/** The names of the fields, which are the ids of their elements. */
const FIELDS = /** @type {const} */ ([
  "provider", "grace", "system", "temperature", "max-tokens", "effort", "likely", "tools", "own-tools", "format",
  "own-schema", "seed", "stop-at", "fault",
]);

/** @typedef {Record<typeof FIELDS[number], any>} Fields */

/** Read, and keep the boxes for JSON where they are needed. */
export class Options {
  #fields;

  /** @param {(id: string) => any} part finds an element */
  constructor(part) {
    this.#fields = /** @type {Fields} */ (Object.fromEntries(FIELDS.map((id) => [id, part(id)])));
    const { tools, format } = this.#fields;
    this.#fields["own-tools"].defaultValue = JSON.stringify(TOOLS.weather, null, 2);
    this.#fields["own-schema"].defaultValue = JSON.stringify(SCHEMAS.tasks, null, 2);
    for (const select of [tools, format]) select.addEventListener("change", () => this.#show());
    this.#show();
  }

  /** Those that offer the same whatever the service has. */
  get fixed() {
    const { provider, fault, ...fixed } = this.#fields;
    return fixed;
  }

  /** Those that depend on the service's entries: the faults on the provider. */
  get offered() {
    const { provider, fault } = this.#fields;
    return { provider, fault };
  }

  /**
   * Choose an example.
   * @param {{tools?: string, format?: string}} values
   */
  choose({ tools = "", format = "" }) {
    this.#fields.tools.value = tools;
    this.#fields.format.value = format;
    this.#show();
  }

  /**
   * @returns {Choices}
   * @throws {Refused} with a sentence
   */
  read() {
    const fields = this.#fields;
    const number = (/** @type {HTMLInputElement} */ { value, validity, labels }) => {
      if (!validity.valid) throw new Refused({ detail: `Invalid value: ${labels?.[0].textContent?.trim()}.` });
      return value === "" ? undefined : Number(value);
    };
    return {
      provider: fields.provider.value || undefined,
      grace_seconds: Number(fields.grace.value),
      system: fields.system.value.trim() || undefined,
      temperature: number(fields.temperature),
      max_tokens: number(fields["max-tokens"]),
      seed: number(fields.seed),
      stop: fields["stop-at"].value || undefined,
      fault: fields.fault.value || undefined,
      reasoning_effort: fields.effort.value || undefined,
      ...(fields.likely.checked ? { logprobs: true, top_logprobs: 2 } : {}),
      tools: this.#tools(),
      response_format: this.#format(),
    };
  }

  /**
   * Offer the faults that the chosen provider entry allows.
   * @param {string[]} faults
   */
  offerFaults(faults) {
    const { fault } = this.#fields;
    const chosen = faults.includes(fault.value) ? fault.value : "";
    fault.replaceChildren(new Option("as configured", ""), ...faults.map((name) => new Option(words(name), name)));
    fault.value = chosen;
    fault.parentElement.hidden = !faults.length;
  }

  #tools() {
    const { tools, "own-tools": own } = this.#fields;
    if (tools.value !== "own") return TOOLS[tools.value];
    return parsed(own.value, "The tools are");
  }

  #format() {
    const { format, "own-schema": own } = this.#fields;
    if (!format.value) return undefined;
    const isOwn = format.value === "own";
    const schema = isOwn ? parsed(own.value, "The schema is") : SCHEMAS[format.value];
    return { type: "json_schema", json_schema: { name: isOwn ? "answer" : format.value, schema } };
  }

  #show() {
    const { tools, format, "own-tools": ownTools, "own-schema": ownSchema } = this.#fields;
    ownTools.parentElement.hidden = tools.value !== "own";
    ownSchema.parentElement.hidden = format.value !== "own";
  }
}

/** @param {string} name of a fault */
export const words = (name) => name.replaceAll("_", " ");

/**
 * @param {string} text
 * @param {string} what
 */
function parsed(text, what) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Refused({ detail: `${what} not JSON: ${/** @type {Error} */ (error).message}` });
  }
}
