// A value of JSON as the literal of a language: the program that contains it has exactly that value.

/** Characters that a terminal or an editor does not show, or shows as something else. U+200D joins emoji. */
const UNSEEN =
  /[\u007f-\u00a0\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u2028-\u202f\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu;

/** What ends or changes the script element around it (HTML Living Standard, section 4.12.1.3). */
const MARKUP = /<(?=!--|\/?script)/gi;

const NAME = /^[A-Za-z_$][\w$]*$/;

/** @param {string} text */
const escaped = (text) =>
  text.replace(/[^]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

/**
 * A text as a JSON string, in which every character can be seen.
 * @param {string} text
 */
const quoted = (text) => JSON.stringify(text).replace(UNSEEN, escaped);

/**
 * @typedef {object} Language
 * @property {(text: string) => string} text
 * @property {(name: string) => string} name of a field
 * @property {Record<"true" | "false" | "null", string>} words
 * @property {string} indent of a level
 * @property {string} pad inside the braces of an object on one line
 * @property {string} end after the last item of a list on several lines
 */

/** @type {Language} */
const JSON_TEXT = {
  text: quoted,
  name: quoted,
  words: { true: "true", false: "false", null: "null" },
  indent: "  ",
  pad: "",
  end: "",
};

/** @type {Language} */
const JAVASCRIPT = {
  ...JSON_TEXT,
  text: (text) => quoted(text).replace(MARKUP, escaped),
  name(name) {
    if (name === "__proto__") return '["__proto__"]'; // otherwise it sets the prototype (ECMA-262, section B.3.1)
    return NAME.test(name) ? name : this.text(name);
  },
  pad: " ",
  end: ",",
};

/** @type {Language} */
const PYTHON = {
  ...JSON_TEXT,
  words: { true: "True", false: "False", null: "None" },
  indent: "    ",
  end: ",",
};

const WIDTH = 80;

/** @param {any} value of JSON */
export const toJson = (value) => write(value, JSON_TEXT, "");

/** @param {any} value of JSON */
export const toJavaScript = (value) => write(value, JAVASCRIPT, "");

/** @param {any} value of JSON */
export const toPython = (value) => write(value, PYTHON, "");

/**
 * @param {any} value
 * @param {Language} language
 * @param {string} indent of the line on which it begins
 * @returns {string}
 */
function write(value, language, indent) {
  if (typeof value === "string") return language.text(value);
  if (typeof value === "number") return JSON.stringify(value);
  if (typeof value !== "object" || value === null) return language.words[/** @type {"null"} */ (String(value))];
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const inner = indent + language.indent;
  const items = Array.isArray(value)
    ? value.map((item) => write(item, language, inner))
    : Object.entries(value).map(([name, item]) => `${language.name(name)}: ${write(item, language, inner)}`);
  const pad = open === "{" && items.length ? language.pad : "";
  const line = `${open}${pad}${items.join(", ")}${pad}${close}`;
  if (indent && !line.includes("\n") && indent.length + line.length <= WIDTH || !items.length) return line;
  return `${open}\n${inner}${items.join(`,\n${inner}`)}${language.end}\n${indent}${close}`;
}
