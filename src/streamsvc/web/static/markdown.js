// Markdown as trees: CommonMark with tables, strikethrough, bare addresses and task lists; mathematics stays source.

import { isAllowed } from "./links.js";
import { mathematics } from "./math.js";
import { mended } from "./mend.js";
import { Trees } from "./trees.js";

const LIBRARY = "./vendor/markdown-it/markdown-it.esm.min.mjs";
const { default: MarkdownIt } = await import(LIBRARY);

/**
 * @typedef {object} Token of markdown-it
 * @property {string} type
 * @property {string} tag
 * @property {-1 | 0 | 1} nesting
 * @property {string} content
 * @property {string} info
 * @property {string} markup
 * @property {[number, number] | null} map its first line and the one after its last
 * @property {Token[] | null} children
 * @property {(name: string) => string | null} attrGet
 *
 * @typedef {{references?: Record<string, object>, isOpen?: boolean}} Environment what the parser keeps
 */

const DEEPEST = 24; // a quotation in a quotation is one level, a list in a list is two

/** @param {any} state of the block parser; what is nested too deep is one paragraph, and not lost */
function tooDeep(state, /** @type {number} */ startLine, /** @type {number} */ endLine) {
  if (state.level < DEEPEST) return false;
  state.push("paragraph_open", "p", 1).map = [startLine, endLine];
  const inline = state.push("inline", "", 0);
  inline.content = state.getLines(startLine, endLine, state.blkIndent, false).trim();
  inline.map = [startLine, endLine];
  inline.children = [];
  state.push("paragraph_close", "p", -1);
  state.line = endLine;
  return true;
}

/** @param {any} state of the parser; the last text of an answer that still grows */
function mendEnd(state) {
  if (!state.env.isOpen) return;
  const last = state.tokens.findLast((/** @type {Token} */ token) => token.type === "inline" && token.content);
  if (last) last.content = mended(last.content);
}

const parser = new MarkdownIt({ html: false, linkify: true });
parser.disable("lheading"); // "---" below a paragraph is a rule, so no paragraph becomes a heading later
parser.linkify.set({ fuzzyLink: false, fuzzyEmail: false, fuzzyIP: false });
parser.normalizeLink = (/** @type {string} */ written) => written;
parser.validateLink = isAllowed;
parser.block.ruler.before("table", "too_deep", tooDeep);
parser.core.ruler.before("inline", "mend", mendEnd);
parser.use(mathematics);

/**
 * @param {string} source
 * @param {Environment} environment gets the link definitions of the source
 * @param {import("./seams.js").Labels} labels of the marks in the source
 * @param {number[]} depths of the headings above, and then those of the source, too
 */
export function blocksOf(source, environment, labels, depths) {
  /** @type {Token[]} */
  const tokens = parser.parse(source, environment);
  return new Trees(labels, depths).of(tokens);
}
