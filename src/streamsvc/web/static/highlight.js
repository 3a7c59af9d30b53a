// Colours of code: highlight.js, of which each grammar is loaded when the first block in its language comes.

const CORE = "./vendor/highlight.js/core.min.js";

const DEEPEST = 20; // a template in a template in a template …: what is deeper has no colour of its own

/** The grammars that are there, and other names of their languages. */
const NAMES = {
  bash: "sh shell shell-session console zsh", c: "h", cpp: "c++ cc cxx hpp", csharp: "cs c#", css: "", diff: "patch",
  dockerfile: "docker", go: "golang", graphql: "gql", ini: "toml", java: "",
  javascript: "js jsx mjs cjs node", json: "jsonc json5", kotlin: "kt", lua: "", makefile: "make mk", markdown: "md",
  perl: "pl", php: "", powershell: "ps1 pwsh", python: "py python3 pycon", r: "", ruby: "rb", rust: "rs", scss: "",
  sql: "postgres postgresql mysql sqlite", swift: "", typescript: "ts tsx mts", xml: "html xhtml svg vue", yaml: "yml",
}; // prettier-ignore

/** The grammars that a grammar uses for parts of a text. */
const PARTS = new Map([["xml", ["css", "javascript"]], ["markdown", ["xml"]], ["javascript", ["xml"]], ["typescript", ["xml"]]]);

/** @typedef {import("./draw.js").Tree} Tree */

const files = new Map(
  Object.entries(NAMES).flatMap(([file, names]) => [file, ...names.split(" ").filter(Boolean)].map((name) => [name, file])),
);

/** @type {any} the library; null before it is loaded */
let core = null;
/** @type {Map<string, Promise<void>>} */
const loading = new Map();

/**
 * Return the file of the grammar of a language; undefined if there is none.
 * @param {string} language as an answer names it
 */
export const fileOf = (language) => files.get(language.toLowerCase().replace(/^\{?\.?|[,{}].*$/g, ""));

/**
 * Load a grammar, and the library if it is not there.
 * @param {string} file
 * @returns {Promise<void>}
 */
export function load(file) {
  const known = loading.get(file) ?? fetchGrammar(file);
  loading.set(file, known);
  return known;
}

/** @param {string} file */
async function fetchGrammar(file) {
  const [library, grammar] = await Promise.all([
    import(CORE),
    import(`./vendor/highlight.js/languages/${file}.min.js`),
  ]);
  core ??= library.default;
  core.configure({ __emitter: Colors });
  core.registerLanguage(file, grammar.default);
  for (const part of PARTS.get(file) ?? []) load(part).catch(() => {});
}

/**
 * Return a text in its colours; undefined before its grammar is loaded.
 * @param {string} file
 * @param {string} text
 * @returns {Tree[] | undefined}
 */
export function colorsOf(file, text) {
  if (!core?.getLanguage(file)) return undefined;
  const { _emitter, errorRaised } = core.highlight(text, { language: file, ignoreIllegals: true });
  const isSame = !errorRaised && textOf(_emitter.trees) === text;
  return isSame ? _emitter.trees : undefined;
}

/**
 * @param {Tree[]} trees
 * @returns {string}
 */
const textOf = (trees) => trees.map((tree) => (typeof tree === "string" ? tree : textOf(tree.children))).join("");

/** Gets the colours from the library, which would make HTML of them otherwise. */
class Colors {
  /** @type {Tree[]} */
  trees = [];
  #path = [this.trees];

  /** @param {string} text */
  addText(text) {
    const trees = this.#path[this.#path.length - 1];
    const last = trees.at(-1);
    if (typeof last === "string") trees[trees.length - 1] = last + text;
    else if (text) trees.push(text);
  }

  /** @param {string} scope such as "title.function" */
  startScope(scope) {
    const outer = this.#path[this.#path.length - 1];
    if (this.#path.length > DEEPEST) return void this.#path.push(outer);
    /** @type {Tree[]} */
    const children = [];
    outer.push({ tag: "span", attributes: { class: `code-${scope.split(".")[0]}` }, children });
    this.#path.push(children);
  }

  endScope() {
    this.#path.pop();
  }

  /** @param {string} scope */
  openNode(scope) {
    this.startScope(scope);
  }

  closeNode() {
    this.endScope();
  }

  /** @param {Colors} inner of a part in another language */
  __addSublanguage(inner) {
    this.#path[this.#path.length - 1].push(...inner.trees);
  }

  finalize() {}

  toHTML() {
    return "";
  }
}
