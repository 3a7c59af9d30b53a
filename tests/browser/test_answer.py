"""The playground shows a growing text alike, whatever its pieces are."""

import pytest

from browser.playground import playground
from conftest import Serve
from streamsvc.config.settings import Settings

pytestmark = pytest.mark.browser

TEXTS = [
    "No code at all.\nTwo lines.",
    "Before\n```python\ndef f():\n    pass\n```\nafter",
    "~~~\n```\nnot the end\n~~~\n",
    "````\n```\nstill inside\n```\n````\nout",
    "   ```js\r\nlet a;\r\n   ```  \r\nnext",
    "    ```\nfour spaces are no fence\n",
    "Inline ``` is no fence, nor is ```` ` ````.\n``` a`b\nnor this",
    "```unfinished\nline",
    "```",
    "``",
    "```\n\n\n```\n```\nsecond\n```",
    "```py\nx\n``` y\nstill inside\n```",
    "🙂 é\n```\n🙂\n```\n🙂",
]

SHOW = """async ({text, pieces}) => {
  const {Answer} = await import(new URL("playground/answer.js", location.href));
  const element = document.createElement("div");
  const answer = new Answer(element);
  for (const piece of pieces) answer.append(piece);
  const before = element.textContent.length;
  answer.finish();
  const blocks = [...element.children].map(block => block.tagName === "FIGURE"
    ? ["code", block.querySelector("span").textContent, block.querySelector("code").textContent]
    : ["text", "", block.textContent]);
  return {blocks, isExact: answer.text === text, nodes: element.querySelectorAll("p, code").length};
}"""


async def test_the_pieces_make_no_difference(serve: Serve) -> None:
    """The test tries every cut into two pieces, and single characters."""
    service = await serve(Settings())
    async with playground(service.url) as page:
        for text in TEXTS:
            whole = await page.evaluate(SHOW, {"text": text, "pieces": [text]})
            assert whole["isExact"]
            cuts = [[text[:at], text[at:]] for at in range(1, len(text))]
            for pieces in ([*text], *cuts):
                assert await page.evaluate(SHOW, {"text": text, "pieces": pieces}) == whole


async def test_fences_are_those_of_commonmark(serve: Serve) -> None:
    service = await serve(Settings())
    async with playground(service.url) as page:
        shown = []
        for text in TEXTS:
            blocks = (await page.evaluate(SHOW, {"text": text, "pieces": [text]}))["blocks"]
            shown.append([tuple(block) for block in blocks])
    assert shown == [
        [("text", "", "No code at all.\nTwo lines.")],
        [
            ("text", "", "Before\n"),
            ("code", "python", "def f():\n    pass\n"),
            ("text", "", "after"),
        ],
        [("code", "code", "```\nnot the end\n")],
        [("code", "code", "```\nstill inside\n```\n"), ("text", "", "out")],
        [("code", "js", "let a;\r\n"), ("text", "", "next")],
        [("text", "", "    ```\nfour spaces are no fence\n")],
        [("text", "", "Inline ``` is no fence, nor is ```` ` ````.\n``` a`b\nnor this")],
        [("code", "unfinished", "line")],
        [("code", "code", "")],
        [("text", "", "``")],
        [("code", "code", "\n\n"), ("code", "code", "second\n")],
        [("code", "py", "x\n``` y\nstill inside\n")],
        [("text", "", "🙂 é\n"), ("code", "code", "🙂\n"), ("text", "", "🙂")],
    ]
