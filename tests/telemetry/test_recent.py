"""The last failures, drops and reloads, and why a circuit is open."""

import pytest

from streamsvc.hooks import CircuitChanged, Hooks, SettingsReloaded
from streamsvc.telemetry.recent import DROPS, FAILURES, RELOADS, Opening, Recent
from support.details import call_ended, viewer_left


class Clock:
    """Seconds since 1970, which a test moves."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hooks() -> Hooks:
    return Hooks()


@pytest.fixture
def recent(hooks: Hooks, clock: Clock) -> Recent:
    return Recent(hooks, clock, clock)


def test_failure_is_kept_with_what_an_operator_looks_up(hooks: Hooks, recent: Recent) -> None:
    hooks.notify(call_ended(code="rate_limited", number=2, has_begun=False))
    (failure,) = recent.failures
    assert (failure.at, failure.generation, failure.provider) == (1000.0, "gen_1", "main")
    assert (failure.model, failure.code, failure.call) == ("model-a", "rate_limited", 2)
    assert (failure.seconds, failure.has_begun) == (0.5, False)


def test_call_that_succeeds_or_is_cancelled_is_not_a_failure(hooks: Hooks, recent: Recent) -> None:
    hooks.notify(call_ended())
    hooks.notify(call_ended(code="cancelled"))
    assert [*recent.failures] == []


def test_stream_that_ends_well_or_is_left_is_not_a_drop(hooks: Hooks, recent: Recent) -> None:
    for reason in ("finished", "left", "too_slow", "interrupted"):
        hooks.notify(viewer_left(reason=reason))
    assert [it.reason for it in recent.drops] == ["interrupted", "too_slow"]
    assert recent.drops[0].sent_bytes == 120


def test_lists_are_short(hooks: Hooks, recent: Recent) -> None:
    for number in range(100):
        hooks.notify(call_ended(code="timeout", number=number))
        hooks.notify(viewer_left(reason="too_slow"))
        hooks.notify(SettingsReloaded(changed=[f"stream.{number}"]))
    assert len(recent.failures) == FAILURES
    assert len(recent.drops) == DROPS
    assert len(recent.reloads) == RELOADS
    assert recent.failures[0].call == 99
    assert recent.reloads[0].changed == ["stream.99"]


def test_open_circuit_says_since_when_and_why(hooks: Hooks, recent: Recent, clock: Clock) -> None:
    assert recent.opening("main") is None
    hooks.notify(CircuitChanged(provider="main", state="open", failures=5, seconds=30.0))
    assert recent.opening("main") == Opening(provider="main", since=1000.0, failures=5)
    clock.at = 1050.0
    hooks.notify(call_ended(code="provider_unavailable"))
    assert recent.opening("main") == Opening(
        provider="main", since=1000.0, failures=5, code="provider_unavailable"
    )
    hooks.notify(CircuitChanged(provider="main", state="closed"))
    assert recent.opening("main") is None
