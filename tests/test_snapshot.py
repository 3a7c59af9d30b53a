"""The records of a generation, folded into one answer."""

import pytest

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
from streamsvc.snapshot import Snapshot, snapshot_of, standing

START = Start(generation="gen_a", provider="first", model="words", created=7, metadata={"a": "b"})
RESTART = Restart(reason="upstream_cut", provider="second", model="others")
SWITCHING = Progress(state="switching", provider="second", reason="provider_unavailable")
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


def test_words_and_thinking_are_put_together_each_on_its_own() -> None:
    said = (Reasoning("h"), Text("a"), Reasoning("m"), Text("b"))
    assert snapshot_of(records(*said)) == Snapshot(
        id="gen_a",
        provider="first",
        model="words",
        created=7,
        metadata={"a": "b"},
        text="ab",
        reasoning="hm",
        last_event_id="gen_a.4",
    )


@pytest.mark.promise("upstream:rescue")
def test_behind_a_restart_nothing_of_the_first_answer_is_left() -> None:
    said = (Reasoning("hm"), Text("a"), SWITCHING, RESTART, Text("b"))
    snapshot = snapshot_of(records(*said))
    assert (snapshot.text, snapshot.reasoning) == ("b", "")
    assert (snapshot.provider, snapshot.model, snapshot.status) == ("second", "others", "running")
    assert standing(records(*said, RESTART)) == []


def test_a_status_says_nothing_of_the_answer() -> None:
    snapshot = snapshot_of(records(SWITCHING))
    assert (snapshot.provider, snapshot.text) == ("first", "")


def test_the_end_has_the_last_word() -> None:
    snapshot = snapshot_of(records(Text("a"), DONE))
    assert (snapshot.status, snapshot.outcome) == (DONE.status, DONE.outcome)
    assert (snapshot.provider, snapshot.model) == (DONE.provider, DONE.model)
    assert (snapshot.finish_reason, snapshot.provider_finish_reason) == ("stop", "STOP")
    assert (snapshot.usage, snapshot.error, snapshot.text) == (DONE.usage, None, "a")
