"""One table of answers: whatever the wire format, the same things come out of a provider."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytest
from provider import UpstreamSubject, every_upstream, finishes, gather

from streamsvc.events import (
    AnswerEnd,
    Logprobs,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    Usage,
)
from support.answering import Piece, answering
from support.parameters import prompt_with
from support.upstreams import DONE, GEMINI, OPENAI, frame, raw

pytestmark = pytest.mark.usefixtures("no_certificates")

CITY = {"city": "Paris"}


class Answer(NamedTuple):
    """An answer in both wire formats, and what it is.

    Attributes:
        openai: the deltas of the chunks, then the finish reason.
        gemini: the parts of the chunks, then the finish reason.
        text: its words.
        calls: its tool calls: name and arguments.
        reason: how it ends.
    """

    openai: tuple[Sequence[dict[str, Any]], str]
    gemini: tuple[Sequence[dict[str, Any]], str]
    text: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    reason: AnswerEnd = "stop"


def piece(index: int, **function: str) -> dict[str, Any]:
    """Return a delta with a piece of a call."""
    call = {"index": index, "function": function}
    if "name" in function:
        call |= {"id": f"call_{index}", "type": "function"}
    return {"tool_calls": [call]}


ANSWERS: Mapping[str, Answer] = {
    "words": Answer(
        ([{"content": "One "}, {"content": "two."}], "stop"),
        ([{"text": "One "}, {"text": "two."}], "STOP"),
        text="One two.",
    ),
    "a value in JSON": Answer(
        ([{"content": '{"city":'}, {"content": '"Paris"}'}], "stop"),
        ([{"text": '{"city":'}, {"text": '"Paris"}'}], "STOP"),
        text='{"city":"Paris"}',
    ),
    "words and a call": Answer(
        (
            [
                {"content": "Hm."},
                piece(0, name="get_weather", arguments=""),
                piece(0, arguments='{"city":'),
                piece(0, arguments='"Paris"}'),
            ],
            "tool_calls",
        ),
        ([{"text": "Hm."}, {"functionCall": {"name": "get_weather", "args": CITY}}], "STOP"),
        text="Hm.",
        calls=(("get_weather", CITY),),
        reason="tool_calls",
    ),
    "parallel calls, one without arguments": Answer(
        (
            [
                piece(0, name="get_weather", arguments='{"city":"Paris"}'),
                piece(1, name="now", arguments=""),
            ],
            "tool_calls",
        ),
        (
            [
                {"functionCall": {"name": "get_weather", "args": CITY}},
                {"functionCall": {"name": "now"}},
            ],
            "STOP",
        ),
        calls=(("get_weather", CITY), ("now", {})),
        reason="tool_calls",
    ),
    "an answer that is too long": Answer(
        ([{"content": "One "}], "length"), ([{"text": "One "}], "MAX_TOKENS"), "One ", (), "length"
    ),
    "a filtered answer": Answer(
        ([{"content": "One "}], "content_filter"),
        ([{"text": "One "}], "SAFETY"),
        text="One ",
        reason="content_filter",
    ),
}


def stream_of(subject: UpstreamSubject, answer: Answer) -> bytes:
    """Return the body of an answer in the wire format of a provider."""
    if subject.name == "openai":
        deltas, reason = answer.openai
        return b"".join(map(OPENAI.choice, deltas)) + OPENAI.reason(reason) + DONE
    parts, reason = answer.gemini
    chunks = (GEMINI.candidate(content={"role": "model", "parts": [part]}) for part in parts)
    return b"".join(chunks) + GEMINI.candidate(finishReason=reason)


async def answer_of(subject: UpstreamSubject, body: bytes) -> list[Piece]:
    async with (
        subject.open(raw(body)) as (_, provider),
        answering(provider, prompt_with("tools")) as pieces,
    ):
        seen, error = await gather(pieces)
    assert error is None
    return seen


@every_upstream
@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_means_the_same(subject: UpstreamSubject, answer: Answer) -> None:
    pieces = await answer_of(subject, stream_of(subject, answer))
    assert "".join(it.text for it in pieces if isinstance(it, Text)) == answer.text
    (finish,) = finishes(pieces)
    assert finish.reason == answer.reason
    calls = ((call.name, json.loads(call.arguments)) for call in finish.tool_calls)
    assert (*calls,) == answer.calls
    assert [call.index for call in finish.tool_calls] == [*range(len(answer.calls))]
    begun = [it for it in pieces if isinstance(it, ToolCallBegun)]
    assert [(it.id, it.name) for it in begun] == [(it.id, it.name) for it in finish.tool_calls]
    for call in finish.tool_calls:
        written = (it for it in pieces if isinstance(it, ToolCallArguments))
        joined = "".join(it.arguments for it in written if it.index == call.index)
        assert (joined or "{}") == call.arguments


@every_upstream
async def test_log_probabilities_have_one_shape(subject: UpstreamSubject) -> None:
    """It is OpenAI's; Gemini has no bytes and puts the alternatives elsewhere."""
    openai = {
        "content": [
            {
                "token": "Hi",
                "logprob": -0.1,
                "bytes": [72, 105],
                "top_logprobs": [{"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}],
            }
        ]
    }
    gemini = {
        "chosenCandidates": [{"token": "Hi", "logProbability": -0.1}],
        "topCandidates": [{"candidates": [{"token": "Hi", "logProbability": -0.1}]}],
    }
    if subject.name == "openai":
        body = OPENAI.choice({"content": "Hi"}, logprobs=openai) + OPENAI.reason() + DONE
    else:
        content = {"role": "model", "parts": [{"text": "Hi"}]}
        body = GEMINI.candidate(content=content, logprobsResult=gemini) + GEMINI.reason()
    (likely,) = (it for it in await answer_of(subject, body) if isinstance(it, Logprobs))
    assert likely.content == tuple(openai["content"])


@every_upstream
async def test_usage_means_the_same(subject: UpstreamSubject) -> None:
    """The output includes the reasoning, and the input includes what came from the cache."""
    if subject.name == "openai":
        counted = {
            "prompt_tokens": 100,
            "completion_tokens": 30,
            "prompt_tokens_details": {"cached_tokens": 64},
            "completion_tokens_details": {"reasoning_tokens": 20},
        }
        last = frame({"choices": [], "usage": counted}) + DONE
        body = OPENAI.token("Hi") + OPENAI.reason() + last
    else:
        usage = {
            "promptTokenCount": 100,
            "candidatesTokenCount": 10,
            "thoughtsTokenCount": 20,
            "cachedContentTokenCount": 64,
        }
        body = GEMINI.token("Hi") + GEMINI.candidate({"usageMetadata": usage}, finishReason="STOP")
    (finish,) = finishes(await answer_of(subject, body))
    assert finish.usage == Usage(
        input_tokens=100, output_tokens=30, reasoning_tokens=20, cached_tokens=64
    )
