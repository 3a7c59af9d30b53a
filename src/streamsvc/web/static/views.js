// The views of the page, one at a time; the fragment of the address names the one that is shown.

/** The view without a fragment. */
const USUAL = "chat";

/**
 * Show the view that the address names, now and whenever it changes.
 * @param {Element} links to the views
 * @param {HTMLElement[]} views by id
 */
export function showViews(links, views) {
  const show = () => {
    const named = location.hash.slice(1);
    const id = views.some((view) => view.id === named) ? named : USUAL;
    for (const view of views) view.hidden = view.id !== id;
    for (const link of links.querySelectorAll("a")) {
      if (link.hash === `#${id}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
  };
  addEventListener("hashchange", show);
  show();
}
