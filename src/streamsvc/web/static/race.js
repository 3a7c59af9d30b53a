// A race: the same prompt goes to two providers at once, or to one with two settings, each with its own figures.
//
// It uses two connections, of the six that a browser has to a host over HTTP/1.1 for all its tabs.

import { Refused } from "./access.js";
import { Answer } from "./answer.js";
import { element } from "./element.js";
import { create, stop } from "./generation.js";
import { Meter, time } from "./meter.js";
import { words } from "./options.js";
import { endOf, sentenceOf, tokensOf } from "./sentences.js";
import { Viewer } from "./viewer.js";

const DRAW_MS = 100;

/** A smaller difference is a tie: nobody would see it. */
const TIE_MS = 10;

const FIGURES = /** @type {const} */ ({ first: "First token", pace: "Pace", tokens: "Tokens", end: "End" });

class Racer {
  #select = element("select");
  #fault = element("select");
  #temperature = element("input");
  #note = element("p", "note");
  #figures = /** @type {Record<keyof typeof FIGURES, HTMLElement>} */ ({});
  #answer;
  #meter = new Meter(0);
  #began = 0;
  /** @type {Viewer | null} */
  #viewer = null;
  #id = "";
  #isStopWanted = false;
  /** @type {any} */
  #usage = null;
  /** Leaves the race, with its problem if there is one. @type {(problem?: unknown) => void} */
  #leave = () => {};

  endMs = 0;
  status = "";

  /**
   * @param {Element} lane is filled
   * @param {string} name such as "Left"
   */
  constructor(lane, name) {
    this.name = name;
    const settings = element("div", "row");
    settings.append(labelled("Provider", this.#select), labelled("Temperature", this.#temperature), labelled("Fault", this.#fault));
    Object.assign(this.#temperature, { type: "number", min: "0", max: "2", step: "any", placeholder: "its own" });
    const list = element("dl", "figures");
    for (const [key, title] of Object.entries(FIGURES)) {
      const pair = element("div");
      this.#figures[/** @type {keyof typeof FIGURES} */ (key)] = element("dd", "", "–");
      pair.append(element("dt", "", title), this.#figures[/** @type {keyof typeof FIGURES} */ (key)]);
      list.append(pair);
    }
    const box = element("div", "answer");
    box.tabIndex = 0;
    box.setAttribute("role", "region");
    box.setAttribute("aria-label", `${name} answer`);
    this.#answer = new Answer(box);
    lane.append(settings, list, box, this.#note);
  }

  /** The settings, by name. */
  get fields() {
    const name = this.name.toLowerCase();
    return { [`${name}-provider`]: this.#select, [`${name}-temperature`]: this.#temperature, [`${name}-fault`]: this.#fault };
  }

  /** The milliseconds to the first token; null if it was not seen, or nothing came. */
  get firstMs() {
    return this.#meter.firstMs;
  }

  /** Whether its times can be compared: this page was there all the time. */
  get wasWatched() {
    return !this.#meter.wasLeft;
  }

  get title() {
    return `${this.name} (${this.#select.value})`;
  }

  /**
   * @param {HTMLOptionElement[]} options the providers
   * @param {number} at which is chosen if none was
   * @param {(name: string) => string[]} faultsOf a provider
   */
  offer(options, at, faultsOf) {
    const own = options.filter((one) => !one.disabled).slice(0, at + 1).at(-1)?.value;
    const chosen = this.#select.value || own;
    this.#select.replaceChildren(...options.map((one) => {
      const option = new Option(one.text, one.value, one.value === own, one.value === chosen);
      option.disabled = one.disabled;
      return option;
    }));
    this.#select.onchange = () => {
      const faults = faultsOf(this.#select.value);
      const fault = faults.includes(this.#fault.value) ? this.#fault.value : "";
      this.#fault.replaceChildren(new Option("as configured", ""), ...faults.map((name) => new Option(words(name), name)));
      this.#fault.value = fault;
      /** @type {HTMLElement} */ (this.#fault.parentElement).hidden = !faults.length;
    };
    this.#select.onchange(new Event("change"));
  }

  /**
   * Run; resolves at its end.
   * @param {string} prompt
   * @param {number} began the same for both
   */
  async run(prompt, began) {
    this.#began = began;
    this.#meter = new Meter(began);
    this.#usage = null;
    this.#id = this.status = "";
    this.#isStopWanted = false;
    this.endMs = 0;
    this.#answer.clear();
    this.#say("", false);
    this.draw();
    try {
      const { id } = await create(this.#order(prompt));
      this.#id = id;
      await new Promise((resolve, reject) => {
        this.#leave = (problem) => (problem ? reject(problem) : resolve(undefined));
        this.#viewer = new Viewer(id, (event) => this.#take(event), (state) => this.#connection(state));
        this.#viewer.connect();
        if (this.#isStopWanted) this.stop();
      });
    } catch (problem) {
      this.status = "failed";
      this.#say(sentenceOf(problem), true);
    } finally {
      this.#viewer?.close();
      this.endMs ||= performance.now() - began;
      this.#answer.finish();
      this.draw();
    }
  }

  /** End it early. */
  async stop() {
    this.#isStopWanted = true;
    if (!this.#id || this.endMs) return;
    await stop(this.#id).catch((problem) => this.#leave(problem));
  }

  /** @param {boolean} isHidden whether the page is */
  hide(isHidden) {
    if (isHidden) this.#meter.leave("hidden", performance.now());
    else this.#meter.comeBack("hidden", performance.now());
  }

  /**
   * @param {boolean} isFirst whether its first token came first
   * @param {boolean} isWinner whether it ended first
   */
  mark(isFirst, isWinner) {
    if (isFirst) this.#figures.first.append(" ", element("b", "won", "first"));
    if (isWinner) this.#figures.end.append(" ", element("b", "won", "winner"));
  }

  draw() {
    const { first, pace, tokens, end } = this.#figures;
    const { firstMs, pieces } = this.#meter;
    first.textContent = firstMs === null ? "–" : time(firstMs);
    pace.textContent = this.#meter.pace(this.#usage);
    tokens.textContent = this.#usage ? tokensOf(this.#usage) : pieces ? `${pieces} pieces` : "–";
    const running = this.#began ? `… ${time(performance.now() - this.#began)}` : "–";
    end.textContent = this.endMs ? time(this.endMs) : running;
  }

  /**
   * @param {string} prompt
   * @returns {import("./generation.js").Order}
   */
  #order(prompt) {
    const { value, validity } = this.#temperature;
    if (!validity.valid) throw new Refused({ detail: "Invalid value: Temperature." });
    const fault = this.#fault.value || undefined;
    return {
      messages: [{ role: "user", content: prompt }],
      provider: this.#select.value || undefined,
      temperature: value === "" ? undefined : Number(value),
      ...(fault ? { fault } : {}),
    };
  }

  /** @param {import("./generation.js").Event} event */
  #take(event) {
    this.#meter.event(event.type, performance.now());
    if (event.type === "start" || event.type === "restart") this.#answer.clear();
    if (event.type === "text" || event.type === "refusal") this.#answer.append(event.text ?? "");
    if (event.type !== "done") return;
    this.endMs = performance.now() - this.#began;
    this.#usage = event.usage;
    this.status = event.status;
    this.#say(event.status === "completed" ? "" : endOf(event), event.status === "failed");
    this.#leave();
  }

  /** @param {import("./viewer.js").State} state */
  #connection(state) {
    this.#meter.state(state, performance.now());
    if (state === "refused") this.#leave(new Refused({ detail: "The connection was refused." }));
  }

  /**
   * @param {string} text
   * @param {boolean} isProblem
   */
  #say(text, isProblem) {
    this.#note.textContent = text;
    this.#note.classList.toggle("problem", isProblem);
  }
}

export class Race {
  #racers;
  #verdict;

  /**
   * @param {Element} left is filled
   * @param {Element} right is filled
   * @param {Element} verdict says who won
   */
  constructor(left, right, verdict) {
    this.#racers = [new Racer(left, "Left"), new Racer(right, "Right")];
    this.#verdict = verdict;
    document.addEventListener("visibilitychange", () => this.#racers.forEach((racer) => racer.hide(document.hidden)));
  }

  /**
   * @param {HTMLOptionElement[]} options
   * @param {(name: string) => string[]} faultsOf
   */
  offer(options, faultsOf) {
    this.#racers.forEach((racer, at) => racer.offer(options, at, faultsOf));
  }

  /** The settings of both, by name. */
  get fields() {
    return Object.assign({}, ...this.#racers.map(({ fields }) => fields));
  }

  /** @param {string} prompt */
  async run(prompt) {
    this.#verdict.textContent = "Both are asked.";
    const began = performance.now();
    const timer = setInterval(() => this.#racers.forEach((racer) => racer.endMs || racer.draw()), DRAW_MS);
    await Promise.all(this.#racers.map((racer) => racer.run(prompt, began)));
    clearInterval(timer);
    this.#verdict.textContent = this.#judge();
  }

  /** End both early. */
  async stop() {
    await Promise.all(this.#racers.map((racer) => racer.stop()));
  }

  #judge() {
    const racers = this.#racers;
    const finished = racers.filter(({ status }) => status === "completed");
    if (racers.some(({ status }) => status === "stopped")) return "Stopped: there is no winner.";
    if (!finished.length) return "Neither has a complete answer.";
    if (!racers.every(({ wasWatched }) => wasWatched)) return "This page was away or hidden meanwhile, so the times cannot be compared.";
    if (finished.length === 1) {
      finished[0].mark(false, true);
      return `${finished[0].title} wins: the other has no complete answer.`;
    }
    const first = faster(racers, ({ firstMs }) => firstMs ?? Infinity);
    const winner = faster(racers, ({ endMs }) => endMs);
    for (const racer of racers) racer.mark(racer === first.racer, racer === winner.racer);
    const spoke = first.racer ? `${first.racer.title} had the first token, ${time(first.ms)} before the other.` : "Both had their first token at the same time.";
    const ended = winner.racer ? `${winner.racer.title} wins: it ended ${time(winner.ms)} before the other.` : "Both ended at the same time.";
    return `${ended} ${spoke}`;
  }
}

/**
 * @param {Racer[]} racers two
 * @param {(racer: Racer) => number} msOf
 * @returns {{racer: Racer | null, ms: number}} the faster one, and by how much; null if nobody would see it
 */
function faster([left, right], msOf) {
  const ms = msOf(right) - msOf(left);
  if (!(Math.abs(ms) >= TIE_MS)) return { racer: null, ms: 0 };
  return { racer: ms > 0 ? left : right, ms: Math.abs(ms) };
}

/**
 * @param {string} name
 * @param {HTMLElement} field
 */
function labelled(name, field) {
  const label = element("label", "", `${name} `);
  label.append(field);
  return label;
}
