// The provider entries that the service offers, and the faults that the chosen one allows.

import { request } from "./access.js";

export class Providers {
  #select;
  #onChoice;
  /** @type {{name: string, model: string, ready: boolean, faults?: string[]}[]} */
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
    const shown = this.#entries.map(({ name, model, ready }) => {
      const option = new Option(`${name} (${ready ? model : "no key set"})`, name, false, name === chosen);
      option.disabled = !ready;
      return option;
    });
    this.#select.replaceChildren(...shown);
    this.#choose();
  }

  #choose() {
    this.#onChoice(this.#entries.find(({ name }) => name === this.#select.value)?.faults ?? []);
  }
}
