// Keeps the end of a growing box in sight until the reader scrolls away from it.

const NEAR_PX = 40;

/**
 * @param {Element} box
 * @returns {() => void} call it before adding something
 */
export function keepAtEnd(box) {
  let frame = 0;
  return () => {
    if (frame) return; // reading the layout for each word would cost more than the word, so once a frame
    const isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    frame = requestAnimationFrame(() => {
      // An answer may draw its latest words in this frame, after this.
      frame = requestAnimationFrame(() => {
        frame = 0;
        if (isAtEnd) box.scrollTop = box.scrollHeight;
      });
    });
  };
}
