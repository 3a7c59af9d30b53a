// A stream in figures: its first token, its pace, the gaps between its words.

const TOKENS = new Set(["text", "reasoning", "refusal", "tool_call_arguments"]);
const BARS = 120;
const GAPS = 1000;

export class Pulse {
  #fields;
  #canvas;
  /** @type {number[]} milliseconds between two tokens, the latest ones */
  #gaps = [];
  #sent = 0;
  #first = 0;
  #last = 0;
  #tokens = 0;
  #events = 0;
  #isDrawing = false;
  #isLive = true;

  /**
   * @param {Record<"state" | "first" | "rate" | "events" | "cursor" | "gaps", Element>} fields
   * @param {HTMLCanvasElement} canvas
   */
  constructor(fields, canvas) {
    this.#fields = fields;
    this.#canvas = canvas;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** A question goes out now; or an answer is looked at whose beginning is over, and has no pace. */
  start(isLive = true) {
    this.#isLive = isLive;
    this.#gaps = [];
    this.#first = this.#last = this.#tokens = this.#events = 0;
    this.#sent = performance.now();
    for (const name of /** @type {const} */ (["first", "rate", "cursor", "gaps"])) {
      this.#fields[name].textContent = "–";
    }
    this.#soon();
  }

  /** @param {string} state */
  state(state) {
    this.#fields.state.textContent = state;
    this.#fields.state.setAttribute("data-state", state);
  }

  /**
   * @param {import("./generation.js").Event} event
   * @param {string} eventId
   */
  event(event, eventId) {
    const now = performance.now();
    this.#events += 1;
    this.#fields.cursor.textContent = eventId;
    if (this.#isLive && TOKENS.has(event.type)) {
      if (this.#tokens) this.#gaps.push(now - this.#last);
      else this.#first = now;
      if (this.#gaps.length > GAPS) this.#gaps.shift();
      this.#last = now;
      this.#tokens += 1;
    }
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
    events.textContent = String(this.#events);
    if (this.#tokens) first.textContent = `${Math.round(this.#first - this.#sent)} ms`;
    const seconds = (this.#last - this.#first) / 1000;
    if (seconds > 0) rate.textContent = `${((this.#tokens - 1) / seconds).toFixed(1)} / s`;
    if (this.#gaps.length) {
      const sorted = [...this.#gaps].sort((a, b) => a - b);
      const median = sorted[sorted.length >> 1];
      gaps.textContent = `median ${Math.round(median)} ms, longest ${Math.round(sorted[sorted.length - 1])} ms`;
    }
    this.#chart();
  }

  #chart() {
    const canvas = this.#canvas;
    const scale = devicePixelRatio || 1;
    const width = (canvas.width = Math.round(canvas.clientWidth * scale));
    const height = (canvas.height = Math.round(canvas.clientHeight * scale));
    const pen = canvas.getContext("2d");
    if (!pen) return;
    const shown = this.#gaps.slice(-BARS);
    const longest = Math.max(50, ...shown);
    const step = width / BARS;
    pen.fillStyle = getComputedStyle(canvas).color;
    shown.forEach((gap, at) => {
      const bar = Math.max(scale, Math.sqrt(gap / longest) * height); // keep small gaps visible
      pen.fillRect(at * step, height - bar, Math.max(1, step - scale), bar);
    });
  }
}
