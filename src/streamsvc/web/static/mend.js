// Markdown that is half-written: what is still open is shown as it will most likely become, so that nothing jumps.

import { PENDING } from "./links.js";
import { SEAM } from "./seams.js";

const LINK_CHARS = 300; // how far a "[" waits for its "]"
const MOST_OPEN = 20;

const ONLY_MARKERS = /^(?:[\s>|#*+\-_=:~`$\uFDD0]|\\\[?$|\d{1,9}(?:[.)](?=\s|$)|$))*$/;
const DEFINITION = /^ {0,3}\[[^\]\n]+\]:\s*\S*$/; // of a link, which is not shown
const FENCE = /^[\s>\uFDD0]*(?:[-*+]\s+|\d{1,9}[.)]\s+)*(?:`{3,}[^`]*|~{3,}.*)$/;
const ROW = /^[\s>]*(?:(?:[-*+]|\d{1,9}[.)])\s+)?\|/;
const TASK = /^[\s>]*(?:[-*+]|\d{1,9}[.)])\s+\uFDD0*\[[ xX]?\]?\s*$/;

const UNCLEAR = [ONLY_MARKERS, FENCE, TASK, DEFINITION];

/**
 * Return a source without its last line if that may become anything, such as "-" or "1.".
 * @param {string} source
 */
export function withoutOpenLine(source) {
  const start = source.lastIndexOf("\n") + 1;
  const line = source.slice(start);
  if (!line.trim() || !UNCLEAR.some((kind) => kind.test(line))) return source;
  return source.slice(0, start) + line.replace(/[^\uFDD0]/g, "");
}

/**
 * Return the second line of the table that the last line may begin; empty if it begins none.
 * @param {string} source
 */
export function delimiterRow(source) {
  const [above, line] = ["", ...source.replace(/\n$/, "").split("\n")].slice(-2);
  if (!ROW.test(line) || ROW.test(above)) return "";
  const [prefix, row] = [line.slice(0, line.indexOf("|")), line.slice(line.indexOf("|") + 1).trimEnd()];
  const cells = row.replace(/(?<!\\)\|$/, "").split(/(?<!\\)\|/).length;
  return `${prefix.replace(/[^>\s]/g, " ")}|${"-|".repeat(cells)}`;
}

/**
 * Return the last text of an answer with everything closed that is open: "**bol" is "**bol**".
 * @param {string} text the content of a paragraph, a heading or a cell
 */
export function mended(text) {
  let end = text.length;
  while (end && AT_END.test(text[end - 1])) end--;
  if (text[end - 1] === "!" && text[end] === "[") end--;
  const seams = text.slice(end).replace(/[^\uFDD0]/g, "");
  return new Scan((text.slice(0, end) + seams).trimEnd()).closed();
}

const AT_END = /[*_~`\\[\s\uFDD0]/; // at the end of a text these open or close nothing yet

/** @typedef {{kind: "*" | "_" | "~" | "[", length: number, at: number}} Open */

const WORD = /[\p{L}\p{N}\uFDD0]/u;
const SPACE = /\s/;
const AUTOLINK = /<[a-z][a-z\d+.-]{1,31}:[^<>\s]*/iy;

class Scan {
  #text;
  /** @type {Open[]} */
  #open = [];
  #end = "";

  /** @param {string} text */
  constructor(text) {
    this.#text = text;
  }

  closed() {
    for (let at = 0; at < this.#text.length; ) at = this.#step(at);
    let text = this.#text + this.#end;
    let isLink = false; // a link has none in it
    for (const { kind, length, at } of this.#open.slice(-MOST_OPEN).reverse()) {
      if (kind !== "[") text += kind.repeat(length);
      else if (!isLink && (isLink = this.#mayBeLink(at))) text += `](${PENDING})`;
    }
    return text;
  }

  /** @param {number} at */
  #step(at) {
    const char = this.#text[at];
    if (char === "\\") return this.#escape(at);
    if (char === "`") return this.#verbatim(at, this.#run(at));
    if (char === "$" && this.#text[at + 1] === "$") return this.#verbatim(at, "$$");
    if (char === "<") return this.#autolink(at);
    if (char === "[") return this.#bracket(at);
    if (char === "]") return this.#link(at);
    if (char === "*" || char === "_" || char === "~") return this.#delimiters(at, char);
    return at + 1;
  }

  /** @param {number} at */
  #run(at) {
    let end = at;
    while (this.#text[end] === this.#text[at]) end++;
    return this.#text.slice(at, end);
  }

  /** @param {number} at */
  #escape(at) {
    const next = this.#text[at + 1];
    if (next === "(") return this.#verbatim(at, "\\(", "\\)");
    if (next === "[") return this.#verbatim(at, "\\[", "\\]");
    return at + 2;
  }

  /**
   * Pass over code or mathematics, which have no markup in them.
   * @param {number} at
   * @param {string} opening
   * @param {string} closing
   */
  #verbatim(at, opening, closing = opening) {
    let from = at + opening.length;
    if (opening[0] !== "`") {
      const end = this.#text.indexOf(closing, from);
      if (end >= 0) return end + closing.length;
    } else {
      for (; from < this.#text.length; from++) {
        if (this.#text[from] !== "`") continue;
        const run = this.#run(from);
        if (run === closing) return from + run.length;
        from += run.length - 1;
      }
    }
    this.#end = closing;
    return this.#text.length;
  }

  /** @param {number} at */
  #autolink(at) {
    AUTOLINK.lastIndex = at;
    const end = at + (AUTOLINK.exec(this.#text)?.[0].length ?? 1);
    if (end > at + 1 && end === this.#text.length) this.#end = ">";
    return end;
  }

  /** @param {number} at */
  #bracket(at) {
    this.#open.push({ kind: "[", length: 1, at });
    return at + 1;
  }

  /** @param {number} at */
  #link(at) {
    const index = this.#open.findLastIndex(({ kind }) => kind === "[");
    if (index < 0) return at + 1;
    const { at: from } = this.#open[index];
    const next = this.#text[at + 1];
    if (next === "(") {
      const end = this.#endOfTarget(at + 2);
      if (end) {
        this.#open.length = index;
        return end;
      }
    }
    const isOpen = next === "(" || (next === undefined && this.#mayBeLink(from));
    if (!isOpen) {
      this.#open.splice(index, 1);
      return at + 1;
    }
    this.#text = this.#text.slice(0, at);
    return at;
  }

  /** @param {number} from */
  #endOfTarget(from) {
    let depth = 0;
    for (let at = from; at < this.#text.length; at++) {
      const char = this.#text[at];
      if (char === "\\") at++;
      else if (char === "(") depth++;
      else if (char === ")" && depth-- === 0) return at + 1;
    }
    return 0;
  }

  /**
   * Whether a "[" may be that of a link: "[1]" is a citation.
   * @param {number} at
   */
  #mayBeLink(at) {
    const text = this.#text.slice(at + 1, at + LINK_CHARS + 1).replaceAll(SEAM, "");
    return text.length > 0 && text.length < LINK_CHARS && !/^[\^\s\d]/.test(text);
  }

  /**
   * @param {number} at
   * @param {"*" | "_" | "~"} kind
   */
  #delimiters(at, kind) {
    let { length } = this.#run(at);
    const end = at + length;
    const [before, after] = [this.#text[at - 1] ?? " ", this.#text[end] ?? " "];
    if (kind === "~" && length !== 2) return end;
    if (!SPACE.test(before) && !(kind === "_" && WORD.test(after))) {
      for (let index = this.#open.length - 1; index >= 0 && length; index--) {
        const open = this.#open[index];
        if (open.kind !== kind) continue;
        const closed = Math.min(open.length, length);
        length -= closed;
        open.length -= closed;
        this.#open.length = open.length ? index + 1 : index;
      }
    }
    const mayOpen = length > 1 ? !(kind === "_" && WORD.test(before)) : !WORD.test(before);
    if (length && mayOpen && !SPACE.test(after)) this.#open.push({ kind, length, at });
    return end;
  }
}
