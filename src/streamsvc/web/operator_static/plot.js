// Two histograms in one plot: what providers sent as full bars, what viewers got as hollow ones.

import { count, seconds } from "./format.js";

/**
 * @typedef {{counts: number[], median: number | null, p95: number | null}} Timing
 * @typedef {{bounds: number[], upstream: Timing, viewers: Timing}} Sides
 */

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 34, RIGHT = 8, TOP = 8, BOTTOM = 20; // pixels around the bars
const LABEL_PIXELS = 56; // room for a label of the axis

/** What viewers notice. A write may carry several tokens, so small gaps differ between the two sides anyway. */
const SLOWER = 1.5, SLOWER_SECONDS = 0.25;

export class Plot {
  #svg;
  #verdict;
  #legends;
  /** @type {Sides | null} */
  #sides = null;

  /** @param {Element} figure has an `svg`, a `.verdict` and a legend */
  constructor(figure) {
    const part = (/** @type {string} */ selector) => /** @type {any} */ (figure.querySelector(selector));
    this.#svg = /** @type {SVGSVGElement} */ (part("svg"));
    this.#verdict = part(".verdict");
    this.#legends = { upstream: part(".legend .upstream"), viewers: part(".legend .viewers") };
    new ResizeObserver(() => this.#draw()).observe(this.#svg);
  }

  /** @param {Sides} sides */
  show(sides) {
    this.#sides = sides;
    this.#verdict.textContent = verdict(sides);
    this.#legends.upstream.textContent = `Providers: ${inWords(sides.upstream)}`;
    this.#legends.viewers.textContent = `Viewers: ${inWords(sides.viewers)}`;
    const name = `Providers: ${inWords(sides.upstream)}. Viewers: ${inWords(sides.viewers)}.`;
    this.#svg.setAttribute("aria-label", name);
    this.#draw();
  }

  #draw() {
    if (!this.#sides) return;
    const { bounds, upstream, viewers } = this.#sides;
    const { clientWidth: width, clientHeight: height } = this.#svg;
    const [first, last] = shown([upstream, viewers]);
    const shares = [upstream, viewers].map(shareOf);
    const most = Math.max(...shares.flat(), 0.01);
    const step = (width - LEFT - RIGHT) / (last - first + 1);
    const floor = height - BOTTOM;
    const parts = [
      line(LEFT, floor, width - RIGHT, floor),
      line(LEFT, TOP, width - RIGHT, TOP),
      text(0, TOP + 8, `${Math.round(most * 100)} %`),
      text(0, floor, "0"),
    ];
    const every = Math.max(1, Math.ceil(LABEL_PIXELS / step));
    for (let at = first; at <= last; at++) {
      const left = LEFT + (at - first) * step;
      shares.forEach((share, side) => {
        const tall = (share[at] / most) * (floor - TOP);
        if (!tall) return;
        const wide = Math.max(2, step * 0.4 - 2);
        parts.push(bar(left + step * (0.08 + 0.44 * side), floor - tall, wide, tall, side ? "viewers" : "upstream"));
      });
      if (at < bounds.length && (at - first) % every === every - 1) {
        parts.push(line(left + step, floor, left + step, floor + 4));
        parts.push(text(left + step, height - 4, seconds(bounds[at]), "end"));
      }
    }
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.#svg.replaceChildren(...parts);
  }
}

/**
 * What the plot says, in a sentence.
 * @param {Sides} sides
 */
function verdict({ upstream, viewers }) {
  if (upstream.median === null || viewers.median === null) return "";
  const isSlower = (/** @type {number} */ theirs, /** @type {number} */ ours) =>
    ours > theirs * SLOWER && ours - theirs > SLOWER_SECONDS;
  if (isSlower(upstream.median, viewers.median) || isSlower(upstream.p95 ?? 0, viewers.p95 ?? 0))
    return "Viewers wait longer than the providers take: look at retries, at this service and at the network.";
  return "Viewers get words about as fast as the providers send them.";
}

/** @param {Timing} timing */
function inWords({ counts, median, p95 }) {
  const total = counts.reduce((sum, one) => sum + one, 0);
  if (!total) return "nothing measured";
  return `half within ${seconds(median)}, 95 % within ${seconds(p95)}, of ${count(total)}`;
}

/** @param {Timing} timing */
function shareOf({ counts }) {
  const total = counts.reduce((sum, one) => sum + one, 0);
  return counts.map((one) => one / (total || 1));
}

/**
 * The first and the last class to show: those with measurements, and one beside them.
 * @param {Timing[]} timings
 * @returns {[number, number]}
 */
function shown(timings) {
  const end = timings[0].counts.length - 1;
  const used = timings.flatMap(({ counts }) => counts.flatMap((one, at) => (one ? [at] : [])));
  if (!used.length) return [0, end];
  return [Math.max(0, Math.min(...used) - 1), Math.min(end, Math.max(...used) + 1)];
}

/**
 * @param {string} name
 * @param {Record<string, number | string>} attributes
 */
function made(name, attributes) {
  const one = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) one.setAttribute(key, String(value));
  return one;
}

/** @param {number} x1 @param {number} y1 @param {number} x2 @param {number} y2 */
const line = (x1, y1, x2, y2) => made("line", { x1, y1, x2, y2 });

/** @param {number} x @param {number} y @param {number} width @param {number} height @param {string} kind */
const bar = (x, y, width, height, kind) => made("rect", { x, y, width, height, class: kind });

/** @param {number} x @param {number} y @param {string} content @param {string} [anchor] */
function text(x, y, content, anchor = "start") {
  const one = made("text", { x, y, "text-anchor": anchor });
  one.textContent = content;
  return one;
}
