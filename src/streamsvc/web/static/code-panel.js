// The request of an answer as a program, to copy: a button, and a panel that it opens.

import { hasKey } from "./access.js";
import { codeBlock } from "./code.js";
import { element } from "./element.js";
import { LANGUAGES, snippet } from "./snippets.js";

/** The language that was looked at last. */
let chosen = "curl";

let count = 0;

const ELSEWHERE = "This answer was asked for in another tab, which knows its request.";

/**
 * Let the request of an answer be copied.
 * @param {import("./turn.js").Turn} turn
 */
export function addCode(turn) {
  const { toggle, panel } = new CodePanel(() => turn.order);
  turn.actions.row.append(toggle);
  turn.article.append(panel);
}

class CodePanel {
  #orderOf;
  /** @type {HTMLElement | null} filled when it is first needed */
  #languages = null;
  #block = codeBlock("", "The request as a program");

  /** Opens and closes the panel. */
  toggle = element("button", "", "Copy as code");

  panel = element("div", "as-code");

  /** @param {() => import("./generation.js").Order | null} orderOf the request, as it was sent */
  constructor(orderOf) {
    this.#orderOf = orderOf;
    this.panel.id = `as-code-${++count}`;
    this.panel.hidden = true;
    this.toggle.type = "button";
    this.toggle.setAttribute("aria-controls", this.panel.id);
    this.toggle.setAttribute("aria-expanded", "false");
    this.toggle.addEventListener("click", () => this.#open(Boolean(this.panel.hidden)));
  }

  /** @param {boolean} isOpen */
  #open(isOpen) {
    this.panel.hidden = !isOpen;
    this.toggle.setAttribute("aria-expanded", String(isOpen));
    if (!isOpen) return;
    this.#show(chosen);
    this.panel.scrollIntoView({ block: "nearest" });
  }

  /** @param {string} language */
  #show(language) {
    const order = this.#orderOf();
    chosen = language;
    this.#languages ??= this.#fill();
    for (const choice of this.#languages.querySelectorAll("button")) {
      choice.setAttribute("aria-pressed", String(choice.dataset.language === language));
    }
    const service = new URL(".", document.baseURI).href.replace(/\/$/, "");
    this.#block.title.textContent = LANGUAGES[language].title;
    this.#block.code.textContent = order ? snippet(language, { order, service, hasKey: hasKey() }) : ELSEWHERE;
  }

  #fill() {
    const languages = element("div", "languages");
    languages.setAttribute("role", "group");
    languages.setAttribute("aria-label", "Language");
    for (const [name, { title }] of Object.entries(LANGUAGES)) {
      const choice = element("button", "", title);
      choice.type = "button";
      choice.dataset.language = name;
      choice.addEventListener("click", () => this.#show(name));
      languages.append(choice);
    }
    this.panel.append(languages, this.#block.figure, ownFiles());
    return languages;
  }
}

/** The page is an example itself. */
function ownFiles() {
  const hint = element("p", "", "This page sends it with ");
  const links = ["generation.js", "access.js"].map((name) => {
    const link = element("a", "", name);
    link.href = `playground/${name}`;
    return link;
  });
  hint.append(links[0], " and ", links[1], ", which you may copy. If the service asks for keys, a page should hold none: your back end asks for a ticket.");
  return hint;
}
