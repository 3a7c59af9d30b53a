"""The connections of every provider: kept ones, and endless responses."""

import anyio
import pytest
from provider import (
    UpstreamSubject,
    ask,
    every_upstream,
    texts,
)

from streamsvc.provider_errors import ProviderError, ProviderUnavailable, UpstreamCut
from streamsvc.providers.http import pool
from streamsvc.providers.http.connection import LOOSE_BYTES
from support.floods import FLOODS, Flood
from support.upstreams import CLOSE, HEAD, RESET, USAGE, Exchange, Step, finish, status, text

WELL = text("One ", "two."), finish()

pytestmark = pytest.mark.usefixtures("no_certificates")


# Kept connections


@every_upstream
@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("end", [CLOSE, RESET], ids=["closed", "reset"])
async def test_closed_kept_connection_costs_no_call(subject: UpstreamSubject, end: Step) -> None:
    async with subject.open(*WELL) as (api, provider):
        api.script(WELL, (end,), WELL)
        assert texts((await ask(provider))[0]) == ["One ", "two."]
        deltas, error = await ask(provider)
        assert texts(deltas) == ["One ", "two."]
        assert error is None
        assert [call.connection for call in api.calls] == [1, 1, 2]
        assert api.calls[1].body == api.calls[2].body


@every_upstream
async def test_request_is_resent_once_on_a_new_connection(
    subject: UpstreamSubject,
) -> None:
    async with subject.open(*WELL) as (api, provider):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):  # and three connections are kept
                tasks.start_soon(ask, provider)
        api.script((CLOSE,))
        before = len(api.calls)
        _, error = await ask(provider)
        assert type(error) is ProviderUnavailable
        assert len(api.calls) - before == 2


def _part(*pieces: bytes) -> tuple[Step, ...]:
    return (lambda to: to.write(b"".join(pieces)), CLOSE)


@every_upstream
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        (_part(b"H"), ProviderUnavailable),
        (_part(b"HTTP/1.1 103 Early Hints\r\n\r\n"), ProviderUnavailable),
        ((HEAD, CLOSE), UpstreamCut),
        ((status(500),), ProviderUnavailable),
    ],
    ids=["half a head", "an interim answer", "a head", "a refusal"],
)
async def test_request_is_not_resent_once_a_response_has_begun(
    subject: UpstreamSubject, script: tuple[Step, ...], expected: type[ProviderError]
) -> None:
    async with subject.open(*WELL) as (api, provider):
        await ask(provider)
        api.script(script)
        _, error = await ask(provider)
        assert type(error) is expected
        assert [call.connection for call in api.calls] == [1, 1]


@every_upstream
async def test_kept_connection_that_ends_late_is_a_failed_server(
    subject: UpstreamSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "STALE_SECONDS", 0.0)
    async with subject.open(*WELL) as (api, provider):
        await ask(provider)
        api.script((CLOSE,))
        _, error = await ask(provider)
        assert type(error) is ProviderUnavailable
        assert len(api.calls) == 2


@every_upstream
async def test_connection_is_kept_for_less_than_five_seconds(
    subject: UpstreamSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers on uvicorn close idle connections after five seconds (`timeout_keep_alive`)."""
    assert pool.KEEPALIVE_SECONDS < 5
    monkeypatch.setattr(pool, "KEEPALIVE_SECONDS", 0.05)
    async with subject.open(*WELL) as (api, provider):
        await ask(provider)
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()


# Endless responses

PIECE_BYTES = 1000
MOST_BYTES = 8_000_000
"""How much an upstream can send before it is stopped: the bound, plus the buffers of sockets and reads."""


def flood_of(begin: bytes, piece: bytes) -> Flood:
    return Flood(begin, piece, most_bytes=10 * MOST_BYTES, write_bytes=PIECE_BYTES)


@every_upstream
@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("name", FLOODS)
async def test_endless_response_is_stopped(subject: UpstreamSubject, name: str) -> None:
    flood = flood_of(*FLOODS[name])
    async with subject.open(flood) as (api, provider):
        deltas, error = await ask(provider)
        assert isinstance(error, ProviderUnavailable | UpstreamCut)
        assert deltas == []
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()
        assert flood.sent_bytes <= MOST_BYTES


@every_upstream
async def test_endless_trailer_does_not_cost_the_answer(
    subject: UpstreamSubject,
) -> None:
    flood = flood_of(b"0\r\nX: ", b"x")
    async with subject.open(*WELL, flood) as (api, provider):
        deltas, error = await ask(provider)
        assert texts(deltas) == ["One ", "two."]
        assert error is None
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()


@every_upstream
async def test_long_framing_below_the_bounds_is_skipped(subject: UpstreamSubject) -> None:
    """The test sends long interim responses, chunk extensions and trailers."""
    long = b"x" * (LOOSE_BYTES // 4)
    hints = b"HTTP/1.1 103 Early Hints\r\nX: %b\r\n\r\n" % long

    async def play(to: Exchange) -> None:
        await to.write(hints * 2)
        await to.head()
        for token in (to.call.wire.token("One "), to.call.wire.finish("stop", USAGE)):
            await to.write(b"%x;x=%b\r\n%b\r\n" % (len(token), long, token))
        await to.write(b"0\r\nX: %b\r\n\r\n" % long)
        to.is_over = True

    async with subject.open(play) as (_, provider):
        for _ in range(2):
            deltas, error = await ask(provider)
            assert texts(deltas) == ["One "]
            assert error is None
