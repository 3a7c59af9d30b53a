"""One trace from a client to the upstream: `python -m streamsvc serve`, and a collector on loopback.

The first provider fails twice, and its fallback breaks off after a word and is asked again.
"""

import json
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from support.asking import CLIENTS, PROMPT, answered, fetch, get
from support.collector import Exported, collecting
from support.process import serve, write_config
from support.upstreams import CLOSE, Call, Script, finish, status, text, upstream

SPAN = "b7ad6b7169203331"
TRACES = {name: f"{number:032x}" for number, name in enumerate(CLIENTS, 0xA0)}
TICKET, LATER, REFUSED, UNSAMPLED = (f"{number:032x}" for number in range(0xB0, 0xB4))
SECRET = "sk-the-secret-key"
ANSWER = "the-secret-answer"
CALLS = ["first", "first", "second", "second"]

FAILING: Script = (status(503),)
BREAKING: Script = (text(ANSWER), CLOSE)
ANSWERING: Script = (text(ANSWER), finish())


def traced(trace: str, flags: str = "01") -> dict[str, str]:
    return {"traceparent": f"00-{trace}-{SPAN}-{flags}"}


@dataclass(frozen=True)
class Observed:
    """What was seen from outside.

    Attributes:
        spans: that the collector has got.
        bodies: of the exporter's requests, as they came.
        calls: that the upstream has got.
        untraced: the id of the generation of a client without a trace.
        headers: of the exporter's requests.
        exemplars: the traces that `/metrics` leads to, by the name of the metric.
    """

    spans: Sequence[Exported]
    bodies: bytes
    calls: Sequence[Call]
    untraced: str
    headers: Mapping[str, str]
    exemplars: Mapping[str, set[str]]

    def of(self, trace: str, name: str = "") -> list[Exported]:
        """Return the spans of a trace whose names begin with *name*."""
        return [it for it in self.spans if it.trace_id == trace and it.name.startswith(name)]

    def calls_of(self, trace: str) -> list[Exported]:
        """Return the spans of calls to providers in a trace."""
        return [it for it in self.of(trace) if it.kind == "client"]

    def generation(self, trace: str) -> Exported:
        """Return the only generation's span of a trace."""
        (span,) = self.of(trace, "streamsvc.generation")
        return span


def _chooser() -> Iterator[Script]:
    while True:
        yield from (FAILING, FAILING, BREAKING, ANSWERING)


@pytest.fixture(scope="module")
async def observed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Observed]:
    """Send requests of every client and kind, and end the service, which sends what it has."""
    directory = tmp_path_factory.mktemp("serve")
    with collecting() as collector:
        async with upstream() as api:
            scripts = _chooser()
            api.choose = lambda _: next(scripts)
            _configure(directory, api.url)
            variables = {
                "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
                "OTEL_EXPORTER_OTLP_HEADERS": "x-collector-key=mine",
                "OPENAI_API_KEY": SECRET,
                "GEMINI_API_KEY": SECRET,
            }
            async with serve(directory, {}, environ=variables) as service:
                untraced = await _ask_all(service.port)
                exemplars = await _exemplars(service.port)
                assert await service.terminate() == 0
                service.assert_quiet(r"call\.failed ")
        yield Observed(
            collector.spans,
            b"".join(collector.bodies),
            api.calls,
            untraced,
            collector.headers,
            exemplars,
        )


def _configure(directory: Path, url: str) -> None:
    shared: dict[str, object] = {"attempts": 2, "backoff_seconds": 0.001, "circuit_failures": 0}
    first = {"kind": "openai", "model": "gpt", "base_url": f"{url}/v1", "fallbacks": ["second"]}
    second = {"kind": "gemini", "model": "gemini", "base_url": url}
    sections = {"providers.first": {**first, **shared}, "providers.second": {**second, **shared}}
    write_config(directory, sections)


async def _ask_all(port: int) -> str:
    """Return the id of the generation that no client's trace belongs to."""
    for name, client in CLIENTS.items():
        request = client.request("first", chat=f"chat-{name}")
        await answered(port, request, headers=traced(TRACES[name]))
    body = json.dumps({"request": {"prompt": PROMPT, "provider": "first"}}).encode()
    kind = {"Content-Type": "application/json"}
    made = await fetch(
        port, "/v1/tickets", method="POST", headers={**traced(TICKET), **kind}, body=body
    )
    ticket = json.loads(await made.body())["ticket"]
    await answered(port, get(f"/v1/stream?ticket={ticket}"))
    unsampled = CLIENTS["native-get"].request("first")
    await answered(port, unsampled, headers=traced(UNSAMPLED, "00"))
    await fetch(port, f"/v1/generations/{SECRET}", headers=traced(REFUSED))
    answer = await answered(port, CLIENTS["native-get"].request("first"))
    generation = answer.headers["x-generation-id"]
    for headers in ({}, traced(LATER)):
        await answered(port, get(f"/v1/generations/{generation}/events"), headers=headers)
    await fetch(port, "/healthz")
    return generation


async def _exemplars(port: int) -> Mapping[str, set[str]]:
    kind = {"Accept": "application/openmetrics-text; version=1.0.0"}
    text = (await fetch(port, "/metrics", headers=kind)).raw.decode()
    found: dict[str, set[str]] = {}
    for name, trace in re.findall(r'^(\w+)\{.*# \{[^}]*trace_id="(\w+)"', text, re.MULTILINE):
        found.setdefault(name, set()).add(trace)
    return found


@pytest.mark.promise("seen:outside")
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_trace_leads_from_the_client_to_the_upstream(
    observed: Observed, client: str
) -> None:
    """With retries, a fallback and a rescue in it, in every dialect."""
    trace = TRACES[client]
    generation = observed.generation(trace)
    (request,) = observed.of(trace, "GET ") + observed.of(trace, "POST ")
    calls = observed.calls_of(trace)
    assert (generation.kind, generation.parent_id) == ("internal", SPAN)
    assert (request.kind, request.parent_id) == ("server", SPAN)
    assert request.links == [generation.span_id]
    assert [call.parent_id for call in calls] == [generation.span_id] * 4
    assert [call.attributes["streamsvc.provider"] for call in calls] == CALLS
    assert [call.is_error for call in calls] == [True, True, True, False]
    sent = [it.headers["traceparent"] for it in observed.calls if trace in str(it.headers)]
    assert sent == [f"00-{trace}-{call.span_id}-01" for call in calls]


async def test_a_call_says_what_failed_and_what_it_used(observed: Observed) -> None:
    calls = observed.calls_of(TRACES["native"])
    assert [call.name for call in calls] == ["chat gpt"] * 2 + ["generate_content gemini"] * 2
    errors = [call.attributes.get("error.type") for call in calls]
    assert errors == ["provider_unavailable"] * 2 + ["upstream_cut", None]
    answered = calls[-1].attributes
    assert answered["gen_ai.provider.name"] == "gcp.gemini"
    assert answered["gen_ai.response.finish_reasons"] == ["stop"]
    assert answered["gen_ai.usage.output_tokens"] > 0
    assert answered["server.address"] == "127.0.0.1"
    first = answered["gen_ai.response.time_to_first_chunk"]
    assert 0 <= first <= calls[-1].seconds + 0.001  # the loop's clock counts milliseconds
    generation = observed.generation(TRACES["native"])
    assert generation.events == ["streamsvc.first_token"]
    assert generation.attributes["streamsvc.calls"] == 4
    assert generation.attributes["streamsvc.outcome"] == "completed"
    assert generation.seconds >= sum(call.seconds for call in calls)


async def test_a_tickets_generation_belongs_to_the_back_ends_trace(observed: Observed) -> None:
    """An EventSource can send no header."""
    generation = observed.generation(TICKET)
    assert generation.parent_id == SPAN
    assert len(observed.calls_of(TICKET)) == 4
    (request,) = observed.of(TICKET, "POST /v1/tickets")
    (page,) = [it for it in observed.spans if it.name == "GET /v1/stream"]
    assert (request.parent_id, page.parent_id) == (SPAN, "")
    assert page.links == [generation.span_id]


async def test_without_a_trace_the_generation_is_the_root(observed: Observed) -> None:
    (generation,) = [
        it
        for it in observed.spans
        if it.attributes.get("streamsvc.generation.id") == observed.untraced
        and it.name == "streamsvc.generation"
    ]
    assert generation.parent_id == ""
    (request,) = observed.of(generation.trace_id, "GET /stream-ai")
    assert request.parent_id == generation.span_id
    assert len(observed.calls_of(generation.trace_id)) == 4
    viewers = [it for it in observed.spans if it.name == "GET /v1/generations/{id}/events"]
    assert [it.links for it in viewers] == [[generation.span_id]] * 2
    assert [it.parent_id for it in viewers] == ["", SPAN]


async def test_what_the_client_does_not_sample_only_passes_through(observed: Observed) -> None:
    assert observed.of(UNSAMPLED) == []
    sent = [it.headers["traceparent"] for it in observed.calls if UNSAMPLED in str(it.headers)]
    assert len(sent) == 4
    assert all(it.endswith("-00") for it in sent)


async def test_a_refused_request_is_in_the_clients_trace(observed: Observed) -> None:
    (request,) = observed.of(REFUSED)
    assert request.name == "GET /v1/generations/{id}"
    assert request.attributes["http.response.status_code"] == 404


async def test_requests_that_no_answer_belongs_to_have_no_span(observed: Observed) -> None:
    assert not any("/healthz" in it.name for it in observed.spans)


async def test_an_exemplar_leads_to_an_exported_trace(observed: Observed) -> None:
    exported = {it.trace_id for it in observed.spans}
    for name in ("first_token_seconds", "viewer_first_frame_seconds", "first_byte_seconds"):
        traces = observed.exemplars[f"streamsvc_{name}_bucket"]
        assert traces
        assert traces <= exported


async def test_the_standard_variables_configure_the_exporter(observed: Observed) -> None:
    assert observed.headers["x-collector-key"] == "mine"
    assert {it.resource["service.name"] for it in observed.spans} == {"streamsvc"}


@pytest.mark.promise("seen:never-secret")
async def test_no_prompt_answer_key_or_query_is_in_a_span(observed: Observed) -> None:
    assert observed.bodies
    assert not any(
        it.encode() in observed.bodies for it in (PROMPT, SECRET, ANSWER, "the-secret", "prompt=")
    )
    assert not any("url.query" in it.attributes for it in observed.spans)


@pytest.mark.promise("seen:outside")
async def test_a_collector_that_is_away_costs_one_line(tmp_path: Path) -> None:
    """Answers are not affected, and the process ends in time."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and does not listen
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{closed.getsockname()[1]}",
            "OTEL_BSP_SCHEDULE_DELAY": "10",
        }
        settings = {"PROVIDERS__FAKE__FIRST_WORD_SECONDS": "0"}
        async with serve(tmp_path, settings, environ=variables) as service:
            await service.logged(
                r"traces\.exported exporter=otlp_proto_http sampler=parentbased_al"
            )
            for _ in range(2):
                answer = await answered(service.port, CLIENTS["native"].request())
                assert b'"completed"' in answer.raw
                await service.logged(r"traces\.not_sent cause=ConnectionError further=0 ")
            with anyio.fail_after(20):
                assert await service.terminate() == 0
            service.assert_quiet(r"traces\.not_sent ", r"traces\.unsent")
            assert service.output.count("traces.not_sent") == 1
