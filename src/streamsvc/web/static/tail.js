// Keeps the end of a growing box in sight until the reader scrolls away from it.

const NEAR_PX = 40;

/**
 * @param {Element} box
 * @returns {() => void} call it before adding something
 */
export function keepAtEnd(box) {
  let frame = 0;
  let top = 0;
  let isAtEnd = false;
  const look = () => {
    top = box.scrollTop;
    isAtEnd = box.scrollHeight - top - box.clientHeight < NEAR_PX;
  };
  return () => {
    if (frame) return; // reading the layout for each word would cost more than the word, so once a frame
    look();
    frame = requestAnimationFrame(() => {
      if (box.scrollTop < top) look(); // the reader scrolls up, or the text has become shorter
      // An answer may draw its latest words in this frame, after this.
      frame = requestAnimationFrame(() => {
        frame = 0;
        if (isAtEnd && box.scrollTop >= top) box.scrollTop = box.scrollHeight;
      });
    });
  };
}
