// What the browser stores for this page. It may refuse to store anything; then the page works, and a reload starts over.

export class Store {
  #prefix;

  /** @param {string} [prefix] of the keys: another service under the same origin has its own */
  constructor(prefix = `streamsvc${location.pathname}`) {
    this.#prefix = prefix;
  }

  /**
   * @param {string} name
   * @returns {string | null} null if nothing is stored
   */
  text(name) {
    try {
      return localStorage.getItem(this.#key(name));
    } catch {
      return null;
    }
  }

  /**
   * @param {string} name
   * @returns {any} null if nothing is stored, or it is not JSON
   */
  read(name) {
    try {
      return JSON.parse(this.text(name) ?? "null");
    } catch {
      return null;
    }
  }

  /**
   * @param {string} name
   * @param {string} text
   * @returns {boolean} whether it is stored
   */
  write(name, text) {
    try {
      localStorage.setItem(this.#key(name), text);
      return true;
    } catch {
      return false;
    }
  }

  /** @param {string} name */
  forget(name) {
    try {
      localStorage.removeItem(this.#key(name));
    } catch {
      // Then it was not stored, either.
    }
  }

  /** @param {string} name */
  #key = (name) => `${this.#prefix} ${name}`;
}
