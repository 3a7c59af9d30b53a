// An answer in figures: its first token, its pace, the gaps between its pieces.

import { Meter, time } from "./meter.js";

const BARS = 120;

/** @type {Record<import("./meter.js").Reason, string>} */
const NAMES = { away: "away", hidden: "in a hidden tab", retrying: "asking again" };

export class Pulse {
  #fields;
  #canvas;
  #meter = new Meter(0);
  #events = 0;
  /** @type {any} of the answer, once it is known */
  #usage = null;
  #isDrawing = false;

  /**
   * @param {Record<"state" | "first" | "rate" | "events" | "cursor" | "gaps", Element>} fields
   * @param {HTMLCanvasElement} canvas
   */
  constructor(fields, canvas) {
    this.#fields = fields;
    this.#canvas = canvas;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#meter.leave("hidden", performance.now());
      else this.#meter.comeBack("hidden", performance.now());
    });
  }

  /** A question goes out now; or an answer is looked at that may have begun before. */
  start(isFromStart = true) {
    this.#meter = new Meter(performance.now(), isFromStart);
    if (document.hidden) this.#meter.leave("hidden", performance.now());
    this.#events = 0;
    this.#usage = null;
    for (const name of /** @type {const} */ (["first", "rate", "cursor", "gaps"])) {
      this.#fields[name].textContent = "–";
    }
    this.#soon();
  }

  /** @param {string} state */
  state(state) {
    this.#fields.state.textContent = state;
    this.#fields.state.setAttribute("data-state", state);
    this.#meter.state(state, performance.now());
  }

  /**
   * @param {import("./generation.js").Event} event
   * @param {string} eventId
   */
  event(event, eventId) {
    this.#events += 1;
    this.#fields.cursor.textContent = eventId;
    this.#meter.event(event.type, performance.now());
    if (event.type === "done") this.#usage = event.usage;
    this.#soon();
  }

  /** Draw with the next frame of the screen: more often, nobody would see it. */
  #soon() {
    if (this.#isDrawing) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      this.#draw();
    });
  }

  #draw() {
    const { first, rate, events, gaps } = this.#fields;
    const meter = this.#meter;
    events.textContent = String(this.#events);
    if (meter.firstMs !== null) first.textContent = time(meter.firstMs);
    rate.textContent = meter.pace(this.#usage);
    const counted = meter.counted;
    const absences = [...meter.absences].map(([reason, ms]) => `${time(ms)} ${NAMES[reason]}`);
    const parts = absences.length ? [`not counted: ${absences.join(", ")}`] : [];
    if (counted.length) {
      parts.unshift(`median ${time(counted[counted.length >> 1])}, longest ${time(counted[counted.length - 1])}`);
    }
    if (parts.length) gaps.textContent = parts.join("; ");
    this.#chart();
  }

  #chart() {
    const canvas = this.#canvas;
    const scale = devicePixelRatio || 1;
    const width = (canvas.width = Math.round(canvas.clientWidth * scale));
    const height = (canvas.height = Math.round(canvas.clientHeight * scale));
    const pen = canvas.getContext("2d");
    if (!pen) return;
    const shown = this.#meter.gaps.slice(-BARS);
    const longest = Math.max(50, ...shown.map(({ ms, reason }) => (reason ? 0 : ms)));
    const step = width / BARS;
    pen.fillStyle = getComputedStyle(canvas).color;
    shown.forEach(({ ms, reason }, at) => {
      const bar = Math.max(scale, Math.sqrt(ms / longest) * height); // keep small gaps visible
      pen.globalAlpha = reason ? 0.25 : 1; // a pale bar of full height: nothing was measured
      const top = reason ? height : bar;
      pen.fillRect(at * step, height - top, Math.max(1, step - scale), top);
    });
  }
}
