"""Chunks of any shape give an answer that viewers can be shown, or one clear error."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.events import ToolCallArguments, ToolCallBegun
from streamsvc.provider_errors import ProviderError
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Finish
from streamsvc.providers.openai.chunks import ChunkReader
from support.openai_chunks import still_clock

__all__ = ["still_clock"]  # a fixture

pytestmark = pytest.mark.usefixtures("still_clock")

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.just(10**30), st.just(float("nan")),
    st.text(st.characters(), max_size=4), st.sampled_from(["\ud83d", "\ude42", "{", "}", "{}", "null", '"', "\\"]),
)  # fmt: skip
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)  # fmt: skip


def table(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects with any of these fields, each with a value of its own kind or junk."""
    return st.fixed_dictionaries(
        {}, optional={name: junk | value for name, value in fields.items()}
    )


arguments = st.sampled_from(["", "{", "}", '{"x":', "1}", "{}", '"\ud83d', '\ude42"']) | st.just(
    {"x": 1}
)
functions = table(name=st.sampled_from(["a", "b", ""]), arguments=arguments)
pieces = table(
    index=st.integers(0, 2), id=st.sampled_from(["i", "j", ""]), function=functions,
    extra_content=st.dictionaries(st.text(max_size=3), junk, max_size=2),
)  # fmt: skip
contents = st.text(max_size=3) | st.lists(
    table(type=st.sampled_from(["text", "refusal", "thinking"]), text=st.text(max_size=3), refusal=st.text(max_size=3)),
    max_size=2,
)  # fmt: skip
deltas = table(
    content=contents, reasoning=st.text(max_size=3), refusal=st.text(max_size=3),
    tool_calls=st.lists(pieces, max_size=3), function_call=functions,
    extra_content=st.dictionaries(st.text(max_size=3), junk, max_size=2),
)  # fmt: skip
tokens = table(
    token=st.text(max_size=3), logprob=st.floats(), bytes=st.lists(st.integers(0, 255), max_size=2)
)
choices = table(
    index=st.just(0), delta=deltas, message=deltas, finish_reason=st.sampled_from(["stop", "length", "tool_calls"]),
    logprobs=table(content=st.lists(tokens, max_size=2)),
)  # fmt: skip
chunks = table(
    model=st.just("m"), choices=st.lists(choices, min_size=1, max_size=2),
    usage=table(prompt_tokens=st.integers(), prompt_tokens_details=junk),
)  # fmt: skip


@given(st.lists(chunks, min_size=1, max_size=5))
@pytest.mark.promise("end:exactly-one")
def test_any_chunks_give_an_answer_or_an_error(some: list[Any]) -> None:
    """Every event can be encoded, a draft belongs to a call that has begun, and whole calls are JSON objects."""
    said: list[Any] = []
    answer = AnswerSoFar(said.append)
    reader = ChunkReader(answer, "gpt-test")
    try:
        for chunk in some:
            reader.take(json.dumps(chunk).encode())
        said.append(answer.finish())
    except ProviderError:
        pass
    begun: set[int] = set()
    for event in said:
        msgspec.json.encode(event)
        if isinstance(event, ToolCallBegun):
            assert event.index not in begun
            assert event.id
            assert event.name
            begun.add(event.index)
        if isinstance(event, ToolCallArguments):
            assert event.index in begun
            assert event.arguments
        for call in event.tool_calls if isinstance(event, Finish) else ():
            assert call.index in begun
            assert isinstance(json.loads(call.arguments), dict)
