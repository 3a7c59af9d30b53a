"""A body that comes with its head, or never comes."""

import pytest
from starlette.requests import ClientDisconnect, Request
from starlette.types import Message

from streamsvc.config.settings import LimitSettings
from streamsvc.dialects.json_body import Body
from streamsvc.errors import RequestTooLarge
from streamsvc.web.bodies import Bodies, BodyReader
from streamsvc.web.requests import read_head


async def read(*messages: Message) -> Body:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0)

    request = Request({"type": "http", "headers": [], "query_string": b""}, receive)
    bodies = Bodies()
    try:
        return await BodyReader(LimitSettings(max_body_bytes=4), bodies).read(
            request, read_head(request)
        )
    finally:
        assert (bodies.total_bytes, bodies.readings) == (0, set())


async def test_a_body_is_read_whole_however_it_comes() -> None:
    for parts in ([b"abcd"], [b"ab", b"cd"], [b"", b"abcd"]):
        messages: list[Message] = [
            {"type": "http.request", "body": part, "more_body": True} for part in parts
        ]
        messages[-1]["more_body"] = False
        assert (await read(*messages)).raw == b"abcd"


async def test_a_body_that_came_with_its_head_has_the_same_limit() -> None:
    with pytest.raises(RequestTooLarge):
        await read({"type": "http.request", "body": b"abcde"})


async def test_a_client_that_leaves_before_its_body_is_no_empty_body() -> None:
    with pytest.raises(ClientDisconnect):
        await read({"type": "http.disconnect"})
