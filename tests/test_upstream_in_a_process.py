"""Ends of answers, and bodies instead of a stream, through `streamsvc serve` on uvloop.

The conformance suite tests the rules on the adapters; this module shows that they hold in the process that a user starts.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from support.process import Running, serve
from support.upstreams import (
    CLOSE,
    GEMINI,
    HOLD,
    OPENAI,
    USAGE,
    Script,
    Upstream,
    Wire,
    body,
    finish,
    frame,
    raw,
    text,
    upstream,
)

WIRES: Mapping[str, Wire] = {"openai": OPENAI, "gemini": GEMINI}
QUESTION = [{"role": "user", "content": "hi"}]
FALLBACK: Script = (text("from the fallback"), finish())
PAGE = b"<!doctype html><title>Sign in</title>"
ERROR = frame({"error": {"code": 503, "message": "no"}})


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    """Run all tests in one event loop, against one process."""
    return "asyncio"


@dataclass
class Stage:
    """A service, its upstream, and the upstream of its fallback."""

    service: Running
    api: Upstream
    fallback: Upstream

    async def ask(self, kind: str, *script: Any) -> tuple[str, dict[str, Any]]:
        """Ask for a stream; return the text, or the refusal, and the `done`."""
        self.api.script(script)
        text, done = "", {}
        request = {"prompt": "hi", "provider": kind}
        headers = {"Accept": "text/event-stream"}
        async with self.service.client.stream(
            "POST", "/v1/generations", json=request, headers=headers
        ) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: "):
                    event = json.loads(line[6:])
                    text += event["text"] if event["type"] in {"text", "refusal"} else ""
                    done = event
        assert done["type"] == "done"
        return text, done

    async def complete(self, kind: str, *script: Any) -> httpx2.Response:
        """Ask for a chat completion in one piece."""
        self.api.script(script)
        request = {"model": kind, "messages": QUESTION}
        return await self.service.client.post("/v1/chat/completions", json=request)


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with _staged(tmp_path_factory.mktemp("service")) as stage:
        yield stage


@asynccontextmanager
async def _staged(directory: Path) -> AsyncIterator[Stage]:
    async with upstream() as api, upstream(*FALLBACK) as fallback:
        config = directory / "config.toml"
        entries = {
            "openai": ("openai", f"{api.url}/v1"),
            "gemini": ("gemini", api.url),
            "other": ("openai", f"{fallback.url}/v1"),
        }
        config.write_text(
            'provider = "openai"\n'
            + "".join(
                f'[providers.{name}]\nkind = "{kind}"\nbase_url = "{url}"\nmodel = "m"\n'
                f'api_key_env = ""\nbackoff_seconds = 0.01\nidle_seconds = 2.5\n'
                f"fallbacks = {[] if name == 'other' else ['other']}\n"
                for name, (kind, url) in entries.items()
            )
        )
        async with serve(directory, {}) as service:
            yield Stage(service, api, fallback)


both = pytest.mark.parametrize("kind", WIRES)


@both
@pytest.mark.promise("end:exactly-one")
async def test_a_reason_with_every_chunk_loses_no_word(stage: Stage, kind: str) -> None:
    words = [raw(WIRES[kind].stamped(word)) for word in "abc"]
    said, done = await stage.ask(kind, *words, raw(WIRES[kind].counted(USAGE)))
    assert (said, done["status"], done["provider"]) == ("abc", "completed", kind)
    assert done["usage"]["output_tokens"] == USAGE.output_tokens


@both
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(
    "rest", [raw(ERROR), raw(b"data: {garbage\n\n"), CLOSE], ids=["error", "garbage", "cut"]
)
async def test_a_complete_answer_is_paid_once_whatever_follows(
    stage: Stage, kind: str, rest: Any
) -> None:
    before = len(stage.api.calls)
    said, done = await stage.ask(kind, text("ab"), raw(WIRES[kind].reason("stop")), rest)
    assert (said, done["status"], done["provider"]) == ("ab", "completed", kind)
    assert len(stage.api.calls) == before + 1


@both
@pytest.mark.promise("upstream:bounded")
async def test_the_idle_deadline_after_a_complete_answer_is_no_failure(
    stage: Stage, kind: str
) -> None:
    with anyio.fail_after(10):
        said, done = await stage.ask(kind, raw(WIRES[kind].stamped("ab")), HOLD)
    assert (said, done["status"], done["provider"]) == ("ab", "completed", kind)


@both
async def test_a_last_block_without_its_blank_line_counts(stage: Stage, kind: str) -> None:
    data = WIRES[kind].token("a") + WIRES[kind].stamped("b").rstrip(b"\r\n")
    said, done = await stage.ask(kind, body(data, "text/event-stream"))
    assert (said, done["status"], done["provider"]) == ("ab", "completed", kind)


@both
async def test_one_json_object_is_the_answer_in_both_forms(stage: Stage, kind: str) -> None:
    whole = body(json.dumps(WIRES[kind].whole("a b")).encode(), "application/json")
    before = len(stage.api.calls)
    said, done = await stage.ask(kind, whole)
    assert (said, done["status"], done["provider"]) == ("a b", "completed", kind)
    response = await stage.complete(kind, whole)
    assert response.json()["choices"][0]["message"]["content"] == "a b"
    assert len(stage.api.calls) == before + 2


@both
@pytest.mark.promise("input:clear-error")
async def test_a_web_page_leads_to_the_fallback_and_a_log_line(stage: Stage, kind: str) -> None:
    before = len(stage.api.calls)
    said, done = await stage.ask(kind, body(PAGE, "text/html"))
    assert (said, done["provider"]) == ("from the fallback", "other")
    assert len(stage.api.calls) == before + 1
    with anyio.fail_after(10):
        await stage.service.logged(
            rf"code=provider_misconfigured .*setting=providers\.{kind}\.base_url"
        )


@both
async def test_an_empty_answer_leads_to_the_fallback(stage: Stage, kind: str) -> None:
    before = len(stage.api.calls)
    response = await stage.complete(kind, finish())
    assert response.json()["choices"][0]["message"]["content"] == "from the fallback"
    assert len(stage.api.calls) == before + 3


@both
async def test_odd_chunks_between_the_words_are_skipped(stage: Stage, kind: str) -> None:
    odd = frame(None) + frame({"choices": [{"delta": []}], "candidates": [{"content": []}]})
    said, done = await stage.ask(kind, raw(odd), text("a"), raw(odd), text("b"), finish())
    assert (said, done["status"], done["provider"]) == ("ab", "completed", kind)


async def test_reasoning_and_text_of_mistral_arrive(stage: Stage) -> None:
    parts = [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "One"},
    ]
    said, done = await stage.ask("openai", raw(OPENAI.choice({"content": parts})), finish())
    assert (said, done["status"]) == ("One", "completed")


async def test_a_refusal_in_words_is_the_answer(stage: Stage) -> None:
    said, done = await stage.ask("openai", raw(OPENAI.choice({"refusal": "I can't."})), finish())
    assert (said, done["status"]) == ("I can't.", "completed")
