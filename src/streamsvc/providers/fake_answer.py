"""What the fake provider answers without a script: tool calls, a value that fits a schema, or words."""

from collections.abc import Iterator
from itertools import chain

from streamsvc.config.settings import FakeSettings
from streamsvc.errors import ProviderRefused
from streamsvc.events import (
    AnswerEnd,
    Delta,
    Logprobs,
    Reasoning,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from streamsvc.messages import JsonFormat, Prompt
from streamsvc.providers.base import Finish
from streamsvc.providers.fake_calls import as_json, calls_for, question_of, results_of
from streamsvc.providers.fake_text import before_stop, reply_to, words
from streamsvc.providers.fake_values import NoValue, value_for


def answer(prompt: Prompt, settings: FakeSettings, preface: str) -> Iterator[Delta | Finish]:
    """Yield a complete answer word by word, so that long text does not block the event loop.

    Args:
        prompt: the request. `max_tokens` counts words, and pieces of tool calls.
        settings: of the entry.
        preface: words before the answer, which make it a different one; a JSON answer has other values instead.

    Raises:
        ProviderRefused: no value fits a schema.
    """
    try:
        calls = calls_for(prompt)
        text = preface if calls else _text(prompt, settings, preface)
    except NoValue as exc:
        raise ProviderRefused from exc
    if prompt.reasoning_effort != "none":
        yield from map(Reasoning, words(settings.reasoning))
    written: list[ToolCallReady] = []
    reason: AnswerEnd = "tool_calls" if calls else "stop"
    said = chain(map(Text, words(before_stop(text, prompt.stop))), _writing(calls, written))
    for number, delta in enumerate(said):
        if number == prompt.max_tokens:
            reason = "length"
            break
        yield delta
        if prompt.logprobs and isinstance(delta, Text):
            yield Logprobs((_likely(delta.text, prompt.top_logprobs or 0),))
    yield Finish(reason=reason, provider_reason=reason, tool_calls=tuple(written))


def _text(prompt: Prompt, settings: FakeSettings, preface: str) -> str:
    """Return the words of an answer."""
    match settings.reply:
        case "echo":
            return preface + question_of(prompt)
        case "text":
            return preface + settings.text
        case "auto":
            if prompt.response_format:
                return _json(prompt.response_format, settings, is_other=bool(preface))
            if results := results_of(prompt):
                said = (f"The result of {result.name} is {result.content}" for result in results)
                return preface + "\n".join(said)
            return preface + (reply_to(question_of(prompt)) or settings.text)


def _json(form: JsonFormat, settings: FakeSettings, *, is_other: bool) -> str:
    if form.schema is None:
        return as_json({"other_answer" if is_other else "answer": settings.text})
    return as_json(value_for(form.schema, variant=int(is_other)))


def _writing(calls: tuple[ToolCallReady, ...], written: list[ToolCallReady]) -> Iterator[Delta]:
    """Yield the pieces of calls, and add each call to *written* after its last piece."""
    for call in calls:
        yield ToolCallBegun(index=call.index, id=call.id, name=call.name)
        *pieces, last = words(call.arguments)
        yield from (ToolCallArguments(call.index, piece) for piece in pieces)
        yield ToolCallArguments(call.index, last)
        written.append(call)


def _likely(token: str, alternatives: int) -> dict[str, object]:
    """Return how likely a token was: the longer, the less, and each alternative half as likely as the one before.

    The shape is that of OpenAI's API (openai SDK, `types/chat/chat_completion_token_logprob.py`).
    """
    others = [token, *(token.swapcase() + "'" * number for number in range(alternatives))]
    top = [_token(other, rank) for rank, other in enumerate(others[:alternatives])]
    return {**_token(token, 0), "top_logprobs": top}


def _token(token: str, rank: int) -> dict[str, object]:
    logprob = -0.01 * len(token) - 0.7 * rank
    return {"token": token, "logprob": round(logprob, 4), "bytes": list(token.encode())}
