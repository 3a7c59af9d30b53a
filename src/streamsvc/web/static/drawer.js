// A drawer: a part of the page that a button opens and closes. It never covers the composer.

export class Drawer {
  #panel;
  #toggle;

  /** @type {(isOpen: boolean) => void} called when it has been opened or closed */
  onChange = () => {};

  /**
   * @param {HTMLElement} panel has a button `.close`, and is hidden while the drawer is closed
   * @param {HTMLElement} toggle the button that opens and closes it, with `aria-controls`
   */
  constructor(panel, toggle) {
    this.#panel = panel;
    this.#toggle = toggle;
    toggle.addEventListener("click", () => (this.isOpen ? this.close() : this.open(true)));
    panel.querySelector(".close")?.addEventListener("click", () => this.close());
    panel.addEventListener("focusout", ({ relatedTarget }) => {
      const isOutside = relatedTarget instanceof Node && relatedTarget !== toggle && !panel.contains(relatedTarget);
      if (isOutside && this.#covers()) this.#show(false);
    });
  }

  /** Whether it lies over the view: then the keyboard must not go on below it. */
  #covers() {
    return getComputedStyle(this.#panel).position === "fixed";
  }

  get isOpen() {
    return !this.#panel.hidden;
  }

  /** Whether the keyboard focus is in it, or on its button. */
  get hasFocus() {
    const focused = document.activeElement;
    return this.#panel.contains(focused) || focused === this.#toggle;
  }

  /** @param {boolean} takesFocus whether the keyboard goes on inside of it */
  open(takesFocus) {
    this.#show(true);
    const first = this.#panel.querySelector(".close");
    if (takesFocus) /** @type {HTMLElement | null} */ (first)?.focus({ preventScroll: true });
  }

  /** The focus does not get lost with it. */
  close() {
    const hadFocus = this.hasFocus;
    this.#show(false);
    if (hadFocus) this.#toggle.focus();
  }

  /** @param {boolean} isOpen */
  #show(isOpen) {
    this.#panel.hidden = !isOpen;
    this.#toggle.setAttribute("aria-expanded", String(isOpen));
    this.onChange(isOpen);
  }
}
