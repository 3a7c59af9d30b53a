"""The head of a request is read once; of repeated fields the first counts."""

from collections.abc import Iterator

import anyio
import pytest
from starlette.requests import Request
from typing_extensions import override

from streamsvc.app import create_app
from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import ServerSettings, Settings
from streamsvc.errors import InvalidField, PrefetchRefused
from streamsvc.web.requests import Cursor, RequestHead, read_head
from support.bridge import Connection

GENERATION = f"gen_{'a' * 32}"
HEADERS = {
    "Host": "localhost",
    "Accept": "text/event-stream",
    "Origin": "http://localhost",
    "Idempotency-Key": "k",
    "Content-Type": "application/json",
}


class Counted(list[tuple[bytes, bytes]]):
    """Header fields that count how often they are iterated."""

    times = 0

    @override
    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        self.times += 1
        return super().__iter__()


def head(*fields: tuple[bytes, bytes], query: bytes = b"") -> RequestHead:
    return read_head(Request({"type": "http", "headers": list(fields), "query_string": query}))


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("POST", "/v1/generations", b'{"prompt":"hi"}'),
        ("GET", "/stream-ai?prompt=hi", b""),
        (
            "POST",
            "/v1/chat/completions",
            b'{"model":"fake","messages":[{"role":"user","content":"hi"}]}',
        ),
        (
            "POST",
            "/api/chat",
            b'{"id":"c","messages":[{"role":"user","parts":[{"type":"text","text":"hi"}]}]}',
        ),
    ],
)
async def test_header_fields_are_iterated_once_per_request(
    method: str, target: str, body: bytes
) -> None:
    fake = FakeSettings(words_per_second=0, first_word_seconds=0)
    # The check of the host looks for that field once more.
    app = create_app(Settings(server=ServerSettings(hosts=("*",)), providers={"fake": fake}), {})
    async with app.router.lifespan_context(app), anyio.create_task_group() as tasks:
        connection = Connection(method, target, HEADERS, body)
        fields = Counted(connection.scope["headers"])
        connection.scope["headers"] = fields
        with anyio.fail_after(10):
            await connection.run(app)
        assert connection.status == 200
        assert fields.times == 1
        tasks.cancel_scope.cancel()


def test_header_cursor_overrides_the_cursors_in_the_query() -> None:
    header = (b"last-event-id", f"{GENERATION}.7".encode())
    query = f"lastEventId={GENERATION}.1&last_event_id={GENERATION}.2".encode()
    assert head(header, query=query).cursor == Cursor(GENERATION, 7)
    assert head(query=query).cursor == Cursor(GENERATION, 2)
    assert head((b"last-event-id", b""), query=query).cursor == Cursor(GENERATION, 2)


def test_foreign_cursor_is_a_cursor_without_a_value() -> None:
    foreign = head((b"last-event-id", b"17"))
    assert (foreign.has_cursor, foreign.cursor) == (True, None)
    assert not head().has_cursor


def test_first_of_two_fields_counts() -> None:
    assert head((b"accept", b"text/plain"), (b"accept", b"text/html")).accept == "text/plain"


def test_header_key_overrides_the_key_in_the_query() -> None:
    assert head((b"idempotency-key", b"a"), query=b"key=b").key() == "a"
    assert head(query=b"key=b").key() == "b"
    assert head(query=b"key=").key() is None


@pytest.mark.parametrize(
    ("fields", "query", "named"),
    [
        ([(b"idempotency-key", b"k" * 256)], b"", "Idempotency-Key"),
        ([], b"key=" + b"k" * 256, "key"),
    ],
)
def test_long_key_is_refused_by_the_name_the_client_used(
    fields: list[tuple[bytes, bytes]], query: bytes, named: str
) -> None:
    with pytest.raises(InvalidField) as refused:
        head(*fields, query=query).key()
    assert refused.value.field == named


def test_each_prefetch_header_is_recognised() -> None:
    for name in (b"sec-purpose", b"purpose", b"x-purpose", b"x-moz"):
        with pytest.raises(PrefetchRefused):
            head((b"sec-purpose", b""), (name, b"Prefetch;prerender")).refuse_prefetch()
    head((b"purpose", b"navigation")).refuse_prefetch()
