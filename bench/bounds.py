"""The bounds of speed that the service promises, and by how much a run keeps or misses them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.results import Result


@dataclass(frozen=True)
class Bound:
    """One figure and what it may be.

    Attributes:
        scenario: where it is measured.
        among: the end of the case's name: "flowing", "idle" and so on; any, if empty.
        metric: its name.
        at_most: the highest value, if that is the bound.
        at_least: the lowest value, if that is the bound.
        target: the beginning of the target's name.
    """

    scenario: str
    metric: str
    at_most: float | None = None
    at_least: float | None = None
    among: str = ""
    target: str = "streamsvc"


_FAKE, _REDIS = "streamsvc-fake", "streamsvc-redis"
_WITH_THEIR_OWN = {_FAKE, _REDIS}
"""Targets to which the bounds of the others do not apply."""

BOUNDS = (
    Bound("paced", "ratio", at_most=1.6),
    Bound("paced", "delivered_share", at_least=1.0),
    Bound("unpaced", "ratio", at_least=0.5),
    Bound("unpaced", "delivered_share", at_least=1.0),
    Bound("latency", "first_added_ms", at_most=0.8, among="one stream"),
    Bound("latency", "first_added_ms", at_most=1.5, among="flowing"),
    Bound("latency", "gap_p99_ms", at_most=2.0, among="flowing"),
    Bound("memory", "kb_per_stream", at_most=37.0),
    Bound("memory", "after_release_mb", at_most=20.0),
    Bound("teardown", "close_p99_ms", at_most=1.0, among="idle"),
    Bound("teardown", "tokens_later", at_most=0, among="idle"),
    Bound("teardown", "close_p99_ms", at_most=20.0, among="flowing"),
    Bound("teardown", "unclosed", at_most=0),
    Bound("held", "without_ping", at_most=0),
    Bound("startup", "start_seconds", at_most=0.5, target=_FAKE),
    Bound("startup", "start_seconds", at_most=1.2, target="streamsvc"),
    Bound("fan-out", "ratio", at_most=5.0, among="viewers"),
    Bound("shared-log", "ratio", at_most=1.25, among="100 streams, write_ms 25", target=_REDIS),
    Bound("shared-log", "delivered_share", at_least=1.0, target=_REDIS),
    Bound("foreign", "gap_p99_ms", at_most=60.0, among="write_ms 25, read_ms 15", target=_REDIS),
    Bound("foreign", "delivered_share", at_least=1.0, target=_REDIS),
    Bound("workers", "ratio", at_least=1.8, among="2 workers", target=_REDIS),
    Bound("workers", "delivered_share", at_least=1.0, target=_REDIS),
    Bound("guard", "ratio", at_most=1.15, among="short answers", target="streamsvc-guarded"),
    Bound("guard", "ratio", at_most=1.15, among="short answers", target="streamsvc-redis-guarded"),
    Bound("guard", "ratio", at_most=1.05, among="streams", target="streamsvc-guarded"),
    Bound("guard", "delivered_share", at_least=1.0),
)


def verdicts(results: Sequence[Result]) -> Iterator[str]:
    """Yield a sentence for each bound and each result that it is about."""
    for bound in BOUNDS:
        for result in results:
            if _is_about(bound, result):
                yield _verdict(bound, result)


def _is_about(bound: Bound, result: Result) -> bool:
    matches = result.target.startswith(bound.target)
    if {result.target, bound.target} & _WITH_THEIR_OWN:
        matches = result.target == bound.target
    return matches and bound.scenario == result.scenario and result.case.endswith(bound.among)


def _verdict(bound: Bound, result: Result) -> str:
    value = result.metrics.get(bound.metric)
    what = f"{result.scenario}, {result.case}, {result.target}: {bound.metric}"
    if value is None:
        return f"MISSED  {what} could not be measured"
    if bound.at_most is not None:
        kept, limit = value <= bound.at_most, f"at most {bound.at_most:g}"
    else:
        kept, limit = value >= (bound.at_least or 0.0), f"at least {bound.at_least:g}"
    return f"{'kept  ' if kept else 'MISSED'}  {what} {value:.4g} ({limit})"
