// The operators' page: asks for the state of the service every two seconds, while somebody looks.

import { checkKeysAt, onKeyNeeded, request } from "./access.js";
import { count, seconds, time } from "./format.js";
import { KeyDialog } from "./key-dialog.js";
import {
  dropRows, failureRows, list, problems, providerRows, reloadList, storeState, useList, workerRows,
} from "./parts.js";
import { Plot } from "./plot.js";

const STATE = "operations/state";
const EVERY_MS = 2000;

/** @param {string} selector */
const part = (selector) => /** @type {HTMLElement} */ (document.querySelector(selector));

const pause = part("#pause");
const updated = part("#updated");
const main = part("main");
const plots = { first_token: new Plot(part("#first-token")), gaps: new Plot(part("#gaps")) };

checkKeysAt(STATE);
const dialog = new KeyDialog(/** @type {HTMLDialogElement} */ (part("#key-dialog")), () => {});
onKeyNeeded((reason) => dialog.ask(reason));

let isPaused = false;
/** Whether the last request was refused, so that asking again by itself makes no sense. */
let isRefused = false;
let isAsking = false;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {Map<Element, string>} what is shown, so that what stays the same is not touched: text may be selected */
const shown = new Map();

/**
 * Replace the content of a part, if it is another one.
 * @param {string} selector
 * @param {Node | Node[]} content
 */
function put(selector, content) {
  const box = part(selector);
  const nodes = Array.isArray(content) ? content : [content];
  const text = nodes.map((node) => /** @type {Element} */ (node).outerHTML).join("");
  if (shown.get(box) === text) return;
  shown.set(box, text);
  box.replaceChildren(...nodes);
}

/** @param {any} state */
function show(state) {
  put("#problems", problems(state));
  put("#uses", useList(state));
  plots.first_token.show(state.first_token);
  plots.gaps.show(state.gaps);
  put("#providers tbody", providerRows(state));
  put("#streams", list(state.streams));
  put("#resumes", list(state.resumes));
  put("#refusals", list(state.refusals));
  put("#saved", list(state.tokens.saved));
  put("#wasted", list(state.tokens.wasted));
  put("#failures tbody", failureRows(state));
  put("#drops tbody", dropRows(state));
  put("#workers tbody", workerRows(state));
  put("#redis", storeState(state));
  put("#reloads", reloadList(state));
  for (const one of document.querySelectorAll(".window")) {
    one.textContent = `last ${seconds(Math.max(1, Math.round(state.window_seconds)))}`;
  }
  const workers = state.workers.length === 1 ? "" : ` · ${count(state.workers.length)} workers`;
  say("open", `${time(state.at)}${workers}`);
}

/**
 * @param {string} state
 * @param {string} text
 */
function say(state, text) {
  updated.dataset.state = state;
  updated.textContent = text;
  main.toggleAttribute("data-stale", state !== "open");
}

/** Ask now, and again a while after the answer. */
async function ask() {
  clearTimeout(timer);
  if (isAsking || isPaused || document.hidden) return;
  isAsking = true;
  try {
    show(await request(STATE));
    isRefused = false;
  } catch (problem) {
    const code = /** @type {any} */ (problem).code;
    isRefused = ["unauthorized", "invalid_api_key", "operators_only", "not_found"].includes(code);
    say("refused", /** @type {Error} */ (problem).message);
  }
  isAsking = false;
  if (isRefused) setPaused(true);
  else timer = setTimeout(ask, EVERY_MS);
}

/** @param {boolean} paused */
function setPaused(paused) {
  isPaused = paused;
  pause.textContent = paused ? "Continue" : "Pause";
  if (!paused) ask();
  else if (!isRefused) say("idle", `paused, as of ${updated.textContent}`);
}

pause.addEventListener("click", () => setPaused(!isPaused));
document.addEventListener("visibilitychange", ask);
ask();
