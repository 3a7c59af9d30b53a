// Mathematics in Markdown, as models write it. It stays source; it only must not be taken for emphasis.

const MATH_CHARS = 2000; // how far an opening is followed to its end

/** @type {[opening: string, closing: string][]} */
const PAIRS = [["\\(", "\\)"], ["\\[", "\\]"], ["$$", "$$"]]; // prettier-ignore
const DOLLARS = /\$(?=[^\s$])(?:[^$\\\n]|\\[^\n])*(?<=\S)\$(?!\d)/y; // $5 and $6 are prices

/** @param {any} parser of markdown-it */
export function mathematics(parser) {
  parser.inline.ruler.before("escape", "math", inline);
  parser.block.ruler.before("fence", "math_block", block, {
    alt: ["paragraph", "reference", "blockquote", "list"],
  });
}

/**
 * @param {any} state of the inline parser
 * @param {boolean} isSilent
 */
function inline(state, isSilent) {
  const char = state.src[state.pos];
  if (char !== "\\" && char !== "$") return false;
  const length = lengthOf(state.src.slice(state.pos, Math.min(state.posMax, state.pos + MATH_CHARS)));
  if (!length) return false;
  if (!isSilent) state.push("math_inline", "code", 0).content = state.src.slice(state.pos, state.pos + length);
  state.pos += length;
  return true;
}

/**
 * Return how long the mathematics at the beginning of a text are.
 * @param {string} text
 */
function lengthOf(text) {
  for (const [opening, closing] of PAIRS) {
    if (!text.startsWith(opening)) continue;
    const end = text.indexOf(closing, opening.length);
    return end > opening.length ? end + closing.length : 0;
  }
  DOLLARS.lastIndex = 0;
  return DOLLARS.exec(text)?.[0].length ?? 0;
}

/**
 * A formula on lines of its own; one that is not closed ends with the answer, as a code block does.
 * @param {any} state of the block parser
 * @param {number} startLine
 * @param {number} endLine
 * @param {boolean} isSilent
 */
function block(state, startLine, endLine, isSilent) {
  const line = (/** @type {number} */ at) => state.src.slice(state.bMarks[at] + state.tShift[at], state.eMarks[at]).trim();
  if (state.sCount[startLine] - state.blkIndent >= 4) return false;
  const pair = PAIRS.find(([opening]) => opening !== "\\(" && line(startLine) === opening);
  if (!pair) return false;
  if (isSilent) return true;
  let end = startLine + 1;
  while (end < endLine && !line(end).endsWith(pair[1])) {
    if (line(end) && state.sCount[end] < state.blkIndent) break;
    end++;
  }
  const isClosed = end < endLine && line(end).endsWith(pair[1]);
  state.line = isClosed ? end + 1 : end;
  const token = state.push("math_block", "code", 0);
  token.content = state.getLines(startLine, state.line, state.blkIndent, false).trim();
  token.map = [startLine, state.line];
  return true;
}
