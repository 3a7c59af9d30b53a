"""One trace spans two workers: `python -m streamsvc serve` twice, one of them is killed in the middle of an answer."""

from pathlib import Path

import pytest

from support.asking import get, sent
from support.collector import collecting
from support.fleet import Place, fleet
from support.redis_servers import RedisServer
from support.upstreams import HOLD, finish, text, upstream

pytestmark = pytest.mark.needs("valkey")

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.mark.promise("seen:outside")
async def test_the_span_of_a_killed_worker_is_ended_by_another(
    valkey: RedisServer, tmp_path: Path, key_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with upstream() as api:
            api.script((text("Hello"), HOLD), (text("Hello", " world"), finish()))
            entry = {"kind": "openai", "model": "gpt", "base_url": f"{api.url}/v1"}
            sections: dict[str, dict[str, object]] = {
                "providers.mine": {**entry, "api_key_env": ""},
                "log": {"prefix": key_prefix, "lease_seconds": 1.0},
            }
            async with fleet(tmp_path, [Place(redis_url=valkey.url)] * 2, sections) as workers:
                here, there = workers
                asked = get("/stream-ai?prompt=Hello&provider=mine")
                async with sent(here.port, asked, headers=TRACEPARENT) as answer:
                    generation = answer.headers["x-generation-id"]
                    await answer.raw_until(b"Hello")
                    events = get(f"/v1/generations/{generation}/events")
                    async with sent(there.port, events, headers=TRACEPARENT) as viewer:
                        here.kill()
                        assert b'"completed"' in await viewer.body()
                assert await there.running.terminate() == 0
            sent_upstream = [call.headers["traceparent"] for call in api.calls]
    spans = [it for it in collector.spans if it.trace_id == TRACE]
    (one,) = [it for it in spans if it.name == "streamsvc.generation"]
    (call,) = [it for it in spans if it.kind == "client"]  # the killed worker's is lost with it
    (request,) = [it for it in spans if it.kind == "server"]
    assert one.attributes["streamsvc.generation.id"] == generation
    assert one.attributes["streamsvc.takeovers"] == 1
    assert one.events == ["streamsvc.taken_over", "streamsvc.first_token"]
    assert [one.parent_id, call.parent_id, request.parent_id] == [SPAN, one.span_id, SPAN]
    assert request.links == [one.span_id]
    assert one.began_at < request.began_at < call.began_at
    assert [it.split("-")[1] for it in sent_upstream] == [TRACE] * 2
    assert sent_upstream[1] == f"00-{TRACE}-{call.span_id}-01"
