// The parts of the page that are lists and tables, each from its part of the state.

import { element } from "./element.js";
import { bytes, count, seconds, time } from "./format.js";

/** @typedef {any} State what `/operations/state` answers */

/**
 * @param {string | Node} content
 * @param {string} [className]
 */
export function cell(content, className = "") {
  const one = element("td", className);
  one.append(content);
  return one;
}

/**
 * A cell that names its row.
 * @param {string} name
 * @param {string} [more] in smaller letters
 */
function head(name, more = "") {
  const one = element("th", "", name);
  one.scope = "row";
  if (more) one.append(element("small", "", more));
  return one;
}

/** @param {Node[]} cells */
function row(...cells) {
  const one = element("tr");
  one.append(...cells);
  return one;
}

/**
 * @param {number} columns
 * @param {string} content
 */
function empty(columns, content) {
  const one = cell(content, "none");
  one.colSpan = columns;
  return row(one);
}

/**
 * Counts by code, the largest first.
 * @param {Record<string, number>} counts
 */
export function list(counts) {
  const rows = Object.entries(counts).filter(([, value]) => value >= 0.5);
  if (!rows.length) return element("span", "none", "none");
  const one = element("ul", "codes");
  one.append(...rows.map(([code, value]) => element("li", "", `${count(value)} ${code}`)));
  return one;
}

/** @param {State} state */
export function problems(state) {
  const found = [
    ...state.workers.flatMap(ofWorker),
    ...state.providers.flatMap(ofProvider),
    ...state.store.flatMap(ofStore),
    ...uses(state).filter(({ isFull }) => isFull).map(({ name, text }) => `${name}: ${text}, nearly all.`),
  ];
  if (!found.length) return [element("li", "good", "No problems.")];
  return found.map((sentence) => element("li", "", sentence));
}

/** @param {State} worker */
function ofWorker(worker) {
  if (!worker.answers) return [`Worker ${worker.name} does not answer.`];
  return worker.draining ? [`Worker ${worker.name} shuts down: it accepts no new answers.`] : [];
}

/** @param {State} provider */
const ofProvider = (provider) =>
  provider.circuits.map((/** @type {State} */ it) => `${provider.name}: circuit ${circuit(it)}.`);

/** @param {State} store */
function ofStore(store) {
  if (store.up && !store.troubles.length) return [];
  return [`Store, as worker ${store.worker} sees it: ${store.troubles.join(", ") || "cannot be used"}.`];
}

/**
 * Why a circuit is not closed.
 * @param {State} it
 */
function circuit(it) {
  const since = it.since === null ? "" : ` since ${time(it.since)}`;
  const why = it.failures ? `, after ${it.failures} failures in a row${it.code && `, the last one ${it.code}`}` : "";
  return `${it.state} in worker ${it.worker}${since}${why}`;
}

/**
 * When an open circuit is tried again: not among the problems, which a screen reader says again if they change.
 * @param {State} it
 */
function next(it) {
  if (it.state !== "open") return "";
  return it.skipped_seconds ? `; tried again in ${seconds(it.skipped_seconds)}` : "; due to be tried again";
}

/**
 * What is limited, and how much of it is in use.
 * @param {State} state
 */
export function uses(state) {
  return [
    use("Answers running", state.generations, count),
    use("Viewers", state.viewers, count),
    use("Connections", state.connections, count),
    use("Stored answers", state.log_bytes, bytes),
    use("Unread by clients", state.unread_bytes, bytes),
  ];
}

/**
 * @param {string} name
 * @param {{used: number, limit: number}} it
 * @param {(value: number) => string} format
 */
function use(name, { used, limit }, format) {
  const share = limit ? used / limit : 0;
  return { name, share, used: format(used), text: `${format(used)} of ${format(limit)}`, limit: format(limit), isFull: share >= 0.9 };
}

/** @param {State} state */
export function useList(state) {
  return uses(state).map(({ name, share, used, limit, isFull }) => {
    const value = element("dd");
    value.append(element("b", "", used), ` of ${limit}`, bar(share, isFull));
    const one = element("div");
    one.append(element("dt", "", name), value);
    return one;
  });
}

/**
 * @param {number} share
 * @param {boolean} isFull
 */
function bar(share, isFull) {
  const one = element("div", "bar");
  one.setAttribute("aria-hidden", "true");
  const inner = element("i", isFull ? "full" : "");
  inner.style.width = `${Math.min(100, share * 100)}%`;
  one.append(inner);
  return one;
}

/** @param {State} state */
export const providerRows = (state) =>
  state.providers.map((/** @type {State} */ it) => {
    if (!it.ready && !it.running) return row(head(it.name, it.model), cell("its API key or its SDK is missing", "none"), ...Array.from({ length: 4 }, () => cell("–", "none")));
    const running = cell(`${it.running} of ${it.limit}`);
    running.append(bar(it.limit ? it.running / it.limit : 0, it.running >= it.limit * 0.9));
    const circuits = element("ul");
    circuits.append(...it.circuits.map((/** @type {State} */ one) => element("li", "", circuit(one) + next(one))));
    const first = `half within ${seconds(it.first_token.median)}, 95 % within ${seconds(it.first_token.p95)}`;
    return row(
      head(it.name, it.model),
      running,
      cell(it.circuits.length ? circuits : "closed"),
      cell(list(it.outcomes)),
      cell(list(it.failed_calls)),
      cell(it.first_token.median === null ? "–" : first),
    );
  });

/** @param {State} state */
export function failureRows(state) {
  if (!state.failures.length) return [empty(9, "None since the workers began.")];
  return state.failures.map((/** @type {State} */ it) =>
    row(
      cell(time(it.at), "time"),
      cell(it.code),
      cell(it.provider),
      cell(it.model),
      cell(String(it.call)),
      cell(seconds(it.seconds)),
      cell(it.has_begun ? "yes" : "no"),
      cell(it.generation, "mono"),
      cell(it.worker),
    ),
  );
}

/** @param {State} state */
export function dropRows(state) {
  if (!state.drops.length) return [empty(7, "None since the workers began.")];
  return state.drops.map((/** @type {State} */ it) =>
    row(
      cell(time(it.at), "time"),
      cell(it.reason),
      cell(it.dialect),
      cell(seconds(it.seconds)),
      cell(bytes(it.sent_bytes)),
      cell(it.generation, "mono"),
      cell(it.worker),
    ),
  );
}

/** @param {State} state */
export const workerRows = (state) =>
  state.workers.map((/** @type {State} */ it) => {
    if (!it.answers) return row(head(it.name), cell("does not answer"), ...Array.from({ length: 6 }, () => cell("–")));
    const figures = [it.generations ?? 0, it.viewers ?? 0, it.connections ?? 0].map((value) => cell(count(value)));
    return row(
      head(it.name),
      cell(it.draining ? "shuts down" : "serves"),
      cell(String(it.process)),
      cell(time(it.began), "time"),
      ...figures,
      cell(it.version),
    );
  });

/** @param {State} state */
export function storeState(state) {
  if (!state.store.length) return element("span", "none", "none: answers are kept in memory");
  const one = element("ul");
  one.append(
    ...state.store.map((/** @type {State} */ it) => {
      const latency = it.latency_seconds === null ? "" : `, ${seconds(it.latency_seconds)} for a command`;
      const troubles = it.troubles.length ? `: ${it.troubles.join(", ")}` : "";
      return element("li", "", `Worker ${it.worker}: ${it.up ? "usable" : "cannot be used"}${latency}${troubles}`);
    }),
  );
  return one;
}

/** @param {State} state */
export function reloadList(state) {
  if (!state.reloads.length) return element("span", "none", "not since the workers began");
  const one = element("ul");
  one.append(
    ...state.reloads.map((/** @type {State} */ it) =>
      element("li", "", `${time(it.at)}, worker ${it.worker}: ${it.changed.join(", ")}`),
    ),
  );
  return one;
}
