// Copying.

/**
 * Copy a text, or select the element where the browser forbids copying (a page without TLS).
 * @param {Element} element
 * @param {string} [text] what to copy, if not the element's own text
 * @returns {Promise<boolean>} whether it is copied
 */
export async function toClipboard(element, text = element.textContent ?? "") {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(element);
    return false;
  }
}
