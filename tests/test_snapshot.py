"""Folding the records of a generation into one answer."""

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import anyio
import anyio.lowlevel
import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamsvc.events import (
    Done,
    Event,
    Outcome,
    Progress,
    Reasoning,
    Record,
    Restart,
    Start,
    Status,
    Text,
    Usage,
)
from streamsvc.snapshot import PIECE_CHARS, PIECE_DELTAS, Folding, LongText, Snapshot, Standing
from streamsvc.web.long_json import STEP_BYTES, encode

START = Start(generation="gen_a", provider="first", model="words", created=7, metadata={"a": "b"})
RESTART = Restart(reason="upstream_cut", provider="second", model="others")
SWITCHING = Progress(state="switching", provider="second", reason="provider_unavailable")
events = st.one_of(st.builds(Text, st.text(min_size=1)), st.builds(Reasoning, st.text(min_size=1)))
DONE = Done(
    status=Status.COMPLETED,
    finish_reason="stop",
    provider_finish_reason="STOP",
    outcome=Outcome.COMPLETED,
    provider="second",
    model="others-2026",
    usage=Usage(input_tokens=1, output_tokens=2),
)


def records(*events: Event) -> list[Record]:
    return [Record("gen_a", seq, event) for seq, event in enumerate([START, *events])]


def folded(*batches: Sequence[Record]) -> Snapshot:
    folding = Folding()
    for batch in batches:
        folding.extend(batch)
    return folding.snapshot


def shown(snapshot: Snapshot) -> dict[str, Any]:
    """Return a snapshot as clients get it."""
    shown: dict[str, Any] = json.loads(anyio.run(encode, snapshot))
    return shown


def test_text_and_reasoning_are_joined_separately() -> None:
    said = (Reasoning("h"), Text("a"), Reasoning("m"), Text("b"))
    assert shown(folded(records(*said))) == {
        "id": "gen_a",
        "status": "running",
        "provider": "first",
        "model": "words",
        "created": 7,
        "metadata": {"a": "b"},
        "text": "ab",
        "reasoning": "hm",
        "finish_reason": None,
        "provider_finish_reason": None,
        "outcome": None,
        "usage": None,
        "error": None,
        "last_event_id": "gen_a.4",
    }


@given(said=st.lists(st.one_of(events, st.just(RESTART))), cuts=st.sets(st.integers(1, 20)))
def test_the_split_into_batches_makes_no_difference(said: list[Event], cuts: set[int]) -> None:
    whole = records(*said)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    batches = [whole[start:end] for start, end in pairwise(bounds)]
    assert shown(folded(*batches)) == shown(folded(whole))


@given(text=st.text(), metadata=st.dictionaries(st.text(), st.text()))
@example(text='"\0\\', metadata={"text": "\0", "\0": '"text":""'})
def test_any_text_survives_encoding(text: str, metadata: dict[str, str]) -> None:
    start = msgspec.structs.replace(START, metadata=metadata)
    written = [Record("gen_a", 0, start), Record("gen_a", 1, Text(text)), Record("gen_a", 2, DONE)]
    snapshot = shown(folded(written[:1], written[1:2], written[2:]))
    assert (snapshot["text"], snapshot["metadata"]) == (text, metadata)


@pytest.mark.promise("upstream:rescue")
def test_a_restart_removes_the_first_answer() -> None:
    said = (Reasoning("hm"), Text("a"), SWITCHING, RESTART, Text("b"))
    snapshot = folded(records(*said))
    assert (str(snapshot.text), str(snapshot.reasoning)) == ("b", "")
    assert (snapshot.provider, snapshot.model, snapshot.status) == ("second", "others", "running")
    standing = Standing()
    standing.extend(records(*said, RESTART))
    assert not standing.text
    assert (standing.text.deltas, standing.text.size_bytes) == (0, 0)


def test_a_status_does_not_change_the_answer() -> None:
    snapshot = folded(records(SWITCHING))
    assert (snapshot.provider, str(snapshot.text)) == ("first", "")


def test_the_done_sets_status_provider_and_usage() -> None:
    snapshot = folded(records(Text("a"), DONE))
    assert (snapshot.status, snapshot.outcome) == (DONE.status, DONE.outcome)
    assert (snapshot.provider, snapshot.model) == (DONE.provider, DONE.model)
    assert (snapshot.finish_reason, snapshot.provider_finish_reason) == ("stop", "STOP")
    assert (snapshot.usage, snapshot.error, str(snapshot.text)) == (DONE.usage, None, "a")


def test_small_deltas_are_joined_and_large_ones_are_not() -> None:
    text = LongText()
    text.extend(["a", "é", "b"])
    text.extend(["c"])
    assert text.pieces == ["aébc"]
    text.extend(["d" * PIECE_CHARS, "e"])
    assert text.pieces == ["aébc", "d" * PIECE_CHARS, "e"]
    assert (text.deltas, text.size_bytes) == (6, PIECE_CHARS + 6)
    assert str(text) == "aébc" + "d" * PIECE_CHARS + "e"


def test_deltas_in_single_records_are_joined_too() -> None:
    text = LongText()
    for _ in range(2 * PIECE_DELTAS + 1):
        text.extend(["a"])
    assert [len(piece) for piece in text.pieces] == [PIECE_DELTAS, PIECE_DELTAS, 1]


async def test_encoding_of_a_long_text_lets_others_run() -> None:
    text, turns = LongText(), 0
    text.extend(['é"' * PIECE_CHARS] * (4 * STEP_BYTES // PIECE_CHARS))

    async def others() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(others)
        encoded = await encode({"text": text})
        tasks.cancel_scope.cancel()
    assert json.loads(encoded) == {"text": str(text)}
    assert turns > 2


@pytest.mark.promise("content:whole")
def test_dropped_and_adjusted_parameters_are_those_of_the_entry_that_answers() -> None:
    start = msgspec.structs.replace(
        START, dropped_parameters=("user",), adjusted_parameters={"reasoning_effort": "high"}
    )
    begun = [Record("gen_a", 0, start)]
    assert shown(folded(begun))["dropped_parameters"] == ["user"]
    assert shown(folded(begun))["adjusted_parameters"] == {"reasoning_effort": "high"}
    retrying = msgspec.structs.replace(SWITCHING, state="retrying", provider="first")
    assert folded(begun, [Record("gen_a", 1, retrying)]).dropped_parameters == ("user",)
    drops = msgspec.structs.replace(SWITCHING, dropped_parameters=("seed",))
    snapshot = shown(folded(begun, [Record("gen_a", 1, drops)]))
    assert snapshot["dropped_parameters"] == ["seed"]
    assert "adjusted_parameters" not in snapshot
    assert "dropped_parameters" not in shown(folded(begun, [Record("gen_a", 1, SWITCHING)]))
