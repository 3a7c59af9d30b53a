// Whether what the browser has kept is what this page writes: other pages of the same origin, another version of
// this one and a person may have written there.

/** @typedef {import("./shelf.js").Entry} Entry */
/** @typedef {import("./shelf.js").Item} Item */

const ROLES = ["user", "assistant", "tool"];

/** @param {any} it */
export const isObject = (it) => typeof it === "object" && it !== null && !Array.isArray(it);

/** @param {any[]} values */
const areTexts = (...values) => values.every((value) => typeof value === "string");

/**
 * @param {any} it
 * @returns {it is Entry}
 */
export const isEntry = (it) => isObject(it) && areTexts(it.id, it.title) && Number.isFinite(it.at);

/**
 * @param {any} it
 * @returns {it is Item}
 */
export function isItem(it) {
  if (!isObject(it) || !(it.message || it.answer)) return false;
  return (!it.message || isMessage(it.message)) && (!it.answer || isAnswer(it.answer));
}

/** @param {any} it */
function isMessage(it) {
  const { role, content, tool_calls: calls = [] } = it;
  const hasText = areTexts(content) || (role === "user" && Array.isArray(content) && content.every(isPart));
  return ROLES.includes(role) && hasText && Array.isArray(calls) && calls.every(isCall);
}

/** @param {any} it */
const isPart = (it) =>
  (it?.type === "text" && areTexts(it.text)) || (it?.type === "image_url" && areTexts(it.image_url?.url));

/** @param {any} it */
function isCall(it) {
  if (!areTexts(it?.id, it?.function?.name, it?.function?.arguments)) return false;
  try {
    JSON.parse(it.function.arguments);
    return true;
  } catch {
    return false;
  }
}

/** @param {any} it */
function isAnswer({ generation, cursor, says, choices }) {
  if (!areTexts(generation, cursor, says) || !isObject(choices)) return false;
  const format = choices.response_format;
  return !format || isObject(format.json_schema?.schema);
}
