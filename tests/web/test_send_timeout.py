"""On any ASGI server, a viewer that does not read is dropped."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest
from starlette.types import Message, Receive, Send

from streamsvc.config.settings import GenerationSettings, StreamSettings
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.engine.audience import ViewerSlot
from streamsvc.eventlog.base import BEFORE_FIRST
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import Text
from streamsvc.web.stream.response import EventStream
from streamsvc.web.stream.rounds import Rounds
from streamsvc.web.stream.shutdown import Shutdown
from streamsvc.web.stream.viewer import LogPosition
from support.doubles import Room
from support.events import START, WHOLE
from support.logged import logged


def is_head(message: Message) -> bool:
    return bool(message["type"] == "http.response.start")


def is_words(message: Message) -> bool:
    return bool(message.get("body"))


def is_end(message: Message) -> bool:
    return bool(message["type"] == "http.response.body" and not message.get("more_body"))


def stuck_at(is_stuck: Callable[[Message], bool], sent: list[Message]) -> Send:
    """Return a `send` that blocks at one message, because the client does not read it."""

    async def send(message: Message) -> None:
        if is_stuck(message):
            await anyio.sleep_forever()
        sent.append(message)

    return send


def staying_client() -> Receive:
    async def receive() -> Message:
        await anyio.sleep_forever()
        raise AssertionError

    return receive


SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "headers": []}


def log_of(text: str) -> MemoryEventLog:
    log = MemoryEventLog(GenerationSettings())
    for event in (START, Text(text), WHOLE):
        log.append("gen_a", event)
    return log


def viewing(log: MemoryEventLog, room: Room) -> EventStream:
    return EventStream(
        LogPosition(log, "gen_a", BEFORE_FIRST, lambda _: ViewerSlot(room)),
        dialect=NativeDialect(),
        settings=StreamSettings(send_timeout_seconds=0.05),
        shutdown=Shutdown(0),
        headers={},
        hooks=logged(),
        rounds=Rounds(0.01),
    )


@pytest.mark.promise("fan-out:shared")
@pytest.mark.parametrize(
    ("is_stuck", "accepted"),
    [
        (is_head, []),
        (is_words, ["http.response.start"]),
        (is_end, ["http.response.start", "http.response.body"]),
    ],
)
async def test_unread_message_drops_viewer_and_frees_its_slot(
    is_stuck: Callable[[Message], bool], accepted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is sent after the message that the client does not read."""
    caplog.set_level("INFO", "streamsvc")
    room = Room()
    stream = viewing(log_of("one "), room)
    sent: list[Message] = []
    with anyio.fail_after(10):
        await stream(SCOPE, staying_client(), stuck_at(is_stuck, sent))
    assert room.size == 0
    assert [message["type"] for message in sent] == accepted
    assert caplog.messages == ["viewer.dropped id=gen_a reason=too_slow"]


async def test_library_logs_no_word_of_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """sse_starlette would log each chunk at DEBUG."""
    caplog.set_level("DEBUG")
    sent: list[Message] = []
    await viewing(log_of("secret "), Room())(
        SCOPE, staying_client(), stuck_at(lambda _: False, sent)
    )
    assert b"secret" in b"".join(message.get("body", b"") for message in sent)
    assert "secret" not in caplog.text
