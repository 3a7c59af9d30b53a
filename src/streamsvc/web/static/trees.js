// The tokens of markdown-it as trees of the elements that an answer may have.

import { addressOf, linkTo } from "./links.js";

/**
 * @typedef {import("./draw.js").Tree} Tree
 * @typedef {import("./draw.js").Branch} Branch
 * @typedef {import("./markdown.js").Token} Token
 *
 * @typedef {object} Block a part of an answer that is not inside of another
 * @property {Branch} tree
 * @property {number} line where it begins
 * @property {number} lastLine where its last item or row begins, of a list or a table; else where it begins
 */

const DEEPEST = 60; // emphasis in emphasis in emphasis …: what is deeper has no element of its own

/** @type {Record<string, string>} */
const SIMPLE = {
  paragraph: "p", blockquote: "blockquote", bullet_list: "ul", thead: "thead", tbody: "tbody", tr: "tr",
  em: "em", strong: "strong", s: "del",
}; // prettier-ignore
const TASK = /^\[([ xX])\] /;
const FIRST_HEADING = 3; // those above it are the page's own
const LAST_HEADING = 6;

/**
 * @param {string} tag
 * @param {Tree[]} children
 * @param {Record<string, string | undefined>} [attributes]
 * @returns {Branch}
 */
const branch = (tag, children = [], attributes = {}) => ({ tag, attributes, children });

export class Trees {
  #labels;
  #depths;
  /** @type {Branch[]} the open elements, the outermost of which is the answer */
  #path = [branch("div")];
  /** @type {Block[]} */
  #blocks = [];

  /**
   * @param {import("./seams.js").Labels} labels
   * @param {number[]} depths of the headings above
   */
  constructor(labels, depths) {
    this.#labels = labels;
    this.#depths = depths;
  }

  /**
   * @param {Token[]} tokens
   * @returns {Block[]}
   */
  of(tokens) {
    for (const token of tokens) this.#block(token);
    return this.#blocks;
  }

  /** @param {Token} token */
  #block(token) {
    const name = token.type.replace(/_(open|close)$/, "");
    const depth = this.#path.length;
    const line = token.map?.[0] ?? 0;
    if (token.nesting < 0) return this.#close(name);
    if (this.#isNext(name)) this.#blocks[this.#blocks.length - 1].lastLine = line;
    const tree = this.#treeOf(name, token);
    if (!tree) return;
    if (depth === 1) this.#blocks.push({ tree, line, lastLine: line });
    this.#add(tree);
    if (token.nesting > 0) this.#path.push(name === "table" ? /** @type {Branch} */ (tree.children[0]) : tree);
    else this.#add("\n");
  }

  /**
   * @param {string} name
   * @param {Token} token
   * @returns {Branch | null}
   */
  #treeOf(name, token) {
    switch (name) {
      case "inline":
        this.#inline(token.children ?? []);
        return null;
      case "heading":
        return branch(`h${this.#level(Number(token.tag[1]))}`, [], { class: `as-${token.tag}` });
      case "ordered_list":
        return branch("ol", [], { start: token.attrGet("start") ?? undefined });
      case "list_item":
        return branch("li");
      case "table":
        return branch("div", [branch("table")], {
          class: "table", role: "region", tabindex: "0", "aria-label": "Table",
        }); // prettier-ignore
      case "th":
      case "td":
        return branch(name, [], { class: token.attrGet("style")?.replace("text-align:", "") });
      case "hr":
        return branch("hr");
      case "fence":
      case "code_block":
        return { tag: "figure", children: [], code: this.#code(token) };
      case "math_block":
        return branch("p", [branch("code", this.#labels.split(token.content), { class: "math" })]);
      default:
        return branch(SIMPLE[name] ?? "p");
    }
  }

  /**
   * Whether a list or a table that is a part of its own has another item or row now.
   * @param {string} name
   */
  #isNext(name) {
    const inner = this.#path[this.#path.length - 1];
    if (!inner.children.length) return false;
    return this.#path.length === 2 ? name === "list_item" : this.#path.length === 3 && inner.tag === "tbody" && name === "tr";
  }

  /** @param {string} name */
  #close(name) {
    this.#path.pop();
    this.#add(name === "td" || name === "th" ? "\t" : "\n");
  }

  /** @param {Tree} tree */
  #add(tree) {
    const { children } = this.#path[this.#path.length - 1];
    const last = children.at(-1);
    if (typeof tree === "string" && typeof last === "string") children[children.length - 1] = last + tree;
    else children.push(tree);
  }

  /**
   * Return the level of a heading: the first is below the page's own, and none leaves out a level.
   * @param {number} depth the number of its "#"
   */
  #level(depth) {
    while ((this.#depths.at(-1) ?? 0) >= depth) this.#depths.pop();
    this.#depths.push(depth);
    return Math.min(FIRST_HEADING + this.#depths.length - 1, LAST_HEADING);
  }

  /** @param {Token} token */
  #code({ info, content }) {
    const parts = this.#labels.split(info.trim().split(/\s/)[0]);
    const language = parts.map((part) => (typeof part === "string" ? part : "")).join("");
    const seams = parts.filter((part) => typeof part !== "string");
    return { language, text: this.#labels.split(content), seams };
  }

  /** @param {Token[]} tokens */
  #inline(tokens) {
    const paragraph = this.#path[this.#path.length - 1];
    const item = this.#path[this.#path.length - 2];
    if (item?.tag === "li" && item.children.length === 1) tokens = this.#task(item, paragraph, tokens);
    const start = this.#path.length;
    let left = 0; // elements that are too deep to be
    for (const token of tokens) {
      if (token.nesting < 0) {
        if (left) left--;
        else this.#path.pop();
        continue;
      }
      const tree = this.#inlineTree(token, this.#path.slice(start - 1).some(({ tag }) => tag === "a"));
      if (token.nesting && this.#path.length >= DEEPEST) left++;
      else if (Array.isArray(tree)) tree.forEach((one) => this.#add(one));
      else {
        this.#add(tree);
        if (token.nesting) this.#path.push(tree);
      }
    }
    this.#path.length = start;
  }

  /**
   * Show the box of a task; returns the tokens after it.
   * @param {Branch} item
   * @param {Branch} paragraph
   * @param {Token[]} tokens
   */
  #task(item, paragraph, tokens) {
    const [first, ...others] = tokens;
    const match = first?.type === "text" ? TASK.exec(first.content) : null;
    if (!match) return tokens;
    const isDone = match[1] !== " ";
    const attributes = { class: "box", role: "img", "aria-label": isDone ? "Done" : "Not done" };
    paragraph.children.push(branch("span", [isDone ? "☑" : "☐"], attributes), " ");
    item.attributes = { class: "task" };
    return [{ ...first, content: first.content.slice(match[0].length) }, ...others];
  }

  /**
   * @param {Token} token
   * @param {boolean} isInLink
   * @returns {Branch | Tree[]}
   */
  #inlineTree(token, isInLink) {
    switch (token.type) {
      case "softbreak":
      case "hardbreak":
        return ["\n"]; // which shows, so that a poem stays one
      case "code_inline":
        return branch("code", this.#labels.split(token.content));
      case "math_inline":
        return branch("code", this.#labels.split(token.content), { class: "math" });
      case "link_open":
        return branch("a", [], linkTo(token.attrGet("href") ?? "", token.markup !== "" || isInLink));
      case "image":
        return this.#image(token, isInLink);
      case "em_open":
      case "strong_open":
      case "s_open":
        return branch(SIMPLE[token.type.replace("_open", "")]);
      default:
        return this.#labels.split(token.content);
    }
  }

  /**
   * An image is a link to it: nothing is fetched.
   * @param {Token} token
   * @param {boolean} isInLink
   */
  #image(token, isInLink) {
    const written = token.attrGet("src") ?? "";
    const words = (token.children ?? []).flatMap(({ content }) => this.#labels.split(content));
    const shown = words.length ? words : [addressOf(written)?.pathname.split("/").pop() || "image"];
    return isInLink ? shown : branch("a", shown, { ...linkTo(written, false), class: "image" });
  }
}
