"""The moving picture of the README: the playground, taken from Chromium.

`uv run just film` writes it. A service with fake words answers, so that it is the same on each machine.
"""

import base64
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
from msgspec.structs import replace
from playwright.async_api import Page

from browser.pages import chromium
from browser.playground import drawer
from support.process import serve
from support.webp import Frame, animated

DOCS = Path(__file__).parents[2] / "docs"
WIDTH, HEIGHT = 1280, 800
SCALE = 0.625
FRAME_MS = 125
LAST_MS = 3000

QUESTION = "How do I stream an answer into a page?"
ANSWER = """\
## In three steps

1. Point a native **`EventSource`** at the service.
2. Append each word as it arrives.
3. Close the source at `done`.

```javascript
const source = new EventSource("stream-ai?prompt=Hello");
source.onmessage = (event) => {
  answer.textContent += JSON.parse(event.data).text;
};
source.addEventListener("done", () => source.close());
```

| If the reader … | then the model … |
| --- | --- |
| closes the tab | stops within milliseconds |
| loses the network | goes on, and no word is lost |
"""

SETTINGS = {
    "PROVIDERS__FAKE__REPLY": "text",
    "PROVIDERS__FAKE__TEXT": ANSWER,
    "PROVIDERS__FAKE__WORDS_PER_SECOND": "6",
    "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0.6",
}

CROP = """async ([png, scale]) => {
  const bytes = Uint8Array.from(atob(png), char => char.charCodeAt(0));
  const shot = await createImageBitmap(new Blob([bytes]));
  const width = Math.round(shot.width * scale), height = Math.round(shot.height * scale);
  const drawn = (image, left, top, w, h) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: w, height: h });
    const pen = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
    pen.imageSmoothingQuality = "high";
    pen.drawImage(image, -left, -top, width, height);
    return { canvas, pixels: new Uint32Array(pen.getImageData(0, 0, w, h).data.buffer) };
  };
  const { pixels } = drawn(shot, 0, 0, width, height);
  let [left, top, right, bottom] = window.before ? [width, height, 0, 0] : [0, 0, width, height];
  for (let at = 0; window.before && at < pixels.length; at++) {
    if (pixels[at] === window.before[at]) continue;
    const x = at % width, y = (at - x) / width;
    left = Math.min(left, x); right = Math.max(right, x + 1);
    top = Math.min(top, y); bottom = Math.max(bottom, y + 1);
  }
  window.before = pixels;
  if (left >= right) return null;
  left -= left % 2;
  top -= top % 2;
  const { canvas } = drawn(shot, left, top, right - left, bottom - top);
  const blob = await new Promise(resolve => canvas.toBlob(resolve, "image/webp", 0.82));
  const data = new Uint8Array(await blob.arrayBuffer());
  return [btoa(Array.from(data, byte => String.fromCharCode(byte)).join("")), left, top, right - left, bottom - top];
}"""


class Film:
    """Takes pictures of a page, and keeps what changes from one to the next.

    Args:
        page: what is filmed.
        darkroom: a blank page that cuts and encodes.
    """

    def __init__(self, page: Page, darkroom: Page) -> None:
        self._page = page
        self._darkroom = darkroom
        self._frames: list[Frame] = []

    async def take(self, seconds: float) -> None:
        """Take as many pictures as are shown in this time."""
        for _ in range(round(seconds * 1000 / FRAME_MS)):
            await self._take_one()

    async def until(self, is_over: Callable[[], Awaitable[bool]]) -> None:
        """Take pictures until something is true."""
        while not await is_over():
            await self._take_one()

    def developed(self) -> bytes:
        """Return the animation."""
        *frames, last = self._frames
        shown = [*frames, replace(last, milliseconds=LAST_MS)]
        return animated(round(WIDTH * SCALE), round(HEIGHT * SCALE), shown)

    async def _take_one(self) -> None:
        shot = base64.b64encode(await self._page.screenshot()).decode()
        cut = await self._darkroom.evaluate(CROP, [shot, SCALE])
        if cut is None:
            last = self._frames.pop()
            self._frames.append(replace(last, milliseconds=last.milliseconds + FRAME_MS))
            return
        data, left, top, width, height = cut
        self._frames.append(
            Frame(
                image=base64.b64decode(data),
                left=left,
                top=top,
                width=width,
                height=height,
                milliseconds=FRAME_MS,
            )
        )


async def story(page: Page, film: Film) -> None:
    """Ask, cut the connection in the middle of the answer, and see it go on at the exact word."""
    await film.take(0.75)
    for begin in range(0, len(QUESTION), 4):
        await page.keyboard.type(QUESTION[begin : begin + 4])
        await film.take(0.125)
    await page.keyboard.press("Enter")
    await film.until(lambda: has_text(page, "In three"))
    await drawer(page, "lab")
    await film.until(lambda: has_text(page, "Append each"))
    await page.locator("#cut").click()
    await film.until(lambda: has_resumed(page))
    await film.until(lambda: has_text(page, "JSON.parse"))
    await film.take(0.5)
    await page.locator("#lab-toggle").click()
    await film.until(lambda: has_text(page, "Complete"))


async def has_resumed(page: Page) -> bool:
    """Return whether the page shows the word after which it is back."""
    return await page.locator(".seam").count() > 0


async def has_text(page: Page, text: str) -> bool:
    """Return whether the conversation contains a text."""
    return text in (await page.locator("#turns").text_content() or "")


async def main() -> None:
    """Write the picture into `docs/`."""
    with tempfile.TemporaryDirectory() as directory:
        async with serve(Path(directory), SETTINGS) as service, chromium() as page:
            await page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
            await page.goto(f"http://127.0.0.1:{service.port}/")
            await page.locator("#provider option").first.wait_for(state="attached")
            film = Film(page, await page.context.new_page())
            await page.bring_to_front()
            await story(page, film)
    (DOCS / "playground.webp").write_bytes(film.developed())


if __name__ == "__main__":
    anyio.run(main)
