"""The playground shows the Markdown of an answer: what each construct becomes, and that the pieces make no difference."""

import re

import pytest

from browser.markdown import markdown, whole
from conftest import Serve

pytestmark = pytest.mark.browser

LINK = "href=https://e.org/"

CASES = [
    # text and its lines
    ("No code.\nTwo lines.", "<p>No code.\nTwo lines.</p>"),
    ("One.\n\nTwo.", "<p>One.</p><p>Two.</p>"),
    ("a  \nb\\\nc", "<p>a\nb\nc</p>"),
    ("a\r\nb\rc", "<p>a\nb\nc</p>"),
    ("&lt;b&gt; &amp; &copy; &#x41;", "<p><b> & © A</p>"),
    (r"\*no\* \# \`x\`", "<p>*no* # `x`</p>"),
    # emphasis
    (
        "*a* **b** ***c*** _d_ __e__ ~~f~~ `g *h*`",
        ("<p><em>a</em> <strong>b</strong> <em><strong>c</strong></em> <em>d</em> <strong>e</strong>"
        " <del>f</del> <code>g *h*</code></p>"),
    ),
    ("snake_case_name 2*3*4 5 * 6", "<p>snake_case_name 2<em>3</em>4 5 * 6</p>"),
    ("**never closed", "<p>**never closed</p>"),
    # headings: the page has two levels above, and no level is left out
    ("# A\n## B\n#### C\n# D", "<h3>A</h3><h4>B</h4><h5>C</h5><h3>D</h3>"),
    ("### A\n# B\n## C", "<h3>A</h3><h3>B</h3><h4>C</h4>"),
    ("#no heading\n\n####### neither", "<p>#no heading</p><p>####### neither</p>"),
    ("Text\n---\nMore\n===", "<p>Text</p><hr></hr><p>More\n===</p>"),
    # lists
    (
        "- a\n- b\n  - c\n\n    more\n- d",
        "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p><p>more</p></li></ul></li><li><p>d</p></li></ul>",
    ),
    ("3. a\n4. b", "<ol start=3><li><p>a</p></li><li><p>b</p></li></ol>"),
    ("- a\n\n- b\n* c", "<ul><li><p>a</p></li><li><p>b</p></li></ul><ul><li><p>c</p></li></ul>"),
    (
        "- [ ] a\n- [x] b\n- [y] c",
        ("<ul><li><p><span aria-label=Not done>☐</span> a</p></li>"
        "<li><p><span aria-label=Done>☑</span> b</p></li><li><p>[y] c</p></li></ul>"),
    ),
    (
        "1. a\n   ```js\n   let x;\n   ```\n2. b",
        "<ol><li><p>a</p><code js>let x;\n</code></li><li><p>b</p></li></ol>",
    ),
    # tables
    (
        "| a | b |\n|---|:-:|\n| 1 | **2** |\n| 3 |\n\nafter",
        ("<div><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>"
        "<tr><td>1</td><td><strong>2</strong></td></tr><tr><td>3</td><td></td></tr></tbody></table></div><p>after</p>"),
    ),
    (
        "a | b\n--|--\n1 \\| 2 | 3",
        ("<div><table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td>1 | 2</td><td>3</td></tr>"
        "</tbody></table></div>"),
    ),
    # quotations and rules
    (
        "> a\n> - b\n\n---\n\n> c",
        "<blockquote><p>a</p><ul><li><p>b</p></li></ul></blockquote><hr></hr><blockquote><p>c</p></blockquote>",
    ),
    # links
    ("[a *b*](https://e.org)", f"<p><a {LINK} data-host=e.org>a <em>b</em></a></p>"),
    (
        "https://e.org/x. <https://e.org/>",
        f"<p><a {LINK}x>https://e.org/x</a>. <a {LINK}>https://e.org/</a></p>",
    ),
    ("[m](mailto:a@e.org)", "<p><a href=mailto:a@e.org data-host=a@e.org>m</a></p>"),
    (
        "[a][x] and [x]\n\n[x]: https://e.org",
        f"<p><a {LINK} data-host=e.org>a</a> and <a {LINK} data-host=e.org>x</a></p>",
    ),
    ("![a cat](https://e.org/c.png)", f"<p><a {LINK}c.png data-host=e.org>a cat</a></p>"),
    ("![](https://e.org/c.png)", f"<p><a {LINK}c.png data-host=e.org>c.png</a></p>"),
    (
        "[![a](https://e.org/b.png)](https://e.org/)",
        f"<p><a {LINK} data-host=e.org>a</a></p>",
    ),
    ("[a](relative) e.org a@e.org", "<p>[a](relative) e.org a@e.org</p>"),
    # code: fences are those of CommonMark 0.31, section 4.5
    (
        "Before\n```python\ndef f():\n    pass\n```\nafter",
        "<p>Before</p><code python>def f():\n    pass\n</code><p>after</p>",
    ),
    ("~~~\n```\nnot the end\n~~~\n", "<code code>```\nnot the end\n</code>"),
    ("````\n```\ninside\n```\n````\nout", "<code code>```\ninside\n```\n</code><p>out</p>"),
    ("   ```js\r\nlet a;\r\n   ```  \r\nnext", "<code js>let a;\n</code><p>next</p>"),
    ("    ```\n    indented", "<code code>```\nindented\n</code>"),
    ("Inline ``` is no fence, nor is ```` ` ````.", "<p>Inline ``` is no fence, nor is <code>`</code>.</p>"),
    ("```unfinished\nline", "<code unfinished>line</code>"),
    ("```", "<code code></code>"),
    ("``", "<p>``</p>"),
    ("```py\nx\n``` y\nstill\n```", "<code py>x\n``` y\nstill\n</code>"),
    ("🙂 é\n```\n🙂\n```\n🙂", "<p>🙂 é</p><code code>🙂\n</code><p>🙂</p>"),
    # mathematics stays source
    (
        r"\(a_1*b_2*c\) and $x_1$, $5 or $6, $$y$$",
        r"<p><code math>\(a_1*b_2*c\)</code> and <code math>$x_1$</code>, $5 or $6, <code math>$$y$$</code></p>",
    ),
    ("$$\na\n- b\n$$\nc", "<p><code math>$$\na\n- b\n$$</code></p><p>c</p>"),
    ("\\[\nx^2 + y\n\\]", "<p><code math>\\[\nx^2 + y\n\\]</code></p>"),
    # HTML is text
    ("<b>x</b> <!-- y -->", "<p><b>x</b> <!-- y --></p>"),
    ("<div>\n\n*x*\n\n</div>", "<p><div></p><p><em>x</em></p><p></div></p>"),
    ("", ""),
    ("\n\n", ""),
]  # fmt: skip

TEXTS = [text for text, _ in CASES]


async def test_each_construct_becomes_its_elements(serve: Serve) -> None:
    async with markdown(serve) as page:
        shown = await whole(page, TEXTS)
    assert [
        (text, one) for text, one in zip(TEXTS, shown, strict=True) if (text, one) not in CASES
    ] == []


async def test_the_pieces_make_no_difference(serve: Serve) -> None:
    """The test tries each text in single characters, in words, and in every cut into two; and all texts as one."""
    script = """([text, pieces]) => {
      const answer = begin();
      for (const piece of pieces) { put(piece); frame(); }
      answer.finish();
      return [outline(), answer.text === text];
    }"""
    async with markdown(serve) as page:
        for text in (*TEXTS, "\n\n".join(TEXTS)):
            [expected] = await whole(page, [text])
            cuts = [[text[:at], text[at:]] for at in range(1, min(len(text), 300))]
            ways = [[*text], re.findall(r"\S*\s?", text), *cuts]
            shown = await page.evaluate(
                f"([text, ways]) => ways.map(pieces => ({script})([text, pieces]))", [text, ways]
            )
            assert shown == len(ways) * [[expected, True]]
