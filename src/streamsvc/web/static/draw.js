// Trees of a few kinds of elements, drawn into the page. A node that is equal stays; a text that grew gets the rest.
// This is the only place that turns words of a model into nodes, and it makes text nodes and the elements below.

/**
 * @typedef {object} Branch
 * @property {string} tag
 * @property {Record<string, string | undefined>} [attributes]
 * @property {Tree[]} children
 * @property {import("./code.js").Code} [code] of a code block, which draws itself
 *
 * @typedef {string | Branch} Tree
 */

/** @type {(...names: string[]) => ReadonlySet<string>} */
const only = (...names) => new Set(names);
const NONE = only();
const CELL = only("class");
const HEADING = only("class");

/**
 * The elements that an answer may have, and their attributes.
 * @type {ReadonlyMap<string, ReadonlySet<string>>}
 */
const ALLOWED = new Map([
  ["a", only("href", "rel", "target", "data-host", "class")],
  ["blockquote", NONE], ["code", only("class")], ["del", NONE], ["em", NONE], ["hr", NONE], ["li", only("class")],
  ["h3", HEADING], ["h4", HEADING], ["h5", HEADING], ["h6", HEADING],
  ["ol", only("start")], ["p", NONE], ["span", only("class", "data-label", "role", "aria-label")], ["strong", NONE],
  ["div", only("class", "role", "tabindex", "aria-label")],
  ["table", NONE], ["tbody", NONE], ["td", CELL], ["th", CELL], ["thead", NONE], ["tr", NONE], ["ul", NONE],
]); // prettier-ignore

/** @type {(node: Node | null, tree: Branch) => Element} draws a code block; `code.js` says how */
let drawCode;

/** @param {typeof drawCode} how */
export function onCode(how) {
  drawCode = how;
}

/**
 * Make the nodes of an element after one of them those of some trees.
 * @param {Element} parent
 * @param {Iterable<Tree>} trees
 * @param {Node | null} [after] the last node that stays as it is; null if there is none
 */
export function draw(parent, trees, after = null) {
  let node = after ? after.nextSibling : parent.firstChild;
  for (const tree of trees) {
    const next = node?.nextSibling ?? null;
    const drawn = typeof tree === "string" ? drawText(node, tree) : drawBranch(node, tree);
    if (drawn !== node && node) node.replaceWith(drawn);
    if (drawn !== node && !node) parent.append(drawn);
    node = next;
  }
  while (node) {
    const next = node.nextSibling;
    node.remove();
    node = next;
  }
}

/**
 * @param {Node | null} node
 * @param {string} text
 */
function drawText(node, text) {
  if (!(node instanceof Text)) return document.createTextNode(text);
  const { data } = node;
  if (data === text) return node;
  if (text.startsWith(data)) node.appendData(text.slice(data.length));
  else node.data = text;
  return node;
}

/**
 * @param {Node | null} node
 * @param {Branch} branch
 */
function drawBranch(node, branch) {
  if (branch.code) return drawCode(node, branch);
  const { tag, attributes = {}, children } = branch;
  const allowed = ALLOWED.get(tag);
  if (!allowed) throw new Error(`An answer has no ${tag}.`);
  const element = node instanceof Element && node.localName === tag ? node : document.createElement(tag);
  for (const name of allowed) {
    const value = attributes[name];
    if (value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  }
  draw(element, children);
  return element;
}
