"""A long answer delays no other request: the longest step of the event loop does not depend on its length.

A step is measured by the calls of Python and C functions between two turns of the loop, not by time.
"""

from collections.abc import Sequence
from itertools import chain

import anyio
import pytest

from conftest import Serve
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, Settings
from streamsvc.engine.ids import new_id
from streamsvc.events import Done, Outcome, Start, Status, Text
from streamsvc.providers.base import Finish
from support.doubles import ScriptedProvider, Step
from support.service import Service
from support.steps import counted

SHORT, LONG = 1_500, 6_000
"""Lengths of answers in words; a batch of the log has 256 records."""

GENERATION = new_id()
DONE = Done(
    status=Status.COMPLETED,
    finish_reason="stop",
    outcome=Outcome.COMPLETED,
    provider="fake",
    model="words",
)
FINISH = Finish(reason="stop")


async def fetch(service: Service, request: str, body: str = "") -> bytes:
    """Send a request over a new connection; return the whole response."""
    client = await anyio.connect_tcp("127.0.0.1", service.port)
    answer = b""
    async with client:
        await client.send(
            f"{request} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        async for data in client:
            answer += data
    return answer


async def start(serve: Serve, *script: Step) -> Service:
    settings = Settings(
        generations=GenerationSettings(grace_seconds=30),
        providers={"fake": FakeSettings(attempts=2, backoff_seconds=0.001)},
    )
    service = await serve(settings)
    service.supervisor.entries._providers.client("fake").use(ScriptedProvider(*script))
    return service


def spoken(words: int) -> list[Step]:
    """Return the script of a provider whose words arrive in groups, as from a network."""
    some: list[Step] = [*(Text("word ") for _ in range(100)), 0.0]
    return list(chain.from_iterable([some] * (words // 100)))


STORED = {
    "snapshot": f"GET /v1/generations/{GENERATION}",
    "stop": f"POST /v1/generations/{GENERATION}/stop",
    "replay": f"GET /v1/generations/{GENERATION}/events",
    "plain": f"GET /v1/generations/{GENERATION}/events?format=plain",
}


async def longest_step_of_a_stored_answer(serve: Serve, request: str, words: int) -> int:
    service = await start(serve)
    service.log.append(
        GENERATION, Start(generation=GENERATION, provider="fake", model="words", created=1)
    )
    for _ in range(words):
        service.log.append(GENERATION, Text("word "))
    service.log.append(GENERATION, DONE)
    await fetch(service, request)  # fills caches
    with counted() as steps:
        answer = await fetch(service, request)
    assert answer.startswith(b"HTTP/1.1 200")
    assert len(answer) > words * len("word ")
    return steps.longest


@pytest.mark.parametrize("name", STORED)
async def test_a_stored_answer_is_read_in_steps(serve: Serve, name: str) -> None:
    short, long = [
        await longest_step_of_a_stored_answer(serve, STORED[name], words) for words in (SHORT, LONG)
    ]
    assert long < 1.3 * short


CHAT = '{"model": "fake", "messages": [{"role": "user", "content": "x"}]}'
PROMPT = '{"prompt": "x"}'
UI = '{"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "x"}]}]}'


@pytest.mark.parametrize(
    ("request_line", "body", "end"),
    [
        ("POST /v1/chat/completions", CHAT, (FINISH,)),
        ("POST /v1/generations?format=plain", PROMPT, (FINISH,)),
        ("GET /stream-ai?prompt=x", "", ()),
        ("POST /api/chat", UI, (FINISH,)),
    ],
    ids=["chat completion in one piece", "plain", "cut, rescued and estimated", "useChat"],
)
async def test_an_answer_is_made_in_steps(
    serve: Serve, request_line: str, body: str, end: Sequence[Step]
) -> None:
    longest = []
    for words in (SHORT, SHORT, LONG):  # the first run fills caches
        service = await start(serve, *spoken(words), *end)
        with counted() as steps:
            answer = await fetch(service, request_line, body)
        assert answer.count(b"word") >= words
        longest.append(steps.longest)
    assert longest[-1] < 1.3 * longest[-2]
