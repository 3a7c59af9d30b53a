"""Markdown that streams: what is above the last part stays as it is, and what is half-written does not jump."""

import pytest
from playwright.async_api import expect

from browser.markdown import markdown, steps, whole
from browser.playground import ask, playground, violations
from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import Settings

pytestmark = pytest.mark.browser

ROW = "<tr><td>1</td><td>{}</td></tr>"
TABLE = "<div><table><thead><tr><th>a</th><th>b</th></tr></thead>{}</table></div>"

GROWING = [
    (["a **", "bo", "ld*", "*", " c"], ["<p>a</p>", "<p>a <strong>bo</strong></p>", "<p>a <strong>bold</strong></p>"]),
    (["a *b", " c* d"], ["<p>a <em>b</em></p>", "<p>a <em>b c</em> d</p>"]),
    (["use `co", "de` x"], ["<p>use <code>co</code></p>", "<p>use <code>code</code> x</p>"]),
    (["2 * ", "3 *", " 4"], ["<p>2</p>", "<p>2 * 3</p>", "<p>2 * 3 * 4</p>"]),
    (
        ["see [the ", "docs](https://e.", "org) now"],
        ["<p>see <a>the</a></p>", "<p>see <a>the docs</a></p>", "<p>see <a href=https://e.org/ data-host=e.org>the docs</a> now</p>"],
    ),
    (["as [1", "] says"], ["<p>as [1</p>", "<p>as [1] says</p>"]),
    (["#", "# ", "Ti", "tle"], ["", "", "<h3>Ti</h3>", "<h3>Title</h3>"]),
    (["a\n", "-", "-", "-", "\nb"], ["<p>a</p>"] * 4 + ["<p>a</p><hr></hr><p>b</p>"]),
    (["a\n", "==", "=\n"], ["<p>a</p>", "<p>a</p>", "<p>a\n===</p>"]),
    (["-", " [", "x", "] ", "do"], ["", "", "", "", "<ul><li><p><span aria-label=Done>☑</span> do</p></li></ul>"]),
    (["1", ".", " a", "\n2. "], ["", "", "<ol><li><p>a</p></li></ol>", "<ol><li><p>a</p></li></ol>"]),
    (
        ["``", "`py", "\n", "x", "\n``", "`", "\ny"],
        ["", "", "<code py></code>", "<code py>x</code>"] + 2 * ["<code py>x\n</code>"] + ["<code py>x\n</code><p>y</p>"],
    ),
    (
        ["| a ", "| b |\n", "|--", "-|---|\n", "| 1 ", "| **2", "** |\n"],
        ["<div><table><thead><tr><th>a</th></tr></thead></table></div>", *3 * [TABLE.format("")]]
        + [TABLE.format(f"<tbody>{ROW.format(cell)}</tbody>") for cell in ("", *2 * ["<strong>2</strong>"])],
    ),
    (["$$\n", "a_1", "\n- b", "\n$$"], [f"<p><code math>{text}</code></p>" for text in ("$$", "$$\na_1", "$$\na_1\n- b", "$$\na_1\n- b")]),
    (["x\n\n[1]: ", "https://e.org", "\n"], ["<p>x</p>"] * 3),
]  # fmt: skip


async def test_half_written_markup_is_shown_as_what_it_becomes(serve: Serve) -> None:
    async with markdown(serve) as page:
        for pieces, expected in GROWING:
            shown = await steps(page, pieces)
            assert shown[: len(expected)] == expected, pieces
            assert shown[-1] == (await whole(page, ["".join(pieces)]))[0]


PARTS = (
    "# Title\n\nA paragraph with **bold** words.\n\n- one\n- two **x**\n  - inner\n- three\n\n1. a\n2. b\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n| 3 | 4 |\n| 5 | 6 |\n\n> quote\n\n```python\nx = 1\ny = 2\n```\n\n---\n\nend of it\n"
)


async def test_a_word_changes_the_last_part_only(serve: Serve) -> None:
    """Every part, item and row keeps its node, and is not touched after the next one has begun."""
    script = """text => {
      begin();
      const settled = () => [...box.querySelectorAll(":scope > *, :scope > * > li, tbody > tr")].slice(0, -1)
        .filter(element => !element.contains([...box.querySelectorAll("li, tr, :scope > *")].at(-1)));
      let before = new Map(), wrong = [], kept = 0;
      for (const piece of text.match(/\\S*\\s?/g)) {
        put(piece);
        frame();
        for (const [element, html] of before) {
          kept++;
          if (!element.isConnected || element.outerHTML.replaceAll(' data-end=""', "") !== html) wrong.push([piece, html]);
        }
        before = new Map(settled().map(element => [element, element.outerHTML.replaceAll(' data-end=""', "")]));
      }
      const nodes = [...box.querySelectorAll("*")];
      answer.finish();
      const same = [...box.querySelectorAll("*")].filter((element, at) => element === nodes[at]).length;
      return [wrong, kept > 100, same === nodes.length];
    }"""
    async with markdown(serve) as page:
        assert await page.evaluate(script, PARTS) == [[], True, True]


async def test_a_mark_stands_at_the_exact_word(serve: Serve) -> None:
    cases = [
        (["one ", "¶", "two"], "<p>one ¶two</p>"),
        (["one ", "¶", "**two** x"], "<p>one <strong>¶two</strong> x</p>"),
        (["a **b ", "¶", "c** d"], "<p>a <strong>b ¶c</strong> d</p>"),
        (["a\n\n", "¶", "# b"], "<p>a</p><h3>¶b</h3>"),
        (["- a\n", "¶", "- b"], "<ul><li><p>a</p></li><li><p>¶b</p></li></ul>"),
        (["a\n\n", "¶", "```py\nx\n```"], "<p>a</p><code py>¶x\n</code>"),
        (["```\nab", "¶", "cd\n```"], "<code code>ab¶cd\n</code>"),
        (["[a](https://e.", "¶", "org)"], "<p><a href=https://e.org/ data-host=e.org>a</a>¶</p>"),
        (["| a |\n|---|\n| 1 ", "¶", "2 |\n| 3 |"], "<div><table><thead><tr><th>a</th></tr></thead><tbody><tr><td>1 ¶2</td></tr><tr><td>3</td></tr></tbody></table></div>"),
        (["one", "¶"], "<p>one¶</p>"),
        (["¶", "one \ufdd0 two", "¶"], "<p>¶one \ufffd two¶</p>"),
    ]  # fmt: skip
    async with markdown(serve) as page:
        for pieces, expected in cases:
            shown = await steps(page, pieces)
            assert shown[-1] == expected, pieces
            at = pieces.index("¶")
            assert all("¶" in one for one in shown[at:]), pieces


async def test_words_without_frames_are_there_at_the_end(serve: Serve) -> None:
    """A hidden tab has no frames; a frame shows all the words that came since the last one."""
    script = """() => {
      begin();
      const seen = [];
      for (const word of ["a ", "b ", "c "]) { put(word); seen.push(box.textContent); }
      frame();
      seen.push(box.textContent);
      put("d ");
      put("**e");
      answer.finish();
      return [...seen, box.textContent, answer.text];
    }"""
    async with markdown(serve) as page:
        assert await page.evaluate(script) == ["a", "a", "a", "a b c", "a b c d **e", "a b c d **e"]


async def test_the_cost_of_a_word_does_not_grow_with_the_answer(serve: Serve) -> None:
    """The test counts what the parser reads, and the nodes that change: a word reads its own part again, and no other."""
    script = """async () => {
      const {default: MarkdownIt} = await import(new URL("playground/vendor/markdown-it/markdown-it.esm.min.mjs", location.href));
      const parse = MarkdownIt.prototype.parse;
      let read = 0;
      MarkdownIt.prototype.parse = function (source, env) { read += source.length; return parse.call(this, source, env); };
      begin();
      const part = "## Part\\n\\nSome words **and** more of them.\\n\\n" + "- an item of a list\\n".repeat(9) + "\\n| a | b |\\n|---|---|\\n"
        + "| one | two |\\n".repeat(9) + "\\n```python\\nx = 1\\n```\\n\\n";
      const reads = [];
      for (let count = 0; count < 60; count++) {
        read = 0;
        for (const word of part.match(/\\S*\\s?/g)) { put(word); frame(); }
        reads.push(read / part.length);
      }
      MarkdownIt.prototype.parse = parse;
      return [reads[1], Math.max(...reads), answer.text.split(/\\s+/).length];
    }"""
    async with markdown(serve) as page:
        first, most, words = await page.evaluate(script)
    assert words > 5000
    assert 0 < first < 40  # times that each character is read
    assert most == pytest.approx(first, rel=0.05)


@pytest.mark.node
async def test_markdown_is_for_everybody(serve: Serve) -> None:
    """Both schemes, a narrow page, and the answer of the fake provider that has everything in it."""
    service = await serve(Settings(providers={"fake": FakeSettings(words_per_second=0)}))
    async with playground(service.url) as page:
        await page.set_viewport_size({"width": 320, "height": 640})
        await ask(page, "Show me Markdown.")
        await expect(page.locator("#state")).to_have_text("done")
        answer = page.locator(".turn .answer")
        await expect(answer.locator(".code-keyword").first).to_be_visible()
        for selector in (
            "h3",
            "strong",
            "em",
            "del",
            "a[href]",
            "ol ul",
            ".box",
            "td.right",
            "blockquote .math",
            "hr",
        ):
            assert await answer.locator(selector).count(), selector
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme=scheme)
            assert await violations(page) == []
        assert await page.evaluate("document.documentElement.scrollWidth") <= 320


async def test_an_answer_without_the_library_is_plain_text(serve: Serve) -> None:
    service = await serve(Settings(providers={"fake": FakeSettings(words_per_second=0)}))
    async with playground(service.url, expected=["ERR_FAILED"]) as page:
        await page.route("**/markdown-it.esm.min.mjs", lambda route: route.abort())
        await page.reload()
        await ask(page, "Show me Markdown.")
        await expect(page.locator(".turn .answer > p")).to_contain_text("no model was asked")
        assert "## What Markdown can do\n" in await page.locator(".turn .answer").evaluate(
            "e => e.textContent"
        )
