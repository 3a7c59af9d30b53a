"""How the fake provider performs a script: from steps to deltas, and to the end of the answer."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from streamsvc.events import (
    AnswerEnd,
    Delta,
    Logprobs,
    Reasoning,
    Refusal,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from streamsvc.messages import AssistantMessage, Prompt
from streamsvc.provider_errors import (
    ContextLengthExceeded,
    EmptyAnswer,
    ProviderAuthFailed,
    ProviderContentFiltered,
    ProviderError,
    ProviderMisconfigured,
    ProviderModelNotFound,
    ProviderQuotaExhausted,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimedOut,
    ProviderUnavailable,
    UpstreamCut,
    UpstreamInvalid,
)
from streamsvc.providers.answer import CUT_SHORT, WITH_OR_WITHOUT_CALLS
from streamsvc.providers.base import Finish
from streamsvc.providers.fake.calls import as_json
from streamsvc.providers.fake.steps import Pace, Silence, Step, is_token
from streamsvc.providers.fake.text import words
from streamsvc.providers.tool_calls import CallPiece, ToolCallJoiner
from streamsvc.script import FailureCode, Script, ScriptStep, turns_of


def turn_for(script: Script, prompt: Prompt) -> Script:
    """Return the steps that answer a prompt: those of the next turn, after as many as the model has had."""
    turns = turns_of(script)
    had = sum(isinstance(turn, AssistantMessage) for turn in prompt.messages)
    return turns[had % len(turns)]


def perform(steps: Script, prompt: Prompt, *, max_tokens: int | None = None) -> Iterator[Step]:
    """Yield an answer piece by piece, so that long text does not block the event loop.

    Args:
        steps: of one turn.
        prompt: says whether logprobs are wanted, and which call for the answer this is.
        max_tokens: how many words and pieces of tool calls there are at most.

    Raises:
        UpstreamInvalid: the arguments of a call are not a JSON object.
    """
    writer = _Writer(prompt)
    sudden = next((step for step in steps if step.after is not None and _fails(step, prompt)), None)
    reason: AnswerEnd = next((step.finish for step in steps if step.finish), "stop")
    left_out: Step | None = None
    tokens = 0
    for piece in chain.from_iterable(map(writer.write, steps)):
        if sudden and tokens == sudden.after:
            break
        if is_token(piece):
            if tokens == max_tokens:
                reason, left_out = "length", piece
                break
            tokens += 1
        yield piece
    if sudden:
        yield _failure(sudden, has_token=tokens > 0)
    yield _finish(steps, reason, writer.calls(left_out, may_be_cut=reason in CUT_SHORT))


def _finish(steps: Script, reason: AnswerEnd, calls: tuple[ToolCallReady, ...]) -> Finish:
    if reason in WITH_OR_WITHOUT_CALLS:
        reason = "tool_calls" if calls else "stop"
    data: dict[str, Any] = {}
    for step in steps:
        data.update(step.provider_data or {})
    return Finish(
        reason=reason,
        provider_reason=reason,
        usage=next((step.usage for step in steps if step.usage), None),
        tool_calls=calls,
        provider_data=data,
    )


class _Writer:
    """Writes what steps say; it remembers the tool calls."""

    def __init__(self, prompt: Prompt) -> None:
        self._prompt = prompt
        self._drafts: list[Delta] = []
        self._joiner = ToolCallJoiner(self._drafts.append)
        self._count = 0
        self._has_token = False
        self._first_id = 1 + sum(
            len(turn.tool_calls) for turn in prompt.messages if isinstance(turn, AssistantMessage)
        )

    def write(self, step: ScriptStep) -> Iterator[Step]:
        """Yield the pieces of a step."""
        says = step.words or step.reasoning or step.refusal or step.call
        self._has_token = self._has_token or says is not None
        if step.words:
            yield from self._text(step.words)
        elif step.reasoning:
            yield from map(Reasoning, words(step.reasoning))
        elif step.refusal:
            yield from map(Refusal, words(step.refusal))
        elif step.call:
            yield from self._call(step, step.call)
        elif step.pause:
            yield Silence(step.pause)
        elif step.pace is not None:
            yield Pace(step.pace)
        elif step.after is None and _fails(step, self._prompt):
            yield _failure(step, has_token=self._has_token)

    def calls(self, left_out: Step | None, *, may_be_cut: bool) -> tuple[ToolCallReady, ...]:
        """Return the whole calls; see `ToolCallJoiner.whole`.

        Args:
            left_out: a piece that has been written, but is not part of the answer; its call is not whole.
            may_be_cut: whether the last call may be half of one.
        """
        calls = self._joiner.whole(may_be_cut=may_be_cut)
        if isinstance(left_out, ToolCallBegun | ToolCallArguments):
            return calls[: left_out.index]
        return calls

    def _text(self, text: str) -> Iterator[Step]:
        for word in words(text):
            yield Text(word)
            if self._prompt.logprobs:
                yield Logprobs((_likely(word, self._prompt.top_logprobs or 0),))

    def _call(self, step: ScriptStep, name: str) -> Iterator[Step]:
        at = self._count
        self._count += 1
        call_id = step.id or f"call_{self._first_id + at}"
        begin = CallPiece(index=at, id=call_id, name=name, provider_data=step.data or {})
        yield from self._joined(begin)
        given = step.arguments
        for piece in words(given if isinstance(given, str) else as_json(given or {})):
            yield from self._joined(CallPiece(index=at, id=call_id, arguments=piece))

    def _joined(self, piece: CallPiece) -> Iterator[Step]:
        self._joiner.take([piece])
        yield from self._drafts
        self._drafts.clear()


def _fails(step: ScriptStep, prompt: Prompt) -> bool:
    """Return whether a step makes this call fail."""
    return step.fail is not None and (step.times is None or prompt.call <= step.times)


def _failure(step: ScriptStep, *, has_token: bool) -> ProviderError:
    if step.fail is None or step.fail == "provider_timeout":
        return ProviderTimedOut("idle" if has_token else "first_token")
    error = FAILURES[step.fail]()
    error.retry_after_seconds = step.retry_after
    return error


FAILURES: Mapping[FailureCode, type[ProviderError]] = {
    "provider_auth": ProviderAuthFailed,
    "provider_quota": ProviderQuotaExhausted,
    "provider_misconfigured": ProviderMisconfigured,
    "provider_model_not_found": ProviderModelNotFound,
    "provider_refused": ProviderRefused,
    "content_filter": ProviderContentFiltered,
    "context_length_exceeded": ContextLengthExceeded,
    "provider_rate_limited": ProviderRateLimited,
    "provider_unavailable": ProviderUnavailable,
    "upstream_cut": UpstreamCut,
    "upstream_invalid": UpstreamInvalid,
    "empty_answer": EmptyAnswer,
    "upstream_error": ProviderError,
}
"""The error of each code; `provider_timeout` also has the deadline in it."""


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
