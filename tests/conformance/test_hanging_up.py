"""Leaving a call closes its connection or returns it to the pool, at any moment."""

import anyio
import anyio.lowlevel
import pytest
from provider import PROMPT, UpstreamSubject, every_upstream, gather, texts

from streamsvc.events import Delta, Text
from streamsvc.providers import base
from streamsvc.providers.base import Finish, Provider, closed_afterwards
from support.answering import answering
from support.upstreams import HEAD, HOLD, Script, Step, finish, paced, text

pytestmark = pytest.mark.usefixtures("no_certificates")


@every_upstream
async def test_connection_is_reused_after_a_complete_answer(subject: UpstreamSubject) -> None:
    async with subject.open(text("One"), finish()) as (api, provider):
        for _ in range(3):
            async with answering(provider, PROMPT) as answer:
                deltas, _ = await gather(answer)
            assert texts(deltas) == ["One"]
        assert [call.connection for call in api.calls] == [1, 1, 1]


@every_upstream
@pytest.mark.promise("cancel:disconnect")
@pytest.mark.parametrize("rest", [paced(0.001), HOLD], ids=["talking", "silent"])
async def test_leaving_within_an_answer_closes_the_connection(
    subject: UpstreamSubject, rest: Step
) -> None:
    async with subject.open(text("One "), rest) as (api, provider):
        async with answering(provider, PROMPT) as answer:
            assert await anext(answer) == Text("One ")
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()


@every_upstream
@pytest.mark.parametrize("script", [(HOLD,), (HEAD, HOLD)], ids=["no answer", "head only"])
async def test_cancelling_before_the_first_token_closes_it(
    subject: UpstreamSubject, script: Script
) -> None:
    async def ask(provider: Provider) -> None:
        async with answering(provider, PROMPT) as answer:
            await gather(answer)

    with anyio.fail_after(10):
        async with subject.open(*script) as (api, provider):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(ask, provider)
                call = await api.call()
                tasks.cancel_scope.cancel()
            await call.closed.wait()


class _Enough(Exception):
    """Stands for an `emit` that fails."""


@every_upstream
@pytest.mark.promise("cancel:clean")
async def test_exception_of_emit_ends_the_call_and_propagates(
    subject: UpstreamSubject,
) -> None:
    """A full log raises one. Nothing is emitted after it, and the connection is closed."""
    emitted: list[Delta] = []

    def refuse_the_second(delta: Delta | Finish) -> None:
        assert not isinstance(delta, Finish)
        emitted.append(delta)
        if len(emitted) == 2:
            raise _Enough

    async with subject.open(text("One ", "two ", "three "), HOLD) as (api, provider):
        with anyio.fail_after(10), pytest.raises(_Enough):
            await provider.generate(PROMPT, refuse_the_second)
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()
    assert emitted == [Text("One "), Text("two ")]


@pytest.mark.promise("cancel:clean")
async def test_clean_up_survives_the_cancellation_of_its_task() -> None:
    """Closing a connection may have to wait."""
    steps: list[str] = []

    async def close() -> None:
        steps.append("began")
        await anyio.lowlevel.checkpoint()
        steps.append("ended")

    with anyio.CancelScope() as scope:
        async with closed_afterwards(close):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert steps == ["began", "ended"]
    assert scope.cancelled_caught


@pytest.mark.promise("upstream:bounded")
async def test_endless_clean_up_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "CLOSE_SECONDS", 0.01)
    with anyio.fail_after(10):
        async with closed_afterwards(anyio.sleep_forever):
            pass
