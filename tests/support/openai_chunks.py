"""Chunks of OpenAI's chat completions, read without an upstream."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest

from streamsvc.events import Delta
from streamsvc.providers import answer as answer_module
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Finish
from streamsvc.providers.openai.chunks import ChunkReader


@pytest.fixture(scope="module")
def still_clock() -> Iterator[None]:
    """Tests that draw examples are not run in an event loop, which has the clock."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_module, "now", lambda: 0.0)
        yield


def emitted(
    *chunks: Iterable[Mapping[str, Any]] | Mapping[str, Any], reason: str = "tool_calls"
) -> list[Delta | Finish]:
    """Read chunks, and return what is emitted, then the finish.

    Args:
        chunks: a list is the pieces of tool calls in one chunk.
        reason: comes with the last chunk, which has nothing else; empty: there is none.
    """
    said: list[Delta | Finish] = []
    answer = AnswerSoFar(said.append)
    reader = ChunkReader(answer, "gpt-test")
    for chunk in chunks:
        is_whole = isinstance(chunk, Mapping)
        whole = chunk if is_whole else {"choices": [{"delta": {"tool_calls": chunk}}]}
        reader.take(json.dumps(whole).encode())
    if reason:
        reader.take(json.dumps({"choices": [{"delta": {}, "finish_reason": reason}]}).encode())
    finish = answer.finish()  # may emit what was held back
    return [*said, finish]


def read(
    *chunks: Iterable[Mapping[str, Any]] | Mapping[str, Any], reason: str = "tool_calls"
) -> tuple[list[Delta], Finish]:
    """Read chunks as `emitted` does; return the deltas, and how the answer ended."""
    *said, finish = emitted(*chunks, reason=reason)
    assert isinstance(finish, Finish)
    return [it for it in said if not isinstance(it, Finish)], finish
