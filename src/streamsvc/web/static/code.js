// Code blocks: a caption, a button that copies the code, and colours while it grows.

import { toClipboard } from "./clipboard.js";
import { draw, onCode } from "./draw.js";
import { colorsOf, fileOf, load } from "./highlight.js";

/**
 * @typedef {import("./draw.js").Tree} Tree
 *
 * @typedef {object} Code
 * @property {string} language as the answer names it; empty if it does not
 * @property {Tree[]} text with its marks
 * @property {Tree[]} seams the marks before it
 * @property {boolean} [isOpen] whether it may still grow
 *
 * @typedef {object} Shown
 * @property {HTMLElement} title
 * @property {HTMLElement} code
 * @property {Code} [now]
 * @property {string} [file] the grammar that was asked for
 * @property {Tree[]} [colors]
 * @property {string} [colored] the text that has these colours
 */

const NAME_CHARS = 30;
const LIVE_CHARS = 4000; // up to here the colours of an open block are found again with each word
const MOST_CHARS = 50_000; // a longer one has no colours

/** @type {WeakMap<Node, Shown>} */
const shown = new WeakMap();

onCode((node, { code }) => {
  const now = /** @type {Code} */ (code);
  let figure = /** @type {HTMLElement | null} */ (node && shown.has(node) ? node : null);
  if (!figure) {
    const made = codeBlock("code");
    figure = made.figure;
    shown.set(figure, made);
  }
  const block = /** @type {Shown} */ (shown.get(figure));
  const name = now.language.slice(0, NAME_CHARS) || "code";
  if (block.title.textContent !== name) {
    block.title.textContent = name;
    block.code.parentElement?.setAttribute("aria-label", `${name} block`);
  }
  block.now = now;
  paint(block);
  return figure;
});

/**
 * Show the code of a block, with its colours as far as they are known.
 * @param {Shown} block
 */
function paint(block) {
  const { language, text, seams, isOpen } = /** @type {Code} */ (block.now);
  const plain = text.map((tree) => (typeof tree === "string" ? tree : "")).join("");
  const file = fileOf(language);
  if (file && block.file !== file) {
    block.file = file;
    load(file).then(() => paint(block), () => {}); // it stays readable without colours
  }
  if (file && plain.length <= (isOpen ? LIVE_CHARS : MOST_CHARS) && plain !== block.colored) {
    block.colors = colorsOf(file, plain);
    block.colored = block.colors ? plain : "";
  }
  const { colors = [], colored = "" } = block;
  const isKnown = block.file === file && plain.startsWith(colored);
  const trees = isKnown ? [...colors, plain.slice(colored.length)] : [plain];
  draw(block.code, [...seams, ...withSeams(trees.filter(Boolean), text)]);
}

/**
 * Put the marks of a text into its colours.
 * @param {Tree[]} colors
 * @param {Tree[]} text
 */
function withSeams(colors, text) {
  let at = 0;
  for (const part of text) {
    if (typeof part === "string") at += part.length;
    else colors = insert(colors, at, part);
  }
  return colors;
}

/**
 * @param {Tree[]} trees
 * @param {number} at
 * @param {Tree} seam
 * @returns {Tree[]}
 */
function insert(trees, at, seam) {
  for (const [index, tree] of trees.entries()) {
    const length = lengthOf(tree);
    if (at <= length && !isSeam(tree)) {
      const parts =
        typeof tree === "string"
          ? [tree.slice(0, at), seam, tree.slice(at)].filter(Boolean)
          : [{ ...tree, children: insert(tree.children, at, seam) }];
      return trees.toSpliced(index, 1, ...parts);
    }
    at -= length;
  }
  return [...trees, seam];
}

/**
 * @param {Tree} tree
 * @returns {number}
 */
const lengthOf = (tree) =>
  typeof tree === "string" ? tree.length : tree.children.reduce((sum, child) => sum + lengthOf(child), 0);

/** @param {Tree} tree */
const isSeam = (tree) => typeof tree !== "string" && tree.attributes?.class === "seam";

/**
 * Make an empty code block with a caption and a button that copies it.
 * @param {string} name what it is, or its language
 * @param {string} [label] of its code, for screen readers
 */
export function codeBlock(name, label = `${name} block`) {
  const [figure, caption, title, copy, pre, code] = [
    "figure", "figcaption", "span", "button", "pre", "code",
  ].map((tag) => document.createElement(tag));
  title.textContent = name;
  copy.textContent = "Copy";
  copy.setAttribute("type", "button");
  copy.addEventListener("click", async () => {
    const done = await toClipboard(code);
    copy.textContent = done ? "Copied" : "Selected";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
  pre.tabIndex = 0; // it scrolls, so it can be reached without a mouse
  pre.setAttribute("role", "group");
  pre.setAttribute("aria-label", label);
  caption.append(title, copy);
  pre.append(code);
  figure.append(caption, pre);
  return { figure, title, code };
}
