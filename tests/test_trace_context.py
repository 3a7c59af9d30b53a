"""`traceparent`: what is read, what is ignored, and what is passed on (W3C Trace Context, level 2)."""

import pytest
from typing_extensions import override

from streamsvc.tracecontext import (
    GenerationTrace,
    RequestTrace,
    Sampling,
    TraceContext,
    Traces,
    new_trace,
    parse,
)

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
SAMPLED = f"00-{TRACE}-{SPAN}-01"


class Samples(Sampling):
    """Records all traces, or none, and keeps what it is asked."""

    is_on = True

    def __init__(self, answer: bool) -> None:  # noqa: FBT001
        self.answer = answer
        self.asked: list[tuple[TraceContext, TraceContext | None]] = []

    @override
    def samples(self, trace: TraceContext, parent: TraceContext | None) -> bool:
        self.asked.append((trace, parent))
        return self.answer


@pytest.mark.parametrize(
    ("flags", "is_sampled", "is_random"),
    [("00", False, False), ("01", True, False), ("02", False, True), ("03", True, True)],
)
def test_a_valid_header_is_read_and_written_alike(
    flags: str, *, is_sampled: bool, is_random: bool
) -> None:
    text = f"00-{TRACE}-{SPAN}-{flags}"
    found = parse(text)
    assert found == TraceContext(
        trace_id=TRACE, span_id=SPAN, is_sampled=is_sampled, is_random=is_random
    )
    assert found.traceparent == text


@pytest.mark.parametrize(
    "text",
    [
        f"01-{TRACE}-{SPAN}-01",
        f"fe-{TRACE}-{SPAN}-01-more-fields",
        f"cc-{TRACE}-{SPAN}-01-",
        f" \t{SAMPLED} ",
    ],
)
def test_a_later_version_is_read_as_far_as_it_is_known(text: str) -> None:
    found = parse(text)
    assert found is not None
    assert found.traceparent == SAMPLED


def test_unknown_flags_are_not_passed_on() -> None:
    found = parse(f"00-{TRACE}-{SPAN}-ff")
    assert found is not None
    assert found.traceparent.endswith("-03")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        SAMPLED.upper(),
        SAMPLED[:-1],
        f"{SAMPLED}-more",
        f"{SAMPLED}-",
        f"{SAMPLED}0",
        f"ff-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01.more",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN[1:]}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"00-{TRACE}-{SPAN}-1",
        f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE[:-1]}\u0661-{SPAN}-01",
        f"{SAMPLED}\n",
        f"{SAMPLED},{SAMPLED}",
    ],
)
def test_what_is_not_valid_is_ignored(text: str) -> None:
    assert parse(text) is None
    assert Traces().request(text) is None


def test_a_child_has_the_trace_and_a_span_of_its_own() -> None:
    parent = new_trace()
    child = parent.child(is_sampled=True)
    assert (child.trace_id, child.is_random) == (parent.trace_id, True)
    assert child.span_id != parent.span_id
    assert child.child().is_sampled
    assert parse(child.traceparent) == child


def test_without_export_a_trace_passes_through_and_none_begins() -> None:
    traces = Traces()
    assert traces.request("") is None
    assert traces.generation(None) is None
    for flags in ("00", "01"):
        request = traces.request(f"00-{TRACE}-{SPAN}-{flags}")
        assert request is not None
        generation = traces.generation(request)
        assert generation is not None
        assert request.own.traceparent.endswith(f"-{flags}")
        assert generation.own.endswith(f"-{flags}")
        assert generation.parent == f"00-{TRACE}-{SPAN}-{flags}"


def test_a_generation_is_a_child_of_the_clients_span() -> None:
    sampling = Samples(answer=True)
    traces = Traces(sampling)
    request = traces.request(f"00-{TRACE}-{SPAN}-00")
    generation = traces.generation(request)
    assert request is not None
    assert generation is not None
    own = parse(generation.own)
    assert own is not None
    assert (own.trace_id, own.is_sampled, request.own.is_sampled) == (TRACE, True, True)
    assert len({own.span_id, request.own.span_id, SPAN}) == 3
    assert [parent and parent.span_id for _, parent in sampling.asked] == [SPAN]  # asked once


@pytest.mark.parametrize("answer", [True, False])
def test_without_a_parent_a_generation_is_the_root_of_the_requests_trace(*, answer: bool) -> None:
    sampling = Samples(answer=answer)
    traces = Traces(sampling)
    request = traces.request("")
    generation = traces.generation(request)
    assert request is not None
    assert generation is not None
    own = parse(generation.own)
    assert own is not None
    assert own.trace_id == request.own.trace_id
    assert request.own.is_sampled is answer  # so that its exemplars lead to the trace
    assert (generation.parent, own.is_sampled, own.is_random) == ("", answer, True)
    assert [parent for _, parent in sampling.asked] == [None]  # decided once, at the root


def test_a_generation_that_no_request_asks_for_begins_a_trace() -> None:
    generation = Traces(Samples(answer=True)).generation(None)
    assert generation is not None
    assert parse(generation.own) is not None
    assert generation.parent == ""


def test_the_span_of_a_generation_without_ids_has_no_children() -> None:
    assert GenerationTrace(own="", parent="", began_at=0.0).child() == ""


def test_two_requests_of_one_client_have_spans_of_their_own() -> None:
    traces = Traces()
    first, second = traces.request(SAMPLED), traces.request(SAMPLED)
    assert isinstance(first, RequestTrace)
    assert first != second
