// Markdown that grows, on the page. What is above its last part is settled: it is read once more, and then never again.

import "./code.js";
import { draw } from "./draw.js";
import { blocksOf } from "./markdown.js";
import { delimiterRow, withoutOpenLine } from "./mend.js";
import { Labels, SEAM, countSeams, toWords } from "./seams.js";

/**
 * @typedef {import("./draw.js").Tree} Tree
 * @typedef {import("./draw.js").Branch} Branch
 * @typedef {import("./trees.js").Block} Block
 *
 * @typedef {object} Growing a list or a table some of whose items or rows are settled
 * @property {Element} element the part of the answer
 * @property {Element} rows has the items or rows
 * @property {Node | null} after the last settled one
 * @property {string} head what stands above each row: the first two lines of a table
 */

const BETWEEN = "\n\n"; // parts of an answer, for who reads its text
const HEAD_LINES = 2;
const BLOCKS = ["LI", "OL", "UL", "BLOCKQUOTE", "P", "H3", "H4", "H5", "H6", "TABLE", "TBODY", "TR", "TD", "FIGURE", "PRE", "DIV"];

export class Sheet {
  #element;
  #labels;
  /** The source that is not settled; its line ends are "\n", and each mark is one character. */
  #tail = "";
  #settled = "";
  #settledSeams = 0;
  /** @type {Node | null} the last settled node */
  #after = null;
  /** @type {Growing | null} */
  #growing = null;
  /** @type {Record<string, object>} the definitions of links in what is settled */
  #references = {};
  #hasLateReferences = false;
  /** @type {number[]} the headings above, from the outermost */
  #depths = [];
  /** @type {Element | null} */
  #end = null;

  /**
   * @param {Element} element is filled
   * @param {string[]} labels of the marks, in their order
   */
  constructor(element, labels) {
    this.#element = element;
    this.#labels = labels;
    element.replaceChildren();
  }

  /**
   * Show what has come meanwhile.
   * @param {string} source
   */
  grow(source) {
    this.#add(source);
    let open = withoutOpenLine(this.#tail);
    let blocks = this.#read(open, true);
    const settled = settledLines(blocks, this.#growing);
    if (settled.lines) {
      this.#settle(settled);
      open = withoutOpenLine(this.#tail);
      blocks = this.#read(open, true);
    }
    this.#draw(this.#asOpen(open, blocks));
    this.#showEnd();
  }

  /**
   * Show all of it as it is: nothing follows.
   * @param {string} source
   */
  finish(source) {
    this.#add(source);
    this.#settle({ lines: Infinity, isInside: false });
    if (this.#hasLateReferences) {
      this.#after = null;
      this.#settledSeams = 0;
      this.#depths = [];
      this.#tail = this.#settled;
      this.#settled = "";
      this.#settle({ lines: Infinity, isInside: false });
    }
    this.#end?.removeAttribute("data-end");
  }

  /** @param {string} source */
  #add(source) {
    this.#tail = toWords(this.#tail + source);
  }

  /**
   * @param {string} source
   * @param {boolean} isOpen
   */
  #read(source, isOpen) {
    const references = isOpen ? Object.create(this.#references) : this.#references;
    const labels = new Labels(this.#labels, this.#settledSeams);
    const depths = isOpen ? [...this.#depths] : this.#depths;
    const blocks = blocksOf((this.#growing?.head ?? "") + source, { references, isOpen }, labels, depths);
    const strays = [...labels.upTo(this.#settledSeams + countSeams(source))];
    if (strays.length) addStrays(blocks, strays);
    return blocks;
  }

  /**
   * Return the blocks that may still grow. A line that begins a table is one from its first cell on.
   * @param {string} source
   * @param {Block[]} blocks
   */
  #asOpen(source, blocks) {
    const leaf = leafOf(blocks);
    if (leaf?.code) leaf.code.isOpen = true;
    const row = leaf?.tag === "p" ? delimiterRow(source) : "";
    return row ? this.#read(`${source.trimEnd()}\n${row}`, true) : blocks;
  }

  /** @param {{lines: number, isInside: boolean}} settled */
  #settle({ lines, isInside }) {
    const parts = this.#tail.split("\n");
    const source = lines < parts.length ? `${parts.slice(0, lines).join("\n")}\n` : this.#tail;
    const before = Object.keys(this.#references).length;
    const blocks = this.#read(source, false);
    this.#hasLateReferences ||= this.#settled !== "" && Object.keys(this.#references).length > before;
    this.#draw(blocks);
    const head = isInside ? this.#headOf(blocks, source) : "";
    this.#growing = isInside ? growingOf(/** @type {Element} */ (this.#element.lastElementChild), head) : null;
    this.#after = this.#element.lastChild;
    this.#settled += source;
    this.#settledSeams += countSeams(source);
    this.#tail = this.#tail.slice(source.length);
  }

  /**
   * @param {Block[]} blocks
   * @param {string} source
   */
  #headOf(blocks, source) {
    const { line, tree } = blocks[blocks.length - 1];
    if (tree.tag !== "div") return "";
    const lines = ((this.#growing?.head ?? "") + source).split("\n").slice(line, line + HEAD_LINES);
    return `${lines.join("\n")}\n`.replaceAll(SEAM, "");
  }

  /** @param {Block[]} blocks */
  #draw(blocks) {
    const growing = this.#growing;
    const goesOn = growing !== null && blocks[0]?.tree.tag === growing.element.localName;
    if (growing) draw(growing.rows, goesOn ? rowsOf(blocks[0].tree) : [], growing.after);
    const after = growing ? growing.element : this.#after;
    const trees = blocks.slice(goesOn ? 1 : 0).flatMap(({ tree }) => [BETWEEN, tree]);
    draw(this.#element, after ? trees : trees.slice(1), after);
  }

  /** Let the end be found by the style sheet, which shows it. */
  #showEnd() {
    let end = this.#element;
    for (let last = end.lastElementChild; last && BLOCKS.includes(last.tagName); last = end.lastElementChild) end = last;
    end = end.tagName === "PRE" ? (end.lastElementChild ?? end) : end;
    if (end === this.#end) return;
    this.#end?.removeAttribute("data-end");
    this.#end = end === this.#element ? null : end;
    this.#end?.setAttribute("data-end", "");
  }
}

/**
 * Return how many lines can be settled: those above the last part, or above the last item or row of it.
 * @param {Block[]} blocks
 * @param {Growing | null} growing
 */
function settledLines(blocks, growing) {
  const last = blocks.at(-1);
  if (!last) return { lines: 0, isInside: false };
  const headLines = growing?.head ? HEAD_LINES : 0;
  return { lines: Math.max(0, last.lastLine - headLines), isInside: last.lastLine > last.line };
}

/**
 * @param {Element} element
 * @param {string} head
 * @returns {Growing}
 */
function growingOf(element, head) {
  const rows = head ? /** @type {Element} */ (element.querySelector("tbody")) : element;
  return { element, rows, after: rows.lastChild, head };
}

/**
 * @param {Branch} tree of a list or a table
 * @returns {Tree[]}
 */
function rowsOf({ tag, children }) {
  if (tag !== "div") return children;
  const [table] = /** @type {Branch[]} */ (children);
  const body = table.children.find((child) => typeof child !== "string" && child.tag === "tbody");
  return body ? /** @type {Branch} */ (body).children : [];
}

/**
 * Return the last part of the last part … of some blocks.
 * @param {Block[]} blocks
 */
function leafOf(blocks) {
  let leaf = blocks.at(-1)?.tree;
  while (leaf && BLOCKS.includes(leaf.tag.toUpperCase()) && leaf.tag !== "p") {
    const inner = leaf.children.findLast((child) => typeof child !== "string");
    if (!inner || !BLOCKS.includes(/** @type {Branch} */ (inner).tag.toUpperCase())) break;
    leaf = /** @type {Branch} */ (inner);
  }
  return leaf;
}

/**
 * Show marks that are in no text, but in the target of a link, say.
 * @param {Block[]} blocks
 * @param {Branch[]} strays
 */
function addStrays(blocks, strays) {
  const leaf = leafOf(blocks);
  if (leaf?.code) leaf.code.text.push(...strays);
  else if (leaf && leaf.tag !== "hr") leaf.children.push(...strays);
  else blocks.push({ tree: { tag: "p", children: strays }, line: 0, lastLine: 0 });
}
