"""The programs that the playground makes of a request: each is run, and sends exactly that request."""

import json
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from playwright.async_api import Page

from browser.pages import bundle, opened
from streamsvc.config.settings import CorsSettings, GenerationSettings, Settings
from streamsvc.web.playground import DIRECTORY
from support.api_keys import KeysFile, bearer, guarded
from support.process import environment, serve
from support.service import serving
from support.upstreams import OPENAI, finish, text, upstream

pytestmark = [
    pytest.mark.browser,
    pytest.mark.node,
    pytest.mark.needs("curl"),
    pytest.mark.timeout(120),
]

HOSTILE = (
    "It's $(touch pwned) `touch pwned` ${HOME} \"$HOME\" !! !1 \\ \\n \\u0041 \\' %s %(x)s {x} {{x}} $'a'",
    "</script><script>window.pwned = 1</script><!-- <ScRiPt> --> <b>&amp;&lt;</b> */ // # {pwned} ${pwned}",
    "JSON\nEOF\nJSON\n'''\n\"\"\"\n'; touch pwned; '\n\t\r\n\x01\x1b[31m\x7f\x85\u2028\u2029 .\nJSON\n",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1ea\U0001f1fa é e\u0301 中文 \u202eright\u202c \ufeff\xa0\u200b\U000e0041 ©.",
)
"""Prompts with what has a meaning in a shell, in JSON, JavaScript, Python, HTML or JSX, or cannot be seen."""

SECOND = {"role": "assistant", "content": "It's `not` $(this) one."}

EVERYTHING: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": [
            {"type": "text", "text": HOSTILE[0]},
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lGODlhAQABAAAAACw="}},
        ]},
        {"role": "assistant", "content": "", "tool_calls": [
            {"id": "call_'1", "type": "function", "function": {"name": "look", "arguments": '{"it\'s": "\\u2028"}'}},
        ]},
        {"role": "tool", "tool_call_id": "call_'1", "content": HOSTILE[2]},
        {"role": "user", "content": HOSTILE[1]},
    ],
    "system": HOSTILE[3],
    "provider": "openai",
    "temperature": 0.1,
    "max_tokens": 4096,
    "reasoning_effort": "low",
    "logprobs": True,
    "top_logprobs": 0,
    "grace_seconds": 3,
    "tools": [{"type": "function", "function": {"name": "look", "description": "It's \"$(it)\" \\", "parameters": {
        "type": "object",
        "properties": {"__proto__": {"type": "string"}, "it's": {"type": "null", "default": None}, "a-b": {"enum": [1e-7]}},
        "required": [],
        "additionalProperties": False,
    }}}],
    "response_format": {"type": "json_schema", "json_schema": {
        "name": "answer", "schema": {"type": "object", "properties": {}, "additionalProperties": True},
    }},
}  # fmt: skip
"""A request with everything that the page can put into one."""


class Programs:
    """Writes programs with the playground's own module, in a page of another origin, and runs them.

    Args:
        page: stands in a directory that is served.
        directory: that one.
        url: the address of the service.
    """

    def __init__(self, page: Page, directory: Path, url: str) -> None:
        self._page = page
        self._directory = directory
        self._url = url

    async def write(self, order: Mapping[str, Any], *, has_key: bool = False) -> dict[str, str]:
        """Return the program of each language."""
        written: dict[str, str] = await self._page.evaluate(
            """async ([text, service, hasKey]) => {
              const { LANGUAGES, snippet } = await import("./snippets.js");
              const asked = { order: JSON.parse(text), service, hasKey };
              return Object.fromEntries(Object.keys(LANGUAGES).map(it => [it, snippet(it, asked)]));
            }""",
            [json.dumps(order), self._url, has_key],
        )
        return written

    async def run(self, command: Sequence[str], program: str, key: str = "") -> tuple[str, int]:
        """Run a program that reads itself from its standard input; return its output and exit code."""
        environ = environment({}, {"STREAMSVC_KEY": key})
        ended = await anyio.run_process(
            command, input=program.encode(), env=environ, cwd=self._directory, check=False, stderr=None
        )  # fmt: skip
        return ended.stdout.decode(), ended.returncode

    async def open_javascript(self, programs: Sequence[str], answers: Sequence[str]) -> None:
        """Run each program in a script element of one page, until it shows the answers."""
        scripts = "".join(f'<script type="module">{it}</script>\n' for it in programs)
        await self._open("javascript.html", scripts)
        await self._shows("body > p", answers)

    async def open_react(self, programs: Sequence[str], answers: Sequence[str]) -> None:
        """Mount each component in one page, in strict mode, and press its button, until it shows the answers."""
        main = (
            'import { StrictMode } from "react";\nimport { createRoot } from "react-dom/client";\n'
        )
        for at, program in enumerate(programs):
            (self._directory / f"ask{at}.jsx").write_text(program, encoding="utf-8")
            main += (
                f'import Ask{at} from "./ask{at}.jsx";\n'
                f'createRoot(document.getElementById("root{at}")).render(<StrictMode><Ask{at} /></StrictMode>);\n'
            )
        (self._directory / "main.jsx").write_text(main)
        await bundle(self._directory, "main.jsx", "main.js")
        roots = "".join(f'<div id="root{at}"></div>' for at in range(len(programs)))
        script = '<script type="module" src="main.js"></script>'
        await self._open("react.html", roots + script)
        for at in range(len(programs)):
            await self._page.click(f"#root{at} button")
        await self._shows("article[aria-busy=false] p", answers)

    async def _open(self, name: str, body: str) -> None:
        """Open a page with this body."""
        (self._directory / name).write_text(
            f'<!doctype html><meta charset="utf-8"><body>{body}</body>', encoding="utf-8"
        )
        await self._page.goto(self._page.url.rpartition("/")[0] + f"/{name}")

    async def _shows(self, selector: str, texts: Sequence[str]) -> None:
        """Wait until the elements have these texts."""
        await self._page.wait_for_function(
            """([selector, expected]) => {
              const shown = [...document.querySelectorAll(selector)].map(it => it.textContent);
              return JSON.stringify(shown) === JSON.stringify(expected);
            }""",
            arg=[selector, [*texts]],
        )


def words_of(frames: str) -> str:
    """Return the text of an event stream."""
    events = [json.loads(line[6:]) for line in frames.split("\n") if line.startswith("data: ")]
    return "".join(event["text"] for event in events if event["type"] == "text")


def prepare(directory: Path) -> None:
    """Put the modules and an empty page into a directory that will be served."""
    for name in ("snippets.js", "snippets-page.js", "literals.js"):
        shutil.copy(DIRECTORY / name, directory)
    (directory / "empty.html").write_text("<!doctype html><meta charset='utf-8'>")


@pytest.mark.promise("content:exact")
async def test_each_program_gets_the_exact_echo_of_a_hostile_prompt(
    tmp_path: Path, origin: str
) -> None:
    prepare(tmp_path)
    settings = {
        "CORS__ORIGINS": json.dumps([origin]),
        "PROVIDERS__FAKE__REPLY": "echo",
        "PROVIDERS__FAKE__ALLOW_FAULTS": "true",
        "PROVIDERS__FAKE__WORDS_PER_SECOND": "0",
        "PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0.1",
        "PROVIDERS__FAKE__BACKOFF_SECONDS": "0.01",
    }
    orders = [
        {
            "messages": [{"role": "user", "content": "?"}, SECOND, {"role": "user", "content": it}],
            "provider": "fake",
            "grace_seconds": 3,
            "fault": "error_once",
        }
        for it in HOSTILE
    ]
    async with (
        serve(tmp_path, settings) as service,
        opened(f"{origin}/empty.html") as page,
    ):
        url = f"http://127.0.0.1:{service.port}"
        programs = Programs(page, tmp_path, url)
        written = [await programs.write(order) for order in orders]
        for prompt, program in zip(HOSTILE, written, strict=True):
            frames, code = await programs.run(["bash"], program["curl"])
            assert (words_of(frames), code) == (prompt, 0)
            assert await programs.run([sys.executable, "-"], program["python"]) == (prompt, 0)
            visible = re.sub(r"[\n\u200d]", "", "".join(program.values()))
            assert visible.isprintable()
            assert "Authorization" not in "".join(program.values())
        frames, _ = await programs.run(["sh"], "".join(it["curl"] for it in written))
        assert words_of(frames) == "".join(HOSTILE)
        await programs.open_javascript([it["javascript"] for it in written], HOSTILE)
        await programs.open_react([it["react"] for it in written], HOSTILE)
        assert await page.evaluate("window.pwned") is None
        assert not (tmp_path / "pwned").exists()


@pytest.mark.promise("content:whole")
async def test_each_program_sends_the_whole_request_and_a_key_only_by_a_placeholder(
    tmp_path: Path, origin: str
) -> None:
    """A key is asked for, so a page follows by a ticket."""
    prepare(tmp_path)
    keys = KeysFile(tmp_path / "keys.toml")
    key = keys.add("team")
    async with upstream(text("Fine ", "words."), finish()) as api:
        settings = Settings(
            cors=CorsSettings(origins=(origin,)),
            provider="openai",
            providers={"openai": OPENAI.entry(api.url)},
            generations=GenerationSettings(max_grace_seconds=30),
        )
        async with (
            serving(guarded(settings, keys), {"OPENAI_API_KEY": "sk-test"}) as service,
            opened(f"{origin}/empty.html") as page,
        ):
            programs = Programs(page, tmp_path, service.url)
            written = await programs.write(EVERYTHING, has_key=True)
            made = await service.client.post(
                "/v1/generations", json=EVERYTHING, headers=bearer(key)
            )
            assert made.status_code == 201
            frames, code = await programs.run(["bash"], written["curl"], key)
            assert (words_of(frames), code) == ("Fine words.", 0)
            assert await programs.run([sys.executable, "-"], written["python"], key) == (
                "Fine words.",
                0,
            )
            assert await programs.run([sys.executable, "-"], written["python"], "wrong") == ("", 1)
            await programs.open_javascript(
                [written["javascript"].replace("YOUR_KEY", key)], ["Fine words."]
            )
            await programs.open_react([written["react"].replace("YOUR_KEY", key)], ["Fine words."])
        assert [call.body for call in api.calls] == [api.calls[0].body] * 5
        assert "__proto__" in json.dumps(api.calls[0].body)
