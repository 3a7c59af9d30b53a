// Text that grows; a fenced code block looks like one from its first line on.
// Whatever the model says becomes text nodes, never markup.

const OPENING = /^ {0,3}(`{3,}(?=[^`]*$)|~{3,})[ \t]*(\S*)/; // CommonMark 0.31, section 4.5
const MAY_OPEN = /^ {0,3}(`{0,2}|~{0,2}|`{3,}[^`]*|~{3,}.*)$/;

const BLOCK_CHARS = 2000; // each word lays its paragraph out again, so no paragraph may grow forever

export class Answer {
  #element;
  /** @type {Element | null} where text goes: a paragraph or a code element */
  #block = null;
  /** @type {Text | null} */
  #node = null;
  /** @type {{may: RegExp, is: RegExp} | null} the end of the open code block; null outside of one */
  #closing = null;
  /** The beginning of a line that may become a fence: not shown before that is known. */
  #held = "";
  #isLineStart = true;

  /** All of it, as it came. */
  text = "";

  /** @param {Element} element is filled */
  constructor(element) {
    this.#element = element;
  }

  clear() {
    this.#element.replaceChildren();
    this.#block = this.#node = this.#closing = null;
    this.#held = this.text = "";
    this.#isLineStart = true;
  }

  /** @param {string} piece */
  append(piece) {
    this.text += piece;
    for (const part of piece.split(/(?<=\n)/)) this.#take(part);
  }

  /** The answer is over: what was held back is what it is. */
  finish() {
    const line = this.#held;
    this.#held = "";
    if (line && !this.#closes(line) && !this.#opens(line)) this.#show(line);
  }

  /**
   * Mark this position; the label is not part of the text.
   * @param {string} label
   */
  mark(label) {
    const mark = document.createElement("span");
    mark.className = "seam";
    mark.dataset.label = label;
    this.#place().append(mark);
    this.#node = null;
  }

  /** @param {string} part some of one line, with its end or without */
  #take(part) {
    const isWhole = part.endsWith("\n");
    if (this.#isLineStart) {
      part = this.#held + part;
      this.#held = "";
      const line = part.replace(/\r?\n?$/, "");
      if (!isWhole && (this.#closing?.may ?? MAY_OPEN).test(line)) {
        this.#held = part;
        return;
      }
      if (isWhole && (this.#closes(line) || this.#opens(line))) return;
    }
    this.#isLineStart = isWhole;
    this.#show(part);
  }

  /** @param {string} line */
  #opens(line) {
    const match = this.#closing ? null : OPENING.exec(line);
    if (!match) return false;
    const [, fence, language] = match;
    this.#closing = {
      may: new RegExp(`^ {0,3}(${fence[0]}+[ \\t]*)?$`),
      is: new RegExp(`^ {0,3}${fence[0]}{${fence.length},}[ \\t]*$`),
    };
    this.#openCode(language);
    return true;
  }

  /** @param {string} line */
  #closes(line) {
    if (!this.#closing?.is.test(line)) return false;
    this.#closing = this.#block = this.#node = null;
    return true;
  }

  /** @param {string} text */
  #show(text) {
    if (!this.#node) {
      this.#node = document.createTextNode("");
      this.#place().append(this.#node);
    }
    this.#node.appendData(text);
    const isLong = this.#block?.tagName === "P" && this.#node.length > BLOCK_CHARS;
    if (isLong && text.endsWith("\n")) this.#block = this.#node = null;
  }

  #place() {
    if (!this.#block) {
      this.#block = document.createElement("p");
      this.#element.append(this.#block);
    }
    return this.#block;
  }

  /** @param {string} language */
  #openCode(language) {
    const { figure, code } = codeBlock(language || "code");
    this.#element.append(figure);
    this.#block = code;
    this.#node = null;
  }
}

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

/**
 * Copy the text, or select it where the browser forbids copying (a page without TLS).
 * @param {Element} element
 */
async function toClipboard(element) {
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return false;
  }
}
