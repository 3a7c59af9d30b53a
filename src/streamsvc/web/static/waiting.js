// The line below an answer that says what the page waits for, with the seconds since.
// It is not a live region: a screen reader would read it out every second.

const TICK_MS = 1000;
/** A pause of a model that is worth a line. */
const SILENCE_SECONDS = 3;

export class Waiting {
  #element;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  #since = 0;
  /** @type {(seconds: number) => string} */
  #sentence = () => "";

  /** @param {HTMLElement} element is filled, and hidden while there is nothing to say */
  constructor(element) {
    this.#element = element;
    element.hidden = true;
  }

  /**
   * Wait for something.
   * @param {(seconds: number) => string} sentence gets the whole seconds since
   * @param {number} [since] when it began, in the time of `performance.now`
   */
  begin(sentence, since = performance.now()) {
    this.#sentence = sentence;
    this.#since = since;
    this.#timer ??= setInterval(() => this.#draw(), TICK_MS);
    this.#draw();
  }

  /**
   * Words arrive: the line returns only if they pause.
   * @param {string} name of what sends them
   */
  flow(name) {
    this.#since = performance.now();
    if (this.#sentence === this.#silence) return;
    this.#name = name;
    this.begin(this.#silence);
  }

  end() {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#sentence = () => "";
    this.#draw();
  }

  #name = "";

  /** @param {number} seconds */
  #silence = (seconds) => (seconds < SILENCE_SECONDS ? "" : `No word from ${this.#name} for ${seconds} s`);

  #draw() {
    const text = this.#sentence(Math.floor((performance.now() - this.#since) / 1000));
    this.#element.textContent = text;
    this.#element.hidden = !text;
  }
}

/**
 * Such as "Asked openai 3 s ago".
 * @param {string} name
 * @returns {(seconds: number) => string}
 */
export const asked = (name) => (seconds) => (seconds ? `Asked ${name} ${seconds} s ago` : `Asked ${name}`);

/**
 * Such as "openai is rate-limited; asking again, 2 s".
 * @param {string} what
 * @returns {(seconds: number) => string}
 */
export const going = (what) => (seconds) => (seconds ? `${what}, ${seconds} s` : what);
