"""What every provider does with the connections below it: kept ones, and answers without an end."""

import ssl
from functools import partial

import anyio
import pytest
from provider import (
    PROMPT,
    UPSTREAMS,
    UpstreamSubject,
    gather,
    texts,
)

from streamsvc.errors import ProviderError, ProviderUnavailable, UpstreamCut
from streamsvc.providers.base import Provider
from streamsvc.providers.http import pool
from streamsvc.providers.http.connection import LOOSE_BYTES
from support.answering import Piece, answering
from support.floods import FLOODS, Flood
from support.upstreams import CLOSE, HEAD, RESET, USAGE, Exchange, Step, finish, status, text

WELL = text("One ", "two."), finish()

every_upstream = pytest.mark.parametrize("subject", UPSTREAMS, ids=[it.name for it in UPSTREAMS])


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading certificates takes longer than a test, and nothing here speaks TLS."""
    bare = partial(ssl.SSLContext, ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(ssl, "create_default_context", lambda **_: bare())


async def ask(provider: Provider) -> tuple[list[Piece], ProviderError | None]:
    with anyio.fail_after(10):
        async with answering(provider, PROMPT) as answer:
            return await gather(answer)


# Kept connections


@every_upstream
@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize("end", [CLOSE, RESET], ids=["closed", "reset"])
async def test_a_kept_connection_that_was_closed_has_refused_nothing(
    subject: UpstreamSubject, end: Step
) -> None:
    async with subject.open(*WELL) as (api, provider):
        api.script(WELL, (end,), WELL)
        assert texts((await ask(provider))[0]) == ["One ", "two."]
        deltas, error = await ask(provider)
        assert texts(deltas) == ["One ", "two."]
        assert error is None
        assert [call.connection for call in api.calls] == [1, 1, 2]
        assert api.calls[1].body == api.calls[2].body


@every_upstream
async def test_a_request_is_sent_again_once_and_on_a_new_connection(
    subject: UpstreamSubject,
) -> None:
    async with subject.open(*WELL) as (api, provider):
        async with anyio.create_task_group() as tasks:
            for _ in range(3):  # and so many connections are kept
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
async def test_an_answer_that_has_begun_is_not_asked_for_again(
    subject: UpstreamSubject, script: tuple[Step, ...], expected: type[ProviderError]
) -> None:
    async with subject.open(*WELL) as (api, provider):
        await ask(provider)
        api.script(script)
        _, error = await ask(provider)
        assert type(error) is expected
        assert [call.connection for call in api.calls] == [1, 1]


@every_upstream
async def test_a_kept_connection_that_ends_late_was_a_server_that_failed(
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
async def test_a_connection_is_kept_for_less_time_than_servers_keep_it(
    subject: UpstreamSubject, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those on uvicorn close theirs after five seconds."""
    assert pool.KEEPALIVE_SECONDS < 5
    monkeypatch.setattr(pool, "KEEPALIVE_SECONDS", 0.05)
    async with subject.open(*WELL) as (api, provider):
        await ask(provider)
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()


# Answers without an end

PIECE_BYTES = 1000
MOST_BYTES = 8_000_000
"""What an upstream may send until it is stopped: the bound, and what sockets and reads hold."""


def flood_of(begin: bytes, piece: bytes) -> Flood:
    return Flood(begin, piece, most_bytes=10 * MOST_BYTES, write_bytes=PIECE_BYTES)


@every_upstream
@pytest.mark.promise("upstream:bounded")
@pytest.mark.parametrize("name", FLOODS)
async def test_an_answer_without_an_end_is_given_up(subject: UpstreamSubject, name: str) -> None:
    flood = flood_of(*FLOODS[name])
    async with subject.open(flood) as (api, provider):
        deltas, error = await ask(provider)
        assert isinstance(error, ProviderUnavailable | UpstreamCut)
        assert deltas == []
        with anyio.fail_after(10):
            await api.calls[0].closed.wait()
        assert flood.sent_bytes <= MOST_BYTES


@every_upstream
async def test_a_trailer_without_an_end_costs_no_words_and_no_answer(
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
async def test_what_is_below_the_bounds_is_passed_over(subject: UpstreamSubject) -> None:
    """Interim answers, extensions and trailers, none of them short."""
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
