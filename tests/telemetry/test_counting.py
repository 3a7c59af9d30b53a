"""Each thing that happens is counted once, under the names of the table and with bounded labels."""

from collections.abc import Mapping

import anyio
import pytest

from streamsvc.config.provider_settings import FakeSettings, OpenAISettings, ProviderSettings
from streamsvc.hooks import (
    CircuitChanged,
    FirstToken,
    Gaps,
    GenerationStarted,
    Hooks,
    Refused,
    RequestEnded,
    Resumed,
    StoreChanged,
    ViewerJoined,
)
from streamsvc.telemetry.conventions import GEN_AI, Convention
from streamsvc.telemetry.exposition import OPENMETRICS, TEXT, Page, merged
from streamsvc.telemetry.metrics import Metrics
from streamsvc.telemetry.names import GROUPS
from support.details import TRACE, USAGE, call_ended, done, generation_ended, viewer_left
from support.figures import Figures, parse

PROVIDERS: Mapping[str, ProviderSettings] = {
    "main": OpenAISettings(model="model-a"),
    "spare": FakeSettings(model="model-b"),
}
MAIN = {"provider": "main", "model": "model-a"}
CALL = {
    "provider": "main",
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_request_model": "model-a",
}


class Counted:
    """Metrics that listen to hooks, and what a page says of them."""

    def __init__(self, convention: Convention = Convention.V1_41) -> None:
        self.hooks = Hooks()
        self.metrics = Metrics(self.hooks, PROVIDERS, convention)

    async def figures(self, kind: str = OPENMETRICS) -> Figures:
        page = await Page(self.metrics).write(kind, "1")
        return parse((await merged(kind, {"1": page})).decode(), kind)


async def test_answer_is_counted_by_outcome_and_its_tokens_by_kind() -> None:
    counted = Counted()
    counted.hooks.notify(
        GenerationStarted(generation="gen_1", principal="", provider="main", model="model-a")
    )
    counted.hooks.notify(generation_ended(done=done(usage=USAGE)))
    figures = await counted.figures()
    assert figures.by("provider", "streamsvc_generations_started_total") == {"main": 1}
    assert figures.by("outcome", "streamsvc_generations_total", **MAIN) == {"completed": 1}
    kinds = {"input": 5, "output": 20, "reasoning": 3, "cache_read": 2}
    assert figures.by("type", "streamsvc_tokens_total", source="provider", **MAIN) == kinds
    assert figures.total("streamsvc_generation_seconds_sum", provider="main") == 0.6
    assert figures.by("reason", "streamsvc_tokens_wasted_total") == {}


async def test_answer_that_moves_is_not_counted_as_ended() -> None:
    counted = Counted()
    started = GenerationStarted(
        generation="gen_1", principal="", provider="main", model="model-a", takes_over=1
    )
    counted.hooks.notify(started)
    counted.hooks.notify(generation_ended(end="taken_over"))
    figures = await counted.figures()
    moved = figures.by("direction", "streamsvc_generations_moved_total")
    assert moved == {"received": 1, "taken_over": 1}
    assert figures.total("streamsvc_generations_started_total") == 0
    assert figures.total("streamsvc_generations_total") == 0
    assert figures.by("reason", "streamsvc_tokens_wasted_total") == {"double_spend": 20}


@pytest.mark.parametrize(
    ("convention", "prefix", "usage"),
    [
        (
            Convention.V1_41,
            "gen_ai_client_operation",
            {
                'gen_ai_client_token_usage_sum{gen_ai_token_type="input"}': 5,
                'gen_ai_client_token_usage_sum{gen_ai_token_type="output"}': 20,
            },
        ),
        (
            Convention.LATEST,
            "gen_ai_client_inference",
            {
                "gen_ai_client_inference_usage_input_tokens_total": 5,
                "gen_ai_client_inference_usage_output_tokens_total": 20,
                "gen_ai_client_inference_usage_cache_read_input_tokens_total": 2,
                "gen_ai_client_inference_usage_reasoning_output_tokens_total": 3,
            },
        ),
    ],
)
async def test_call_is_measured_by_either_generation_of_the_conventions(
    convention: Convention, prefix: str, usage: Mapping[str, float]
) -> None:
    counted = Counted(convention)
    counted.hooks.notify(call_ended(usage=USAGE))
    figures = await counted.figures()
    assert figures.total(f"{prefix}_duration_seconds_sum", error_type="", **CALL) == 0.5
    assert figures.bucket_of(f"{prefix}_time_to_first_chunk_seconds", 1, **CALL) == (0.16, 0.32)
    gaps = f"{prefix}_time_per_output_chunk_seconds"
    assert figures.total(f"{gaps}_count", **CALL) == 2
    assert figures.total(f"{gaps}_sum", **CALL) == pytest.approx(0.32)
    assert figures.bucket_of(gaps, 1, **CALL) == (0.01, 0.02)
    assert figures.bucket_of(gaps, 2, **CALL) == (0.16, 0.32)
    for series, value in usage.items():
        name, _, kind = series.partition("{")
        labels = {"gen_ai_token_type": kind.split('"')[1]} if kind else {}
        assert figures.total(name, **CALL, **labels) == value
    others = {it.name for it in GEN_AI[convention].all}
    foreign = [it for other in GEN_AI.values() for it in other.all if it.name not in others]
    assert not [it for it in foreign if figures.families.get(it.name)]


async def test_failed_and_cancelled_calls_carry_their_code() -> None:
    counted = Counted()
    silent = {"pieces": 0, "gaps": Gaps(), "first_piece_seconds": None}
    counted.hooks.notify(call_ended(code="upstream_cut"))
    counted.hooks.notify(call_ended(code="cancelled", **silent))
    figures = await counted.figures()
    assert figures.by("code", "streamsvc_calls_total") == {"upstream_cut": 1, "cancelled": 1}
    duration = "gen_ai_client_operation_duration_seconds_count"
    assert figures.by("error_type", duration) == {"upstream_cut": 1, "cancelled": 1}
    assert figures.total("streamsvc_pieces_total") == 3


async def test_viewer_is_measured_as_it_was_served() -> None:
    counted = Counted()
    counted.hooks.notify(ViewerJoined(generation="gen_1", dialect="native", after=-1))
    counted.hooks.notify(viewer_left())
    counted.hooks.notify(viewer_left(reason="left", first_frame_seconds=None, gaps=Gaps()))
    counted.hooks.notify(Resumed(generation="gen_1", result="resumed", replayed=7))
    figures = await counted.figures()
    reasons = figures.by("reason", "streamsvc_viewer_streams_total", dialect="native")
    assert reasons == {"finished": 1, "left": 1}
    assert figures.total("streamsvc_viewer_streams_started_total") == 1
    assert figures.total("streamsvc_viewer_first_frame_seconds_sum", dialect="native") == 0.3
    assert figures.bucket_of("streamsvc_viewer_gap_seconds", 1) == (0.02, 0.04)
    assert figures.total("streamsvc_viewer_sent_bytes_total", dialect="native") == 240
    assert figures.total("streamsvc_viewer_keepalives_total", dialect="native") == 4
    assert figures.by("result", "streamsvc_viewer_resumes_total") == {"resumed": 1}
    assert figures.total("streamsvc_viewer_replayed_records_total") == 7


async def test_requests_refusals_circuits_and_outages_are_counted() -> None:
    counted = Counted()
    request = RequestEnded(
        method="GET", route="/stream-ai", status=200, began_at=0, seconds=9, first_byte_seconds=0.1
    )
    left = RequestEnded(
        method="POST", route="*", status=0, began_at=0, seconds=1, first_byte_seconds=None
    )
    for detail in (
        *(request, left),
        Refused(status=503, code="overloaded", method="GET", path="/stream-ai"),
        CircuitChanged(provider="main", state="open", failures=5, seconds=15),
        CircuitChanged(provider="main", state="closed"),
        StoreChanged(state="lost", reason="silent"),
        StoreChanged(state="back", reason="silent", seconds=2),
    ):
        counted.hooks.notify(detail)
    figures = await counted.figures()
    assert figures.by("status", "streamsvc_requests_total") == {"200": 1, "0": 1}
    assert figures.by("route", "streamsvc_first_byte_seconds_count") == {"/stream-ai": 1}
    assert figures.by("code", "streamsvc_refusals_total") == {"overloaded": 1}
    assert figures.by("provider", "streamsvc_circuit_openings_total") == {"main": 1}
    assert figures.by("reason", "streamsvc_store_outages_total") == {"silent": 1}


async def test_model_that_a_client_names_is_other() -> None:
    counted = Counted()
    for model in ("made-up", "me@example.com", "model-a"):
        counted.hooks.notify(call_ended(model=model))
        counted.hooks.notify(generation_ended(model=model))
        counted.hooks.notify(
            FirstToken(generation="gen_1", provider="main", model=model, seconds=0.1)
        )
    figures = await counted.figures()
    wanted = {"model-a": 1, "other": 2}
    for name in ("streamsvc_calls_total", "streamsvc_generations_total"):
        assert figures.by("model", name) == wanted
    assert figures.by("model", "streamsvc_first_token_seconds_count") == wanted
    first = "gen_ai_client_operation_time_to_first_chunk_seconds_count"
    assert figures.by("gen_ai_request_model", first) == wanted


async def test_models_of_other_settings_are_counted_by_name_after_a_reload() -> None:
    counted = Counted()
    counted.metrics.use({"main": OpenAISettings(model="model-c")})
    for model in ("model-a", "model-c"):  # one that began before, and one that began after
        counted.hooks.notify(call_ended(model=model))
    figures = await counted.figures()
    assert figures.by("model", "streamsvc_calls_total") == {"model-a": 1, "model-c": 1}


async def test_first_token_carries_the_trace_of_a_sampled_request() -> None:
    counted = Counted()
    for trace, seconds in ((TRACE, 0.1), (f"{TRACE[:-2]}00", 1.0), ("", 5.0)):
        counted.hooks.notify(
            FirstToken(
                generation="g", provider="main", model="model-a", seconds=seconds, trace=trace
            )
        )
    name = "streamsvc_first_token_seconds_bucket"
    exemplars = [it.exemplar for it in (await counted.figures()).samples(name) if it.exemplar]
    assert [it.labels for it in exemplars] == [{"trace_id": "ab" * 16, "span_id": "cd" * 8}]
    assert [it.value for it in exemplars] == [0.1]
    old = await counted.figures(TEXT)
    assert old.total("streamsvc_first_token_seconds_count") == 3


async def test_only_names_of_the_table_are_served() -> None:
    """All of them are documented, and what is served has their types, units and labels."""
    counted = Counted()
    counted.hooks.notify(call_ended(usage=USAGE))
    counted.hooks.notify(viewer_left())
    known = {it.name: it for group in GROUPS.values() for it in group}
    known |= {it.name: it for it in GEN_AI[Convention.V1_41].all}
    for name, family in (await counted.figures()).families.items():
        if name.startswith(("process_", "python_")):
            continue
        metric = known[name]
        assert (family.type, family.unit, family.documentation) == (
            *(metric.kind, metric.unit, metric.help),
        )
        for sample in family.samples:
            assert sample.labels.keys() - {"le", "worker"} == {*metric.labels}


async def test_words_go_first_while_a_page_is_written() -> None:
    """The event loop has its turn after each few samples."""
    counted, turns = Counted(), 0
    for number in range(100):
        counted.hooks.notify(call_ended(provider=f"entry {number}"))

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(count)
        figures = await counted.figures()
        tasks.cancel_scope.cancel()
    samples = sum(len(it.samples) for it in figures.families.values())
    assert samples > 5000
    assert turns >= samples / 50


@pytest.mark.parametrize(
    ("words", "convention"),
    [
        ("", Convention.V1_41),
        ("http", Convention.V1_41),
        ("gen_ai_latest_experimental", Convention.LATEST),
        ("http/dup, gen_ai_latest_experimental ,database", Convention.LATEST),
    ],
)
def test_standard_variable_chooses_the_convention(words: str, convention: Convention) -> None:
    assert Convention.of({"OTEL_SEMCONV_STABILITY_OPT_IN": words}) is convention
    assert Convention.of({}) is Convention.V1_41
