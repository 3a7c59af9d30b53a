"""Which failures lead to a retry, a fallback or the end, and which one is reported."""

import logging
import re
from dataclasses import dataclass

import pytest

from streamsvc.engine.circuit import State
from streamsvc.events import Done, Reasoning, Status, Text
from streamsvc.provider_errors import (
    ContextLengthExceeded,
    EmptyAnswer,
    NamedModelNotFound,
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
from support.answers import WELL, failed, retrying, supervising, switching
from support.doubles import ScriptedProvider, Step, virtual_backends

anyio_backend = virtual_backends()


@dataclass(frozen=True)
class Conduct:
    """What follows a failure before the first token."""

    is_repeated: bool
    goes_to_fallback: bool
    counts: bool


CONDUCT = {
    ProviderError: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    ProviderAuthFailed: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    ProviderQuotaExhausted: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    ProviderMisconfigured: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    ProviderModelNotFound: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    NamedModelNotFound: Conduct(is_repeated=False, goes_to_fallback=True, counts=False),
    ProviderRefused: Conduct(is_repeated=False, goes_to_fallback=True, counts=False),
    ProviderContentFiltered: Conduct(is_repeated=False, goes_to_fallback=False, counts=False),
    ContextLengthExceeded: Conduct(is_repeated=False, goes_to_fallback=True, counts=False),
    ProviderRateLimited: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    ProviderUnavailable: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    ProviderTimedOut: Conduct(is_repeated=False, goes_to_fallback=True, counts=True),
    UpstreamCut: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    UpstreamInvalid: Conduct(is_repeated=True, goes_to_fallback=True, counts=True),
    EmptyAnswer: Conduct(is_repeated=True, goes_to_fallback=True, counts=False),
}


def tree(root: type[ProviderError] = ProviderError) -> list[type[ProviderError]]:
    return [root, *(leaf for branch in root.__subclasses__() for leaf in tree(branch))]


def one(kind: type[ProviderError]) -> ProviderError:
    return ProviderTimedOut("first_token") if kind is ProviderTimedOut else kind()


def test_every_failure_is_listed() -> None:
    assert CONDUCT.keys() == set(tree())


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("kind", CONDUCT, ids=lambda kind: kind.__name__)
async def test_each_failure_is_retried_falls_back_or_ends_as_listed(
    kind: type[ProviderError],
) -> None:
    conduct = CONDUCT[kind]
    first, second = ScriptedProvider(one(kind)), ScriptedProvider(*WELL)
    async with supervising(first, second, attempts=2, circuit_failures=2) as bench:
        events = await bench.answer()
        assert bench.calls == (1 + conduct.is_repeated, conduct.goes_to_fallback)
        assert events[:-1] == [
            *[retrying(kind.code)] * conduct.is_repeated,
            *[switching(kind.code), Text("well")] * conduct.goes_to_fallback,
        ]
        await bench.answer()
        assert (bench.circuit_of("first") is State.OPEN) == conduct.counts


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("said", [(), (Text("a"),), (Reasoning("a"),)])
async def test_a_content_filter_is_neither_retried_nor_routed_around(
    said: tuple[Step, ...],
) -> None:
    """The answer ends with the reason, and it does not count as a failure of the provider."""
    first, second = ScriptedProvider(*said, ProviderContentFiltered()), ScriptedProvider(*WELL)
    async with supervising(first, second, circuit_failures=1) as bench:
        *_, done = await bench.answer()
        assert isinstance(done, Done)
        assert (done.status, done.finish_reason) == (Status.INCOMPLETE, "content_filter")
        assert bench.calls == (1, 0)
        assert bench.circuit_of("first") is State.CLOSED


@pytest.mark.promise("upstream:rescue")
async def test_a_content_filter_of_a_fallback_ends_the_answer() -> None:
    first, second, third = (
        ScriptedProvider(ContextLengthExceeded()),
        ScriptedProvider(ProviderContentFiltered()),
        ScriptedProvider(*WELL),
    )
    async with supervising(first, second, third) as bench:
        done = await bench.done()
        assert (done.provider, done.finish_reason) == ("second", "content_filter")
        assert bench.calls == (1, 1, 0)


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(
    ("errors", "reported"),
    [
        ([ProviderUnavailable(), UpstreamInvalid()], 0),
        ([ProviderAuthFailed(), ProviderUnavailable()], 1),
        ([ProviderAuthFailed(), ContextLengthExceeded()], 0),
        ([ContextLengthExceeded(), ProviderAuthFailed()], 0),
    ],
    ids=lambda errors: "+".join(one.code for one in errors) if isinstance(errors, list) else None,
)
async def test_the_reported_failure_is_retryable_else_the_first(
    errors: list[ProviderError], reported: int
) -> None:
    providers = [ScriptedProvider(error) for error in errors]
    async with supervising(*providers, attempts=1) as bench:
        assert await bench.done() == failed(("first", "second")[reported], errors[reported])


@pytest.mark.promise("secret:kept")
async def test_every_failed_call_is_logged_with_the_setting_to_check(
    caplog: pytest.LogCaptureFixture,
) -> None:
    providers = (
        ScriptedProvider(ProviderAuthFailed("the-secret-question")),
        ScriptedProvider(ProviderModelNotFound("the-secret-question")),
        ScriptedProvider(*WELL),
    )
    with caplog.at_level(logging.INFO):
        async with supervising(*providers) as bench:
            await bench.answer()
    lines = [re.sub(r"id=\w+ | seconds=.*", "", record.getMessage()) for record in caplog.records]
    assert lines == [
        "call.failed provider=first model=model-of-first code=provider_auth call=1 begun=false cause=none setting=providers.first.api_key_env",
        "call.failed provider=second model=model-of-second code=provider_model_not_found call=2 begun=false cause=none setting=providers.second.model",
        "generation.finished provider=third model=model-of-third outcome=completed calls=3",
    ]
    assert "the-secret-question" not in caplog.text
