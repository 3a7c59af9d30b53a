"""The estimated usage of a call whose provider reports none."""

import pytest

from streamsvc.engine.usage import estimate
from streamsvc.events import Delta, Reasoning, Record, Text, ToolCallArguments, ToolCallBegun, Usage
from streamsvc.messages import AssistantMessage, Prompt, UserMessage
from streamsvc.snapshot import Standing
from support.doubles import PROMPT


def said(*pieces: Delta) -> Standing:
    standing = Standing()
    standing.extend([Record("gen_a", seq, piece) for seq, piece in enumerate(pieces)])
    return standing


@pytest.mark.parametrize(
    ("pieces", "output", "reasoning"),
    [
        ([], 0, None),
        ([Text("a")], 1, None),
        ([Text("a" * 8), Text("b")], 2, None),
        ([Text("a")] * 9, 9, None),
        ([Text("Words "), Text("of "), Text("English ")] * 30, 90, None),
        ([Text("\u0441\u043b\u043e\u0432")] * 5, 5, None),
        ([Text("a" * 9)], 3, None),
        ([Text("A chunk of several tokens, as Gemini sends it. ")] * 4, 47, None),
        ([Text("\U0001f980" * 3)], 3, None),
        ([Reasoning("a" * 40), Text("b")], 11, 10),
    ],
)
def test_short_deltas_are_tokens_and_long_ones_have_one_per_four_bytes(
    pieces: list[Text | Reasoning], output: int, reasoning: int | None
) -> None:
    assert estimate(PROMPT, said(*pieces), counts_words=False) == Usage(
        input_tokens=5, output_tokens=output, reasoning_tokens=reasoning, estimated=True
    )


def test_a_prompt_counts_all_turns_and_the_system_text() -> None:
    turns = (UserMessage("a" * 40), AssistantMessage("b" * 40), UserMessage("c" * 41))
    prompt = Prompt(messages=turns)
    assert estimate(prompt, said(), counts_words=False).input_tokens == 31
    prompt = Prompt(messages=turns, system="d" * 40)
    assert estimate(prompt, said(), counts_words=False).input_tokens == 41


def test_a_provider_that_counts_words_has_a_token_for_each() -> None:
    prompt = Prompt(messages=(UserMessage("Donaudampfschifffahrtsgesellschaft und mehr"),))
    answer = said(
        Reasoning("Hm "),
        Text("Donaudampfschifffahrtsgesellschaft "),
        Text("\U0001f980\U0001f980\U0001f980 "),
        ToolCallBegun(index=0, id="call_1", name="look"),
        ToolCallArguments(index=0, arguments='{"city": "Paris"}'),
    )
    assert estimate(prompt, answer, counts_words=True) == Usage(
        input_tokens=3, output_tokens=5, reasoning_tokens=1, estimated=True
    )
