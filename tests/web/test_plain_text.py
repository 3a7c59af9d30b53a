"""Plain text from every endpoint: the words, and a cut transfer after any answer that is not whole."""

import msgspec
import pytest

from conftest import Serve
from support.asking import TEXT, fetch
from support.native import snapshot, until
from support.ui_messages import HELLO, PLAIN, asked, configuration, posted


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("how", ["accept", "format"])
async def test_plain_text_is_whole_or_breaks_off_at_every_endpoint(serve: Serve, how: str) -> None:
    service = await serve(configuration())
    headers, mark = (PLAIN, "") if how == "accept" else ({}, "format=plain")
    for fault, is_whole in (("none", True), ("cut", False), ("restart", False), ("unavailable", False)):  # fmt: skip
        for method, target, body in (
            ("GET", f"/stream-ai?prompt=Hello&fault={fault}&{mark}", None),
            ("POST", f"/v1/generations?{mark}", {"prompt": "Hello", "fault": fault}),
            ("POST", f"/api/chat?{mark}", {"id": "a", "messages": [{"role": "user", "parts": [HELLO]}], "fault": fault}),
        ):  # fmt: skip
            raw = msgspec.json.encode(body) if body else None
            answer = await fetch(service.port, target, method=method, headers=headers, body=raw)
            said = bytes(answer.raw).decode()
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert answer.is_whole is is_whole
            assert said == TEXT if is_whole else TEXT.startswith(said)


@pytest.mark.promise("cancel:disconnect")
async def test_leaving_plain_text_stops_the_answer(serve: Serve) -> None:
    service = await serve(configuration({"words_per_second": 1, "reasoning": ""}))
    async with posted(service, asked(), PLAIN) as answer:
        await answer.raw_until(b"Words, ")
    await until(lambda: not service.supervisor.running)
    described = await snapshot(service, answer.headers["x-generation-id"])
    assert described["outcome"] == "no_viewers"
