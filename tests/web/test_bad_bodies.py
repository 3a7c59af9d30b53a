"""Bad JSON bodies of the native API are refused, and bodies of any size arrive whole or not at all."""

import json
import logging

import anyio
import pytest

from support.asking import fetch
from support.eventstream import wire
from support.native import CREATE
from support.problems import BOUNDED, LIMITS, assert_is_problem
from support.service import Service
from support.shared import shared_service

service = shared_service(BOUNDED)

TURN = {"role": "user", "content": "hi"}
BODIES: list[tuple[object, int, str | None]] = [
    # Not JSON.
    (b"", 400, None),
    (b"prompt=hi", 400, None),
    (b'{"prompt": "hi"', 400, None),
    (b'{"prompt": "hi"} {}', 400, None),
    (b'{"prompt": "\xff"}', 400, None),
    (b'\xef\xbb\xbf{"prompt": "hi"}', 400, None),
    ('{"prompt": "hi"}'.encode("utf-16"), 400, None),
    (b'{"prompt": "hi", "temperature": NaN}', 400, None),
    # Not an object.
    (b"null", 422, "body"),
    (b"[" * 10_000, 422, "body"),
    (["hi"], 422, "body"),
    ("hi", 422, "body"),
    # The prompt or the messages.
    ({}, 422, "prompt"),
    ({"prompt": None}, 422, "prompt"),
    ({"prompt": ""}, 422, "prompt"),
    ({"prompt": " \n\u2028"}, 422, "prompt"),
    ({"prompt": 7}, 422, "prompt"),
    ({"prompt": ["hi"]}, 422, "prompt"),
    ({"prompt": "hi", "messages": [TURN]}, 422, "messages"),
    ({"messages": []}, 422, "messages"),
    ({"messages": "hi"}, 422, "messages"),
    ({"messages": [{"role": "system", "content": "Be brief."}]}, 422, "messages"),
    ({"messages": ["hi"]}, 422, "messages[0]"),
    ({"messages": [TURN, {"content": "hi"}]}, 422, "messages[1].role"),
    ({"messages": [TURN, {"role": "robot", "content": "hi"}]}, 422, "messages[1].role"),
    ({"messages": [{"role": "user", "content": ""}]}, 422, "messages[0].content"),
    ({"messages": [TURN, {"role": "user", "content": 7}]}, 422, "messages[1].content"),
    ({"messages": [TURN, {"role": "user", "content": ["hi"]}]}, 422, "messages[1].content[0]"),
    ({"messages": [{**TURN, "nom": "Ada"}]}, 422, "messages[0].nom"),
    ({"prompt": "x" * 1001}, 413, "prompt"),
    ({"prompt": "hi", "system": "x" * 1000}, 413, "prompt"),
    ({"messages": [{"role": "user", "content": "x" * 600}] * 2}, 413, "messages"),
    # All other fields.
    ({"prompt": "hi", "Prompt": "hi"}, 422, "Prompt"),
    ({"prompt": "hi", "model": "m"}, 422, "model"),
    ({"prompt": "hi", "stream": True}, 422, "stream"),
    ({"prompt": "hi", "system": None}, 422, "system"),
    ({"prompt": "hi", "provider": "other"}, 422, "provider"),
    ({"prompt": "hi", "provider": 1}, 422, "provider"),
    ({"prompt": "hi", "temperature": -0.1}, 422, "temperature"),
    ({"prompt": "hi", "temperature": 2.1}, 422, "temperature"),
    ({"prompt": "hi", "temperature": "1"}, 422, "temperature"),
    ({"prompt": "hi", "temperature": True}, 422, "temperature"),
    (b'{"prompt": "hi", "temperature": 1e999}', 422, "temperature"),
    ({"prompt": "hi", "max_tokens": 0}, 422, "max_tokens"),
    ({"prompt": "hi", "max_tokens": 2**31}, 422, "max_tokens"),
    ({"prompt": "hi", "max_tokens": 10**40}, 422, "max_tokens"),
    ({"prompt": "hi", "max_tokens": 1.5}, 422, "max_tokens"),
    ({"prompt": "hi", "stop": ""}, 422, "stop"),
    ({"prompt": "hi", "stop": ["a"] * 5}, 422, "stop"),
    ({"prompt": "hi", "stop": [1]}, 422, "stop[0]"),
    ({"prompt": "hi", "stop": ["a", ""]}, 422, "stop[1]"),
    ({"prompt": "hi", "stop": {"a": 1}}, 422, "stop"),
    ({"prompt": "hi", "seed": 2**63}, 422, "seed"),
    ({"prompt": "hi", "seed": -(2**63) - 1}, 422, "seed"),
    ({"prompt": "hi", "seed": "1"}, 422, "seed"),
    ({"prompt": "hi", "fault": "cut"}, 422, "fault"),
    ({"prompt": "hi", "fault": "nonsense"}, 422, "fault"),
    ({"prompt": "hi", "fault": 1}, 422, "fault"),
    ({"prompt": "hi", "fault": None}, 422, "fault"),
    ({"prompt": "hi", "grace_seconds": -1}, 422, "grace_seconds"),
    ({"prompt": "hi", "grace_seconds": 120.5}, 422, "grace_seconds"),
    ({"prompt": "hi", "grace_seconds": "1"}, 422, "grace_seconds"),
    ({"prompt": "hi", "metadata": []}, 422, "metadata"),
    ({"prompt": "hi", "metadata": {"a": 1}}, 422, "metadata[...]"),
    ({"prompt": "hi", "metadata": {"a": "x" * 513}}, 422, "metadata[...]"),
    ({"prompt": "hi", "metadata": {"a" * 65: "x"}}, 422, "metadata"),
    ({"prompt": "hi", "metadata": {str(n): "x" for n in range(17)}}, 422, "metadata"),
]


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
@pytest.mark.parametrize(
    ("body", "status", "field"),
    BODIES,
    ids=[f"{at}-{field or 'unreadable'}" for at, (_, _, field) in enumerate(BODIES)],
)
async def test_wrong_body_is_refused_by_the_name_of_its_field(
    service: Service, body: object, status: int, field: str | None, accept: str
) -> None:
    before = len(service.log)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Accept": accept}
    answer = await fetch(service.port, CREATE, method="POST", headers=headers, body=raw)
    assert_is_problem(answer, status, field)
    assert len(service.log) == before


@pytest.mark.promise("input:clear-error")
async def test_body_announced_as_too_large_is_refused_unread(service: Service) -> None:
    async with wire(service.port) as connection:
        # Only the announcement is sent.
        await connection.send(
            b"POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"
        )
        with anyio.fail_after(10):
            answer = await connection.answer("POST")
            await answer.body()
        assert_is_problem(answer, 413, None)


@pytest.mark.promise("input:clear-error")
async def test_body_that_grows_too_large_is_refused_before_its_end(service: Service) -> None:
    head = b"POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with wire(service.port) as connection:
        await connection.send(head + 3 * (b"2000\r\n" + b" " * 0x2000 + b"\r\n"))
        with anyio.fail_after(10):
            answer = await connection.answer("POST")
            await answer.body()
        assert_is_problem(answer, 413, None)


async def test_body_of_the_largest_size_is_read_in_any_pieces(service: Service) -> None:
    body = b'{"prompt": "hi"}'.ljust(LIMITS.max_body_bytes)
    async with wire(service.port) as connection:
        for pieces in (body, [body], [body[at : at + 1000] for at in range(0, len(body), 1000)]):
            answer = await connection.ask("POST", CREATE, {}, pieces)
            assert answer.status == 201
            await answer.body()
        answer = await connection.ask("POST", CREATE, {}, body + b" ")
        assert answer.status == 413


async def test_client_that_leaves_within_its_body_harms_nobody(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    before = len(service.log)
    async with wire(service.port) as connection:
        await connection.send(
            b'POST /v1/generations HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{"prompt":'
        )
        connection.reset()
    async with wire(service.port) as connection:
        answer = await connection.ask("POST", CREATE, {}, b'{"prompt": "hi"}')
        assert answer.status == 201
    assert len(service.log) == before + 1
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
