"""Answers that break off, and streams that do not follow the API."""

import socket

import pytest
from provider import (
    UpstreamSubject,
    every_upstream,
    finishes,
    opened,
    texts,
)
from provider import (
    ask as _ask,
)
from provider import (
    end_of as _end_of,
)

from streamsvc.provider_errors import ProviderUnavailable, UpstreamCut, UpstreamInvalid
from support.upstreams import CLOSE, HEAD, RESET, Exchange, Script, Step, finish, raw, text

pytestmark = pytest.mark.usefixtures("no_certificates")


@every_upstream
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("ending", [(), (CLOSE,), (RESET,)], ids=["tidy end", "close", "reset"])
async def test_cut_answer_never_has_a_finish(subject: UpstreamSubject, ending: Script) -> None:
    deltas, error = await _end_of(subject, text("One ", "two "), *ending)
    # A reset may overtake what was sent before it.
    assert texts(deltas) == ["One ", "two "][: len(deltas)]
    assert len(deltas) == 2 or ending == (RESET,)
    assert type(error) is UpstreamCut


@every_upstream
async def test_stream_without_a_word_is_cut(subject: UpstreamSubject) -> None:
    assert type((await _end_of(subject, HEAD))[1]) is UpstreamCut
    assert type((await _end_of(subject, HEAD, CLOSE))[1]) is UpstreamCut


@every_upstream
async def test_refused_connection_is_unavailable(
    subject: UpstreamSubject,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    async with opened(subject.wire.entry(url)) as provider:
        deltas, error = await _ask(provider)
    assert deltas == []
    assert type(error) is ProviderUnavailable


@every_upstream
@pytest.mark.parametrize("ending", [CLOSE, RESET], ids=["close", "reset"])
async def test_hang_up_without_a_response_is_unavailable(
    subject: UpstreamSubject, ending: Step
) -> None:
    assert type((await _end_of(subject, ending))[1]) is ProviderUnavailable


@every_upstream
@pytest.mark.parametrize(
    "data",
    [
        b"data: {'single': 'quotes'}\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b"data: {" + b'"a":{' * 100_000 + b"\n\n",
    ],
    ids=["quotes", "deep list", "deep object"],
)
async def test_chunk_that_does_not_follow_the_api_is_invalid(
    subject: UpstreamSubject, data: bytes
) -> None:
    deltas, error = await _end_of(subject, text("One "), raw(data), finish())
    assert texts(deltas) == ["One "]
    assert finishes(deltas) == []
    assert type(error) is UpstreamInvalid


@every_upstream
async def test_bytes_that_are_not_utf8_are_invalid(
    subject: UpstreamSubject,
) -> None:
    data = subject.wire.token("two").replace(b"two", b"t\xffo")
    deltas, error = await _end_of(subject, text("One "), raw(data), finish())
    assert texts(deltas) == ["One "]
    assert type(error) is UpstreamInvalid


@every_upstream
async def test_length_of_a_line_is_bounded(subject: UpstreamSubject) -> None:
    """An endless line of an upstream cannot fill the memory."""

    async def endless(to: Exchange) -> None:
        while True:
            await to.send(b"x" * 65_536)

    deltas, error = await _end_of(subject, text("One "), raw(b"data: "), endless)
    assert texts(deltas) == ["One "]
    assert type(error) is UpstreamInvalid
