// Where the links of an answer may lead, and how the page shows that.

import { SEAM } from "./seams.js";

/** The target of a link whose target is still being written. */
export const PENDING = "pending:";

const SCHEMES = ["http:", "https:", "mailto:"];

/**
 * Return the address of a link; null if the page does not link to it.
 * @param {string} written
 */
export function addressOf(written) {
  try {
    const url = new URL(written.replaceAll(SEAM, ""));
    return SCHEMES.includes(url.protocol) ? url : null;
  } catch {
    return null; // a relative address is one of the model's, not of this page
  }
}

/** @param {string} written */
export const isAllowed = (written) => written === PENDING || addressOf(written) !== null;

/**
 * Return the attributes of a link: a new tab, because a page that is left closes its stream.
 * @param {string} written
 * @param {boolean} isShown whether the text of the link is its address
 */
export function linkTo(written, isShown) {
  const url = addressOf(written);
  if (!url) return {};
  const host = isShown ? undefined : url.host || url.pathname;
  return { href: url.href, rel: "noopener noreferrer nofollow", target: "_blank", "data-host": host };
}
