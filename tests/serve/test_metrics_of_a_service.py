"""`/metrics` of `python -m streamsvc serve` in its own process agrees with what a load generator counts."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import anyio
import httpx2
import pytest

from support.eventstream import BrowserEvent, view, wire
from support.figures import Figures, scrape
from support.process import Running, serve, write_config

WORDS = "one two three four five six seven eight nine ten"
COUNT = len(WORDS.split())
SECTIONS: Mapping[str, Mapping[str, object]] = {
    "generations": {"grace_seconds": 0},
    "providers.fake": {
        "kind": "fake",
        "model": "words",
        "reply": "text",
        "text": WORDS,
        "first_word_seconds": 0.1,
        "words_per_second": 50.0,
        "allow_faults": True,
        "backoff_seconds": 0.01,
    },
    "providers.endless": {
        "kind": "fake",
        "model": "long",
        "text": "word " * 2000,
        "first_word_seconds": 0.0,
        "words_per_second": 100.0,
    },
}
STREAMS = 20
CLIENT_SECONDS = 0.1
"""How much later than the service a client may see words on a busy machine, besides a whole bucket."""


@dataclass
class Seen:
    """What a client has seen of one stream, in seconds."""

    first: float
    gaps: Sequence[float]
    tokens: int


@pytest.fixture(scope="module")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    directory = tmp_path_factory.mktemp("metrics")
    write_config(directory, SECTIONS)
    async with serve(directory, {}) as running:
        yield running
        running.assert_quiet(r"call\.failed")


async def stream(service: Running, query: str = "prompt=hi") -> Seen:
    """Read one whole answer, as a page does, and count."""
    began = asyncio.get_running_loop().time()
    async with view(service.port, f"/stream-ai?{query}") as answer:
        events: list[BrowserEvent] = await answer.events()
    words = [it for it in events if it.type == "message"]
    gaps = [after.at - before.at for before, after in pairwise(words)]
    return Seen(words[0].at - began, gaps, events[-1].json["usage"]["output_tokens"])


async def until(client: httpx2.AsyncClient, name: str, value: float, **labels: str) -> Figures:
    """Return the figures once a sum has a value: the end of a stream is counted after its client has read it."""
    with anyio.fail_after(20):
        while True:
            figures = await scrape(client)
            if figures.total(name, **labels) == value:
                return figures


@pytest.mark.promise("seen:outside")
async def test_figures_agree_to_the_unit_and_within_a_bucket(service: Running) -> None:
    """Streams, words, tokens and outcomes; the first word and the gaps."""
    seen: list[Seen] = []

    async def one() -> None:
        seen.append(await stream(service))

    async with anyio.create_task_group() as tasks:
        for _ in range(STREAMS):
            tasks.start_soon(one)
    labels = {"dialect": "native"}
    figures = await until(
        service.client, "streamsvc_viewer_streams_total", STREAMS, reason="finished", **labels
    )
    of_fake = {"provider": "fake", "model": "words"}
    assert figures.by("outcome", "streamsvc_generations_total", **of_fake) == {"completed": STREAMS}
    assert figures.total("streamsvc_generations_started_total", provider="fake") == STREAMS
    assert figures.total("streamsvc_pieces_total", **of_fake) == STREAMS * COUNT
    tokens = figures.by("type", "streamsvc_tokens_total", source="provider", **of_fake)
    assert tokens["output"] == sum(it.tokens for it in seen)
    usage = "gen_ai_client_token_usage_sum"
    assert figures.total(usage, gen_ai_token_type="output") == tokens["output"]
    assert figures.by("code", "streamsvc_calls_total", **of_fake) == {"ok": STREAMS}
    assert figures.by("dialect", "streamsvc_viewer_streams_started_total") == {"native": STREAMS}
    asked = {"method": "GET", "route": "/stream-ai", "status": "200"}
    assert figures.total("streamsvc_requests_total", **asked) == STREAMS
    for name in ("streamsvc_generations_running", "streamsvc_viewers"):
        assert figures.total(name) == 0
    firsts = sorted(it.first for it in seen)
    gaps = sorted(gap for it in seen for gap in it.gaps)
    for name, measured in (
        ("streamsvc_viewer_first_frame_seconds", firsts),
        ("streamsvc_viewer_gap_seconds", gaps),
    ):
        assert figures.total(f"{name}_count", **labels) == len(measured)
        middle = len(measured) // 2
        lower, upper = figures.bucket_of(name, middle + 1, **labels)
        assert lower / 2 <= measured[middle] <= 2 * upper + CLIENT_SECONDS, name
    lower, _ = figures.bucket_of("gen_ai_client_operation_time_to_first_chunk_seconds", 1)
    assert lower >= 0.08  # the model is silent for 0.1 s


@pytest.mark.promise("seen:outside")
async def test_every_end_of_an_answer_is_counted_where_it_belongs(service: Running) -> None:
    before = await scrape(service.client)
    client = service.client

    def more(figures: Figures, name: str, **labels: str) -> float:
        return figures.total(name, **labels) - before.total(name, **labels)

    for fault, outcome in (("auth", "upstream_error"), ("cut_once", "completed")):
        async with view(service.port, f"/stream-ai?prompt=hi&fault={fault}") as answer:
            assert (await answer.events())[-1].json["outcome"] == outcome
    created = await client.post("/v1/generations", json={"prompt": "hi", "provider": "endless"})
    assert (await client.post(f"/v1/generations/{created.json()['id']}/stop")).status_code == 200
    async with wire(service.port) as connection:  # a client that leaves
        left = await connection.ask("GET", "/stream-ai?prompt=hi&provider=endless")
        while (await left.event()).type != "message":
            pass
    await client.get("/stream-ai?prompt=hi", headers={"Last-Event-ID": f"gen_{'a' * 32}.3"})
    refused = await client.post("/v1/generations", json={"prompt": "hi", "provider": "nobody"})
    assert refused.status_code == 422
    ended = "streamsvc_generations_total"
    figures = await until(client, ended, 1, outcome="no_viewers")
    assert more(figures, ended, provider="fake", outcome="completed") == 1
    assert more(figures, ended, provider="fake", outcome="upstream_error") == 1
    assert more(figures, ended, provider="endless", outcome="client_stop") == 1
    assert more(figures, "streamsvc_viewer_streams_total", reason="left") == 1
    assert more(figures, "streamsvc_calls_total", code="provider_auth") == 1
    assert more(figures, "streamsvc_calls_total", code="upstream_cut") == 1
    assert more(figures, "streamsvc_viewer_resumes_total", result="gone") == 1
    assert more(figures, "streamsvc_refusals_total", code="invalid_field") == 1
    assert more(figures, "streamsvc_tokens_wasted_total", reason="rescue") == 3  # fault_after_words


async def test_older_format_says_the_same(service: Running) -> None:
    new, old = await scrape(service.client), await scrape(service.client, "text/plain")
    for name in ("streamsvc_generations_total", "streamsvc_pieces_total"):
        assert new.total(name) == old.total(name) > 0
    for figures in (old, new):
        assert figures.total("streamsvc_build_info") == 1
        assert figures.total("process_resident_memory_bytes") > 0
        assert figures.by("worker", "streamsvc_worker_up") == {"1": 1}
        assert (
            0
            < figures.total("streamsvc_connections")
            <= figures.total("streamsvc_connections_limit")
        )


@pytest.mark.promise("seen:outside")
async def test_first_words_of_a_traced_request_lead_to_its_trace(service: Running) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    async with view(service.port, "/stream-ai?prompt=hi", headers=headers) as answer:
        await answer.events()
    for name in (
        "streamsvc_first_token_seconds_bucket",
        "gen_ai_client_operation_time_to_first_chunk_seconds_bucket",
        "streamsvc_generation_seconds_bucket",
    ):
        samples = (await scrape(service.client)).samples(name)
        traces = {it.exemplar.labels["trace_id"] for it in samples if it.exemplar}
        assert traces == {trace}, name
