"""Markdown that attacks the page: nothing runs, nothing is fetched, and no element or attribute is there that may not be."""

import pytest

from browser.markdown import markdown, whole
from browser.playground import violations
from conftest import Serve

pytestmark = pytest.mark.browser

BAD = (
    "javascript:pwn()", "JaVaScRiPt:pwn()", "java\tscript:pwn()", "java&#10;script:pwn()", "&#106;avascript:pwn()",
    "&#x6A&#x61;vascript:pwn()", "javascript&colon;pwn()", "\x01javascript:pwn()", " javascript:pwn()",
    "javascript://e.org/%0Apwn()", "vbscript:pwn()", "data:text/html,<script>pwn()</script>",
    "data:image/svg+xml;base64,PHN2Zy8+", "file:///etc/passwd", "blob:https://e.org/x", "ftp://e.org", "about:blank",
    "view-source:https://e.org", "//e.org/x", "/v1/generations", "#composer", "?follow=x", "intent://x", "pending:",
)  # fmt: skip

WRAPPED = [
    form.format(bad)
    for bad in BAD
    for form in (
        "[x]({})",
        "[x](<{}>)",
        "![x]({})",
        "<{}>",
        "[x][r]\n\n[r]: {}",
        "[x][r]\n\n[r]: <{}>",
    )
]

HOSTILE = [
    *WRAPPED,
    "<script>pwn()</script>", "<img src=x onerror=pwn()>", "<svg onload=pwn()><a xlink:href='javascript:pwn()'>x</a></svg>",
    "<svg><animate onbegin=pwn() attributeName=x dur=1s></svg>", "<iframe srcdoc='<script>parent.pwn()</script>'></iframe>",
    "<math><mtext><table><mglyph><style><img src=x onerror=pwn()>", "<a href='javascript:pwn()'>x</a>",
    "<form id=composer name=prompt><input name=attributes></form>", "<base href=https://e.org/>", "<!--><img src=x onerror=pwn()>-->",
    "<style>*{background:url(https://e.org/leak)}</style>", "<link rel=stylesheet href=https://e.org/x.css>",
    "![leak](https://e.org/leak.png?secret)", "![x](/v1/providers)", "[![x](https://e.org/a.png)](javascript:pwn())",
    '[x](https://e.org "onmouseover=pwn() \\" style=x")', "[x](https://e.org/\"onclick='pwn()')", '[x](https://e.org/">y)',
    "[a]: javascript:pwn()\n[a]: https://e.org\n\n[a]", "[__proto__]\n\n[__proto__]: https://e.org",
    "[constructor] [toString]\n\n[constructor]: javascript:pwn()", "[x](https://e.org\\@evil.org/)", "[x](https://user:pass@e.org)",
    "```__proto__\nx\n```", "```constructor\nx\n```", "```toString\nx\n```", '```"><img src=x onerror=pwn()>\nx\n```',
    "```../../x\nx\n```", "```html\n<img src=x onerror=pwn()>\n<script>pwn()</script>\n```", "```svg\n<svg onload=pwn()>\n```",
    "| <img src=x onerror=pwn()> |\n|---|\n| [x](javascript:pwn()) |", "# <img src=x onerror=pwn()>", "# id\n\n# composer",
    "- [x] <img src=x onerror=pwn()>", "> <script>pwn()</script>", "$<img src=x onerror=pwn()>$", "\\(<script>pwn()</script>\\)",
    "a\x00b \u202ereversed\u202c \u2066x\u2069 \ufeff \ufdd0 \uffff", "`\x00`", "[\x00](https://e.org/\x00)", "&#0; &#xD800; &#x110000;",
    "\ud83d", "x\u2028y\u2029z", "[[[[x](https://e.org)](https://e.org)](javascript:pwn())](https://e.org)",
]  # fmt: skip

MANY = 20_000
LARGE = {
    "quotations": ">" * MANY + "a",
    "lists": "- " * MANY + "a",
    "deep lists": "\n".join(f"{'  ' * depth}- a" for depth in range(300)),
    "opening brackets": "[" * MANY,
    "brackets": "[" * MANY + "]" * MANY,
    "open links": "[a](" * MANY,
    "images": "![" * MANY,
    "stars": "*a **b " * (MANY // 2),
    "nested emphasis": "**a *b " * (MANY // 4) + "c* d** " * (MANY // 4),
    "underscores": "_a " * MANY,
    "backticks": "".join("`" * length + "a" for length in range(200)),
    "dollars": "$a " * MANY,
    "formulas": "\\(a " * MANY,
    "tags": "<a " * MANY,
    "comments": "<!--" * MANY,
    "addresses": "https://a." * (MANY // 4),
    "mail": "a@" * MANY,
    "entities": "&#" * MANY,
    "cells": "a|" * 2000 + "\n" + "-|" * 2000 + "\n" + "a\n" * 300,
    "pipes": "|" * MANY + "\n" + "|-" * 1000,
    "definitions": "".join(f"[{number}]: https://e.org\n" for number in range(2000)),
    "marker line": "- " * 50 + "1." * MANY,
    "digits": "1" * MANY,
    "spaces": "a" + " " * MANY + "b",
    "one word": "a" * 10 * MANY,
    "headings": "# a\n" * 2000,
    "python": "```python\n" + "f'{" * 1200,
    "javascript": "```js\n" + "`${" * 1200,
    "html": "```html\n" + "<a " * 1200,
    "css": "```css\n" + "a{" * 1800,
    "json": "```json\n" + '{"a":' * 800,
    "sql": "```sql\n" + "(" * 3900,
    "bash": "```bash\n" + "$(" * 1900,
    "markdown": "```markdown\n" + "*_" * 1900,
}  # fmt: skip

# What an answer may have; written down here again, so that a change of the page is a change of this test.
AUDIT = """
const allowed = {
  a: ["href", "rel", "target", "data-host", "class"], ol: ["start"], code: ["class"], li: ["class"], td: ["class"],
  th: ["class"], h3: ["class"], h4: ["class"], h5: ["class"], h6: ["class"], figure: [], figcaption: [],
  span: ["class", "data-label", "role", "aria-label"], button: ["type"], pre: ["tabindex", "role", "aria-label"],
  div: ["class", "role", "tabindex", "aria-label"], p: [], ul: [], blockquote: [], hr: [], em: [], strong: [],
  del: [], table: [], thead: [], tbody: [], tr: [],
};
window.audit = () => [...box.querySelectorAll("*")].flatMap(element => {
  const names = element.getAttributeNames().filter(name => name !== "data-end");
  const wrong = names.filter(name => !allowed[element.localName]?.includes(name));
  const kind = element.namespaceURI === "http://www.w3.org/1999/xhtml" && allowed[element.localName] ? [] : ["kind"];
  const href = element.getAttribute("href");
  const isLink = href === null || /^(https?:\\/\\/|mailto:)/.test(element.href) && element.href === href
    && element.rel === "noopener noreferrer nofollow" && element.target === "_blank";
  return [...kind, ...wrong, ...(isLink ? [] : [href])].map(what => `${element.localName}: ${what}`);
});
"""


@pytest.mark.node
async def test_hostile_markdown_is_text_and_safe_links(serve: Serve) -> None:
    """Whole, in single characters, and all of it in one answer that axe looks at."""
    async with markdown(serve) as page:
        asked: list[str] = []
        await page.evaluate(AUDIT + "window.pwn = () => { window.pwned = true; }; null;")
        page_alone = await page.evaluate("[document.forms.length, document.all.length]")
        page.on("request", lambda request: asked.append(request.url))
        found = await page.evaluate(
            """texts => texts.flatMap(text => [[text], [...text]].flatMap(pieces => {
              begin();
              const wrong = pieces.flatMap(piece => { put(piece); frame(); return audit(); });
              answer.finish();
              return [...wrong, ...audit(), ...(answer.text === text ? [] : ["not the text"])].map(what => [text, what]);
            }))""",
            HOSTILE,
        )
        assert found == []
        await page.evaluate(
            "text => { begin(); put(text); answer.finish(); }", "\n\n".join(HOSTILE)
        )
        assert await page.evaluate("audit()") == []
        assert [one for one in await violations(page) if "answer" in one] == []
        # Scripts and handlers that should not exist would have run before this timer of the page.
        await page.evaluate("new Promise(resolve => setTimeout(resolve, 50))")
        assert await page.evaluate("[window.pwned, Object.prototype.polluted, {}.href]") == [
            None,
            None,
            None,
        ]
        assert (
            await page.evaluate(
                "[document.forms.length, document.all.length - box.querySelectorAll('*').length]"
            )
            == page_alone
        )
    assert [url for url in asked if "/playground/vendor/highlight.js/" not in url] == []


async def test_text_that_is_refused_as_a_link_is_shown(serve: Serve) -> None:
    refused = [bad for bad in BAD if not set(bad) & set("&\t\x01 ") and "e.org" not in bad]
    async with markdown(serve) as page:
        shown = await whole(page, [f"[x]({bad}) ![y]({bad})" for bad in refused])
    assert len(shown) > 10
    for bad, one in zip(refused, shown, strict=True):
        assert one in (f"<p>[x]({bad}) ![y]({bad})</p>", "<p><a>x</a> <a>y</a></p>")


async def test_no_input_takes_the_page_much_time(serve: Serve) -> None:
    """The bound is many times what each takes: an input whose cost grows with its square exceeds it by far."""
    script = """async text => {
      begin();
      const began = Date.now();
      put(text);
      answer.append(" more");
      frame();
      answer.finish();
      return [Date.now() - began, box.textContent.length > 0, audit().length];
    }"""
    async with markdown(serve) as page:
        await page.evaluate(AUDIT)
        for name, text in LARGE.items():
            milliseconds, is_shown, wrong = await page.evaluate(script, text)
            assert milliseconds < 5000, name
            assert is_shown or name == "definitions", name
            assert wrong == 0, name
