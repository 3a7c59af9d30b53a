"""Any script, with any quirk: it ends as a provider does, and its calls are whole."""

import json
from typing import Any, get_args

import msgspec
import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.events import Delta, ToolCallArguments, ToolCallBegun
from streamsvc.messages import Prompt, UserMessage
from streamsvc.provider_errors import ProviderError
from streamsvc.providers.base import Finish
from streamsvc.providers.fake.provider import FakeProvider
from streamsvc.providers.openai.quirks import QUIRKS
from streamsvc.script import FailureCode, Script

deterministic = settings(max_examples=100, deadline=None, derandomize=True, database=None)

texts = st.text(min_size=1, max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
objects = st.dictionaries(st.text(max_size=5), values, max_size=4)
calls = st.fixed_dictionaries(
    {"call": st.sampled_from(["get_weather", "f"]), "arguments": objects},
    optional={"data": st.just({"google": {"thought_signature": "s"}})},
)
steps = (
    calls
    | st.fixed_dictionaries({"words": texts})
    | st.fixed_dictionaries({"reasoning": texts})
    | st.fixed_dictionaries({"refusal": texts})
    | st.fixed_dictionaries({"call": texts, "arguments": st.text(max_size=10)})
    | st.fixed_dictionaries({"pause": st.integers(0, 100)})
    | st.fixed_dictionaries({"pace": st.integers(0, 100)})
    | st.fixed_dictionaries({"finish": st.sampled_from(["stop", "length", "tool_calls"])})
    | st.fixed_dictionaries(
        {"fail": st.sampled_from(get_args(FailureCode))},
        optional={"after": st.integers(0, 9), "times": st.integers(1, 2)},
    )
    | st.just({"turn": "next"})
)


def played(script: list[dict[str, Any]], **fields: Any) -> tuple[list[Delta], Finish | str]:
    """Return what an answer says, and how it ends: the code of its error if it fails."""
    said: list[Delta | Finish] = []
    settings = FakeSettings(
        script=msgspec.convert(script, Script), words_per_second=0, first_word_seconds=0, **fields
    )

    async def run() -> Finish | str:
        try:
            prompt = Prompt(messages=(UserMessage("Hello"),))
            return await FakeProvider(settings).generate(prompt, said.append)
        except ProviderError as exc:
            return exc.code

    end = trio.run(run, clock=MockClock(autojump_threshold=0))
    return [piece for piece in said if not isinstance(piece, Finish)], end


def arguments_of(said: list[Delta], index: int) -> str:
    pieces = (it for it in said if isinstance(it, ToolCallArguments) and it.index == index)
    return "".join(piece.arguments for piece in pieces)


@pytest.mark.promise("content:whole")
@given(st.lists(steps, max_size=8), st.sampled_from(["none", *QUIRKS]))
@deterministic
def test_script_ends_as_a_provider_does(script: list[dict[str, Any]], fault: Any) -> None:
    said, end = played(script, fault=fault)
    if isinstance(end, str):
        assert end in get_args(FailureCode)
        return
    begun = {it.index: (it.id, it.name) for it in said if isinstance(it, ToolCallBegun)}
    for call in end.tool_calls:
        assert begun[call.index] == (call.id, call.name)
        assert isinstance(json.loads(call.arguments), dict)
        assert arguments_of(said, call.index) in (call.arguments, "")
    assert "" not in [it.arguments for it in said if isinstance(it, ToolCallArguments)]


@pytest.mark.promise("content:whole")
@given(st.lists(calls, min_size=1, max_size=5), st.sampled_from([*QUIRKS]))
@deterministic
def test_calls_are_the_same_with_any_quirk(script: list[dict[str, Any]], quirk: Any) -> None:
    _, plain = played(script)
    _, other = played(script, fault=quirk)
    assert isinstance(plain, Finish)
    assert isinstance(other, Finish)
    assert [(it.name, json.loads(it.arguments)) for it in other.tool_calls] == [
        (step["call"], step["arguments"]) for step in script
    ]
    assert [it.provider_data for it in other.tool_calls] == [
        it.provider_data for it in plain.tool_calls
    ]
