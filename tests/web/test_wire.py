"""The wire format, byte for byte, as `docs/wire.md` promises it."""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import anyio
import msgspec
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from conftest import Serve
from streamsvc.config.settings import (
    CorsSettings,
    FakeSettings,
    OpenAISettings,
    Settings,
    StreamSettings,
)
from streamsvc.errors import ProviderUnavailable
from streamsvc.providers.fake import words
from support.doubles import ScriptedProvider
from support.eventstream import Answer, BrowserEvent, EventStreamParser, parse, view, wire
from support.service import Service

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"

BLOCKS = re.compile(
    rb"(?:(?:retry: \d+\n)?id: [A-Za-z0-9._-]{1,63}\n(?:event: [a-z]+\n)?(?:data: [^\r\n]*\n)+\n)+"
)
"""Nothing but whole blocks: an id only where there is data, and no line end but LF."""

ASK = "/stream-ai?prompt=hi"
ANSWER = 'Words,\n  "quotes", \\,\ttabs and 😀. \r\n\n\nThe end.'


def at_once(text: str = ANSWER, **changes: object) -> FakeSettings:
    """Return a fake provider that does not wait."""
    values: dict[str, object] = {"text": text, "words_per_second": 0, "first_word_seconds": 0}
    return msgspec.convert({"kind": "fake", **values, **changes}, FakeSettings)


def saying(
    fake: FakeSettings,
    *,
    stream: StreamSettings | None = None,
    cors: CorsSettings | None = None,
    **others: FakeSettings,
) -> Settings:
    return Settings(
        stream=stream or StreamSettings(),
        cors=cors or CorsSettings(),
        providers={"fake": fake, **others},
    )


def text_of(events: list[BrowserEvent]) -> str:
    return "".join(event.json["text"] for event in events if event.type == "message")


def assert_is_transcript(body: bytes, name: str) -> None:
    """Compare with a file of `tests/transcripts`, where what differs each time has a placeholder."""
    body = re.sub(rb"gen_[a-z2-7]{32}", b"<generation>", body)
    body = re.sub(rb'"created":\d{10}\b', b'"created":<created>', body)
    assert body.decode() == (TRANSCRIPTS / f"{name}.txt").read_bytes().decode()


@pytest.mark.parametrize(
    ("stream", "events", "last_event_id"),
    [
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [("message", "YHOO\n+2\n10")], ""),
        (b": c\n\ndata: a\nid: 1\n\ndata:b\nid\n\ndata:  c", [("message", "a"), ("message", "b")], ""),
        (b"data\n\ndata\ndata\n\ndata:", [("message", ""), ("message", "\n")], ""),
        (b"data:test\n\ndata: test\n\n", [("message", "test"), ("message", "test")], ""),
        (b"\xef\xbb\xbfevent: x\r\ndata: \xc3\xa9\r\rdata: y\n\n", [("x", "é"), ("message", "y")], ""),
        (b"id: 7\n\nevent: lost\n\ndata: a\n\nid: 8\ndata: b\n", [("message", "a")], "7"),
        (b"id: 1\ndata: a\n\nid: \0\nretry: 1x\nretry: 9\ndata: b\n\n", [("message", "a"), ("message", "b")], "1"),
    ],
)  # fmt: skip
def test_the_browser_of_these_tests_keeps_to_the_standard(
    stream: bytes, events: list[tuple[str, str]], last_event_id: str
) -> None:
    """The examples of HTML 9.2.6, and its corners; the bytes may come in any pieces."""
    for size in (1, 2, 3, len(stream)):
        parser = EventStreamParser()
        pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
        seen = [event for piece in pieces for event in parser.feed(piece)]
        assert [(event.type, event.data) for event in seen] == events
        assert parser.last_event_id == last_event_id
        assert parser.retry_ms in {None, 9}


GET: Mapping[str, str] = {}
STREAM = {"Accept": "text/event-stream"}
GONE = {"Last-Event-ID": f"gen_{'a' * 32}.3"}
BOUNDED = b'{"prompt": "hi", "max_tokens": 2, "metadata": {"page": "7"}}'


@pytest.mark.promise("end:exactly-one")
async def test_streams_are_as_in_the_transcripts(serve: Serve) -> None:
    """Each as a file of `tests/transcripts`: whole, bounded, failed, and impossible to resume."""
    service = await serve(
        saying(
            at_once(reasoning="Let me think."),
            silent=at_once(first_word_seconds=60, first_token_seconds=0.02),
        )
    )
    for name, target, headers, body in (
        ("native", ASK, GET, None),
        ("text", f"{ASK}&format=text", GET, None),
        ("native-incomplete", "/v1/generations", STREAM, BOUNDED),
        ("native-failed", f"{ASK}&provider=silent", GET, None),
        ("native-not-resumable", ASK, GONE, None),
    ):
        method = "POST" if body else "GET"
        with anyio.fail_after(5):
            async with view(
                service.port, target, method=method, headers=headers, body=body
            ) as viewer:
                assert_is_transcript(await viewer.body(), name)
        assert viewer.status == 200
        assert BLOCKS.fullmatch(viewer.raw)
        assert [event.type for event in parse(bytes(viewer.raw))].count("done") == 1


@pytest.mark.promise("upstream:rescue")
@pytest.mark.promise("secret:kept")
async def test_operators_see_who_falls_back_on_whom_and_who_is_left_in_peace(serve: Serve) -> None:
    """And never a key, nor the name of one."""
    keyless = OpenAISettings(model="gpt", api_key_env="A_KEY", base_url="http://127.0.0.1:9/v1")
    first = at_once(fallbacks=("keyless", "second"), circuit_failures=1, attempts=1)
    settings = saying(first, second=at_once("well"))
    providers = {**settings.providers, "keyless": keyless}
    service = await serve(msgspec.structs.replace(settings, providers=providers))
    service.supervisor.entries._providers._open["fake"] = ScriptedProvider(ProviderUnavailable())
    with anyio.fail_after(5):
        for reason in ("provider_unavailable", "circuit_open"):
            async with view(service.port, ASK) as viewer:
                events = parse(await viewer.body())
            assert [event.type for event in events] == ["start", "status", "message", "done"]
            assert events[1].json["reason"] == reason
            assert events[-1].json["provider"] == "second"
    answer = await service.client.get("/v1/providers")
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "default": "fake",
        "providers": [
            {
                "name": name,
                "kind": kind,
                "model": model,
                "ready": kind == "fake",
                "fallbacks": fallbacks,
                "circuit": circuit,
                "generations": 0,
            }
            for name, kind, model, fallbacks, circuit in (
                ("fake", "fake", "words", ["keyless", "second"], "open"),
                ("second", "fake", "words", [], "closed"),
                ("keyless", "openai", "gpt", [], "closed"),
            )
        ],
    }


async def test_a_stopped_answer_says_so(serve: Serve) -> None:
    service = await serve(saying(at_once(first_word_seconds=60)))
    with anyio.fail_after(5):
        async with view(service.port, ASK) as viewer:
            generation = viewer.headers["x-generation-id"]
            await service.client.post(f"/v1/generations/{generation}/stop")
            assert_is_transcript(await viewer.body(), "native-stopped")


async def test_the_head_of_a_stream_is_what_proxies_and_browsers_need(serve: Serve) -> None:
    service = await serve(saying(at_once()))
    headers = {"Accept-Encoding": "gzip, br"}
    async with view(service.port, ASK, headers=headers) as viewer:
        assert viewer.status == 200
        generation = viewer.headers["x-generation-id"]
        assert {name: viewer.headers[name] for name in viewer.headers.keys() - {"date", "server"}} == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store, no-transform",
            "x-accel-buffering": "no",
            "location": f"/v1/generations/{generation}/events",
            "x-generation-id": generation,
            "connection": "keep-alive",
            "transfer-encoding": "chunked",
        }  # fmt: skip


@pytest.mark.promise("stream:word-by-word")
async def test_head_and_start_go_out_before_the_provider_says_anything(serve: Serve) -> None:
    service = await serve(saying(at_once(first_word_seconds=3600)))
    for method, target, body in (
        ("GET", ASK, None),
        ("POST", "/v1/generations", b'{"prompt": "hi"}'),
    ):
        with anyio.fail_after(5):
            async with view(
                service.port, target, method=method, headers=STREAM, body=body
            ) as viewer:
                start = await viewer.event()
        assert start.type == "start"
        assert start.json["generation"] == viewer.headers["x-generation-id"]
        assert start.last_event_id == f"{start.json['generation']}.0"


async def test_the_retry_line_rides_in_the_first_block_of_each_connection(serve: Serve) -> None:
    service = await serve(saying(at_once(), stream=StreamSettings(retry_ms=1234)))
    async with view(service.port, ASK) as viewer:
        await viewer.events()
    generation = viewer.headers["x-generation-id"]
    headers = {"Last-Event-ID": f"{generation}.1"}
    async with view(service.port, f"/v1/generations/{generation}/events", headers=headers) as back:
        await back.events()
    for body in (viewer.raw, back.raw):
        assert body.startswith(b"retry: 1234\nid: gen_")
        assert body.count(b"retry:") == 1


@pytest.mark.promise("alive:ping")
async def test_silence_is_filled_with_lone_comment_lines_between_blocks(serve: Serve) -> None:
    fake = at_once("One two three.", first_word_seconds=0.2)
    service = await serve(saying(fake, stream=StreamSettings(ping_seconds=0.04)))
    with anyio.fail_after(5):
        async with view(service.port, ASK) as viewer:
            events = await viewer.events()
    start, pings, rest = re.split(rb"((?:: ka\n)+)", bytes(viewer.raw), maxsplit=1)
    assert BLOCKS.fullmatch(start)
    assert 1 <= pings.count(b": ka\n") <= 5
    assert BLOCKS.fullmatch(rest)
    # A browser does not notice.
    assert [event.type for event in events] == ["start", "message", "message", "message", "done"]
    assert [event.seq for event in events] == [0, 1, 2, 3, 4]


@pytest.mark.promise("alive:ping")
async def test_there_is_no_keepalive_while_words_come(serve: Serve) -> None:
    """The stream lasts several times the interval, but is never silent for that long."""
    fake = at_once("word " * 30, words_per_second=40)
    service = await serve(saying(fake, stream=StreamSettings(ping_seconds=0.3)))
    with anyio.fail_after(10):
        async with view(service.port, ASK) as viewer:
            events = await viewer.events()
    assert events[-1].at - events[0].at > 2 * 0.3
    assert BLOCKS.fullmatch(viewer.raw)


@pytest.mark.promise("alive:ping")
async def test_a_viewer_who_comes_back_into_silence_is_kept_alive_before_the_first_block(
    serve: Serve,
) -> None:
    fake = at_once(first_word_seconds=3600)
    service = await serve(saying(fake, stream=StreamSettings(ping_seconds=0.02)))
    with anyio.fail_after(5):
        async with view(service.port, ASK) as first:
            cursor = (await first.event()).last_event_id
            headers = {"Last-Event-ID": cursor}
            async with view(service.port, ASK, headers=headers) as viewer:
                await viewer.raw_until(b": ka\n: ka\n")
    assert re.fullmatch(rb"(: ka\n)+", viewer.raw)


async def test_code_points_that_some_take_for_line_ends_are_escaped(serve: Serve) -> None:
    text = "a\u2028b\u2029c\x85d\x0be\x0cf"
    service = await serve(saying(at_once(text, reasoning=text)))
    async with view(service.port, ASK) as viewer:
        events = await viewer.events()
    assert text_of(events) == text
    assert len(bytes(viewer.raw).decode().splitlines()) == viewer.raw.count(b"\n")


async def test_head_has_no_body_and_creates_nothing(serve: Serve) -> None:
    service = await serve(saying(at_once()))
    async with wire(service.port) as connection:
        for target in (ASK, f"/v1/generations/gen_{'a' * 32}/events"):
            answer = await connection.ask("HEAD", target)
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert answer.headers["cache-control"] == "no-store, no-transform"
            # Were there a body, it would be taken for the head of this answer.
            assert (await (await connection.ask("GET", "/healthz")).json()) == {"status": "ok"}
    assert len(service.log) == 0


async def test_a_connection_outlives_its_streams(serve: Serve) -> None:
    """Never `Connection: close`: some proxies then cut the end of the answer."""
    service = await serve(saying(at_once()))
    async with wire(service.port) as connection:
        stream = await connection.ask("GET", ASK)
        last = (await stream.events())[-1].last_event_id
        events = stream.headers["location"]
        for target, headers in ((events, {}), (events, {"Last-Event-ID": last}), (ASK, GONE)):
            answer = await connection.ask("GET", target, headers)
            await answer.events()
            assert answer.is_whole
            assert answer.headers.get("connection") != "close"


@pytest.fixture
async def echo(serve: Serve) -> Service:
    """Give a service that says what it is asked."""
    return await serve(saying(at_once(reply="echo")))


async def post(service: Service, prompt: str, query: str = "") -> list[BrowserEvent]:
    body = msgspec.json.encode({"prompt": prompt})
    target = f"/v1/generations{query}"
    async with view(service.port, target, method="POST", headers=STREAM, body=body) as viewer:
        return await viewer.events()


ODD = st.sampled_from((
    *("\r", "\n", "\r\n", "\n\n", " ", "  ", "\t", "\0", "\ufeff", "\uffff", "\U0010ffff"),
    *("\u2028", "\u2029", "\x85", "\x1c", "\u200d", "\u0301", "👩\u200d👩\u200d👧", "\\", '"'),
    *("data: x", ": ka\n", "id: 1", "event: done", "</script>"),
))  # fmt: skip
TEXTS = st.one_of(st.text(), st.lists(st.one_of(ODD, st.text(max_size=5))).map("".join))


@pytest.mark.promise("stream:word-by-word")
@given(prompt=TEXTS.filter(str.strip))
@hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200
)
async def test_any_text_reaches_the_browser_unchanged_and_in_its_pieces(
    echo: Service, prompt: str
) -> None:
    start, *deltas, done = await post(echo, prompt)
    assert (start.type, done.type) == ("start", "done")
    assert [delta.json["text"] for delta in deltas] == [*words(prompt)]
    assert "".join(words(prompt)) == prompt


@pytest.mark.promise("stream:word-by-word")
@given(prompt=TEXTS.map(lambda text: text.replace("\r", "")).filter(str.strip))
@hypothesis_settings(
    deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100
)
async def test_the_text_dialect_carries_any_text_without_carriage_returns(
    echo: Service, prompt: str
) -> None:
    start, *deltas, done = await post(echo, prompt, "?format=text")
    assert (start.type, done.type) == ("start", "done")
    assert [delta.data for delta in deltas] == [*words(prompt)]


async def test_a_prompt_in_the_address_arrives_unchanged(echo: Service) -> None:
    prompt = "1+1 = 2 & 100 %?\n#é😀;"
    async with view(echo.port, f"/stream-ai?prompt={quote(prompt)}") as viewer:
        assert text_of(await viewer.events()) == prompt


async def test_an_answer_of_a_megabyte_arrives_whole(serve: Serve) -> None:
    """As one word, and as many."""
    one = "é😀" * 166_000
    many = ("é😀" * 166 + " ") * 1000
    service = await serve(saying(at_once(one), many=at_once(many)))
    for provider, text in (("fake", one), ("many", many)):
        with anyio.fail_after(20):
            async with view(service.port, f"{ASK}&provider={provider}") as viewer:
                events = await viewer.events()
        assert len(text.encode()) > 990_000
        assert text_of(events) == text
        assert events[-1].json["status"] == "completed"
        assert viewer.is_whole


PAGE = "https://page.test"


async def ask_from(service: Service, origin: str, target: str = ASK, **headers: str) -> Answer:
    method = "OPTIONS" if headers else "GET"
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    async with view(
        service.port, target, method=method, headers={"Origin": origin, **fields}
    ) as viewer:
        await viewer.body()
        return viewer


async def test_a_page_of_a_configured_origin_may_read_streams_and_errors(serve: Serve) -> None:
    service = await serve(saying(at_once(), cors=CorsSettings(origins=(PAGE,))))
    for target in (ASK, "/stream-ai?prompt=", "/nothing"):
        answer = await ask_from(service, PAGE, target)
        assert answer.headers["access-control-allow-origin"] == PAGE
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        assert sorted(exposed) == [
            "Location",
            "Retry-After",
            "X-Generation-Id",
            "X-Should-Retry",
        ]
        assert answer.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origins", [(), (PAGE,)])
async def test_a_page_of_any_other_origin_may_not_nor_start_what_it_cannot_read(
    serve: Serve, origins: tuple[str, ...]
) -> None:
    service = await serve(saying(at_once(), cors=CorsSettings(origins=origins)))
    for origin in ("https://other.test", "https://page.test.evil.test", "http://page.test", "null"):
        answer = await ask_from(service, origin)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers
        preflight = await ask_from(service, origin, Access_Control_Request_Method="GET")
        assert "access-control-allow-origin" not in preflight.headers
        posted = await service.client.post(
            "/v1/generations", content=b'{"prompt": "a"}', headers={"Origin": origin}
        )
        assert (posted.status_code, posted.json()["field"]) == (403, "Origin")
    assert len(service.log) == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://chat.localhost", "Host": "chat.localhost"},
        {"Origin": "https://public.test", "Sec-Fetch-Site": "same-origin"},  # behind a proxy
        {},
    ],
)
async def test_a_page_of_the_services_own_origin_may_create(
    serve: Serve, headers: dict[str, str]
) -> None:
    service = await serve(saying(at_once()))
    body = b'{"prompt": "a"}'
    answer = await service.client.post("/v1/generations", content=body, headers=headers)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("destination", "status"), [("image", 403), ("empty", 403), ("iframe", 403), ("document", 200)]
)
async def test_an_image_of_another_site_starts_nothing_but_a_link_may(
    serve: Serve, destination: str, status: int
) -> None:
    """Such requests have no Origin; what browsers say of them instead is heard."""
    service = await serve(saying(at_once()))
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": destination}
    answer = await service.client.get(ASK, headers=headers)
    assert answer.status_code == status
    assert len(service.log) == (1 if status == 200 else 0)


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("TEXT/Event-Stream", True),
        ("text/event-stream, application/json", True),
        ("application/json;q=0.5, text/event-stream", True),
        ("text/event-stream;q=1.0, */*;q=0.1", True),
        ("application/json, text/event-stream", False),
        ("text/event-stream;q=0.2, application/json", False),
        ("text/event-stream;q=0", False),
        ("text/event-stream;q=x", False),
        ("application/json", False),
        ("*/*", False),
        ("", False),
    ],
)
async def test_the_client_says_by_accept_whether_it_wants_the_stream(
    serve: Serve, accept: str, *, streams: bool
) -> None:
    service = await serve(saying(at_once()))
    answer = await service.client.post(
        "/v1/generations", json={"prompt": "a"}, headers={"Accept": accept}
    )
    kind = "text/event-stream; charset=utf-8" if streams else "application/json"
    assert (answer.status_code, answer.headers["content-type"]) == (200 if streams else 201, kind)


async def test_a_preflight_allows_what_clients_send_and_nothing_else(serve: Serve) -> None:
    service = await serve(saying(at_once(), cors=CorsSettings(origins=(PAGE,))))

    async def preflight(method: str, header: str) -> Answer:
        return await ask_from(
            service,
            PAGE,
            "/v1/generations",
            Access_Control_Request_Method=method,
            Access_Control_Request_Headers=header,
        )

    for header in ("last-event-id", "idempotency-key", "content-type", "authorization"):
        answer = await preflight("POST", header)
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        assert header in answer.headers["access-control-allow-headers"].lower()
        assert answer.headers["access-control-allow-methods"] == "GET, POST"
    assert (await preflight("POST", "x-other")).status == 400
    assert (await preflight("DELETE", "content-type")).status == 400
