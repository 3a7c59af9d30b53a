// Keeps the end of a growing box in sight, for as long as the reader has not scrolled away from it.

const NEAR_PX = 40;

/**
 * @param {Element} box
 * @returns {() => void} to be called when something is about to be added
 */
export function keepAtEnd(box) {
  let frame = 0;
  return () => {
    if (frame) return; // the layout is looked at once a frame: for each word it would cost more than the word
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    frame = requestAnimationFrame(() => {
      frame = 0;
      if (isAtEnd) box.scrollTop = box.scrollHeight;
    });
  };
}
