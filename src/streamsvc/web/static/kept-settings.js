// The settings that a reload brings back: those that differ from the page's own. The key is never one of them.

import { isObject } from "./kept.js";
import { Store } from "./storage.js";

/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Field */

const NAME = "settings";

export class KeptSettings {
  #store = new Store();
  #onChange;
  /** @type {Map<string, Field>} */
  #fields = new Map();
  /** @type {Map<string, unknown>} also those of fields that are not there yet */
  #kept;
  #written = "";

  /** @param {(isKept: boolean) => void} onChange called after each input; whether a reload brings the settings back */
  constructor(onChange) {
    this.#onChange = onChange;
    const stored = this.#store.read(NAME);
    this.#kept = new Map(isObject(stored) ? Object.entries(stored) : []);
    for (const type of ["input", "change"]) addEventListener(type, () => this.keep());
  }

  /**
   * Bring fields back, and keep them from now on. A field that follows another, such as the faults of a provider, comes
   * after it.
   * @param {Record<string, Field>} fields by name
   */
  add(fields) {
    for (const [name, field] of Object.entries(fields)) {
      if (this.#fields.has(name)) continue;
      bringBack(field, this.#kept.get(name));
      this.#fields.set(name, field);
    }
    this.keep();
  }

  /** Keep what the fields say now. */
  keep() {
    for (const [name, field] of this.#fields) {
      if (isDefault(field)) this.#kept.delete(name);
      else this.#kept.set(name, isChoice(field) ? field.checked : field.value);
    }
    const text = JSON.stringify(Object.fromEntries(this.#kept));
    if (text !== this.#written) this.#written = this.#write(text) ? text : "";
    this.#onChange(text === this.#written);
  }

  /** @param {string} text */
  #write(text) {
    if (this.#kept.size) return this.#store.write(NAME, text);
    this.#store.forget(NAME);
    return true;
  }

  /**
   * Whether a field in a part of the page differs from the page's own setting.
   * @param {Element} part
   */
  differsIn(part) {
    return this.#in(part).some((field) => !isDefault(field));
  }

  /**
   * Go back to the page's own settings in a part of it.
   * @param {Element} part
   */
  reset(part) {
    for (const field of this.#in(part)) {
      if (isChoice(field)) field.checked = field.defaultChecked;
      else field.value = defaultOf(field);
      changed(field);
    }
  }

  /** @param {Element} part */
  #in = (part) => [...this.#fields.values()].filter((field) => part.contains(field));
}

/**
 * @param {Field} field
 * @returns {field is HTMLInputElement}
 */
const isChoice = (field) => field.type === "checkbox" || field.type === "radio";

/** @param {Field} field */
function defaultOf(field) {
  if (!(field instanceof HTMLSelectElement)) return field.defaultValue;
  const options = [...field.options];
  return (options.find((option) => option.defaultSelected) ?? options[0])?.value ?? "";
}

/** @param {Field} field */
const isDefault = (field) =>
  isChoice(field) ? field.checked === field.defaultChecked : field.value === defaultOf(field);

/** @param {Field} field */
const changed = (field) => field.dispatchEvent(new Event("change", { bubbles: true }));

/**
 * Another page of the origin, or another version of this one, may have stored the value: one that the field does not
 * take is left out.
 * @param {Field} field
 * @param {unknown} value
 */
function bringBack(field, value) {
  if (isChoice(field)) {
    if (typeof value !== "boolean") return;
    field.checked = value;
  } else {
    if (typeof value !== "string" || !takes(field, value)) return;
    const before = field.value;
    field.value = value;
    if (!field.validity.valid) field.value = before;
  }
  changed(field);
}

/**
 * @param {Exclude<Field, "checked">} field
 * @param {string} value
 */
function takes(field, value) {
  if (field instanceof HTMLSelectElement) {
    return [...field.options].some((option) => option.value === value && !option.disabled);
  }
  return field.maxLength < 0 || value.length <= field.maxLength;
}
