"""Answers in the page that show Markdown, without a service that sends them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from playwright.async_api import Page

from browser.playground import playground
from conftest import Serve
from streamsvc.config.settings import Settings

MARK = "¶"
"""A piece that is a mark."""

_SETUP = r"""async () => {
  const module = await import(new URL("playground/answer.js", location.href));
  await module.ready;
  const box = document.createElement("div");
  box.className = "answer";
  document.querySelector("#conversation").append(box);
  // Frames come when a test says so, and drawing takes no time.
  const frames = [];
  window.requestAnimationFrame = draw => frames.push(draw);
  window.frame = () => frames.splice(0).forEach(draw => draw(0));
  performance.now = () => 0;
  window.begin = () => {
    box.replaceChildren();
    return (window.answer = new module.Answer(box));
  };
  window.put = piece => piece === "¶" ? answer.mark("here") : answer.append(piece);
  // Text, and elements with their attributes but those that only style.
  window.outline = (node = box, isCode = false) => [...node.childNodes].map(child => {
    if (child instanceof Text) return !isCode && /^[\n\t]*$/.test(child.data) ? "" : child.data;
    if (child.className === "seam") return "¶";
    if (child.tagName === "FIGURE") {
      const name = child.querySelector("figcaption span").textContent;
      return `<code ${name}>${outline(child.querySelector("code"), true).replace(/<.?span>/g, "")}</code>`;
    }
    const shown = ["href", "start", "data-host", "aria-label"].flatMap(name =>
      child.hasAttribute(name) && child.className !== "table" ? [` ${name}=${child.getAttribute(name)}`] : []);
    const kind = child.localName === "code" && child.className ? " math" : "";
    return `<${child.localName}${kind}${shown.join("")}>${outline(child, isCode)}</${child.localName}>`;
  }).join("");
  window.box = box;
}"""


@asynccontextmanager
async def markdown(serve: Serve) -> AsyncIterator[Page]:
    """Open the playground with an answer in it that a test fills."""
    service = await serve(Settings())
    async with playground(service.url) as page:
        await page.evaluate(_SETUP)
        yield page


async def whole(page: Page, texts: Sequence[str]) -> list[str]:
    """Return the outlines of finished answers that came in one piece."""
    script = (
        """texts => texts.map(text => { begin(); put(text); answer.finish(); return outline(); })"""
    )
    shown: list[str] = await page.evaluate(script, list(texts))
    return shown


async def steps(page: Page, pieces: Sequence[str]) -> list[str]:
    """Return the outlines after each piece, which is drawn before the next one, and at the end."""
    script = """pieces => {
      begin();
      const seen = [];
      for (const piece of pieces) { put(piece); frame(); seen.push(outline()); }
      answer.finish();
      return [...seen, outline()];
    }"""
    shown: list[str] = await page.evaluate(script, list(pieces))
    return shown
