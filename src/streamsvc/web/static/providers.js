// The provider entries that the service offers, and the faults that the chosen one allows.

import { request } from "./access.js";

export class Providers {
  #select;
  #onChoice;
  /** @type {{name: string, kind: string, model: string, ready: boolean, lacks?: string, faults?: string[]}[]} */
  #entries = [];

  /**
   * @param {HTMLSelectElement} select is filled
   * @param {(faults: string[]) => void} onChoice gets the faults that a question may choose
   */
  constructor(select, onChoice) {
    this.#select = select;
    this.#onChoice = onChoice;
    select.addEventListener("change", () => this.#choose());
  }

  /** Ask for them: they may depend on the key. */
  async load() {
    const configured = await request("v1/providers");
    const chosen = this.#select.value || configured.default;
    this.#entries = configured.providers;
    const shown = this.#entries.map(({ name, kind, model, ready, lacks }) => {
      const why = lacks === "sdk" ? `needs streamsvc[${kind}]` : "no key set";
      const option = new Option(`${name} (${ready ? model : why})`, name, name === configured.default, name === chosen);
      option.disabled = !ready;
      return option;
    });
    this.#select.replaceChildren(...shown);
    this.#choose();
  }

  /** As they are offered. */
  get options() {
    return [...this.#select.options];
  }

  /**
   * The faults that a question to an entry may choose.
   * @param {string} name
   */
  faultsOf(name) {
    return this.#entries.find((entry) => entry.name === name)?.faults ?? [];
  }

  #choose() {
    this.#onChoice(this.faultsOf(this.#select.value));
  }
}
