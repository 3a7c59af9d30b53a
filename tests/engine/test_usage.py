"""The estimated usage of a call whose provider reports none."""

import pytest

from streamsvc.engine.usage import estimate
from streamsvc.events import Reasoning, Record, Text, Usage
from streamsvc.messages import AssistantMessage, Prompt, UserMessage
from streamsvc.snapshot import Standing
from support.doubles import PROMPT


def said(*pieces: Text | Reasoning) -> Standing:
    standing = Standing()
    standing.extend([Record("gen_a", seq, piece) for seq, piece in enumerate(pieces)])
    return standing


@pytest.mark.parametrize(
    ("pieces", "output", "reasoning"),
    [
        ([], 0, None),
        ([Text("a")], 1, None),
        ([Text("a" * 8), Text("b")], 3, None),
        ([Text("a")] * 9, 9, None),
        ([Text("\U0001f980" * 3)], 3, None),
        ([Reasoning("a" * 40), Text("b")], 11, 10),
    ],
)
def test_an_answer_has_a_token_per_delta_or_per_four_bytes(
    pieces: list[Text | Reasoning], output: int, reasoning: int | None
) -> None:
    assert estimate(PROMPT, said(*pieces)) == Usage(
        input_tokens=5, output_tokens=output, reasoning_tokens=reasoning, estimated=True
    )


def test_a_prompt_counts_all_turns_and_the_system_text() -> None:
    turns = (UserMessage("a" * 40), AssistantMessage("b" * 40), UserMessage("c" * 41))
    assert estimate(Prompt(messages=turns), said()).input_tokens == 31
    assert estimate(Prompt(messages=turns, system="d" * 40), said()).input_tokens == 41
