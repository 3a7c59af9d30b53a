"""Queries for Prometheus, written with the metrics of `streamsvc.telemetry.names`, so that a name cannot be wrong."""

from collections.abc import Collection, Sequence
from typing import Literal

from streamsvc.telemetry.conventions import GEN_AI, Convention
from streamsvc.telemetry.names import Metric

SERVICE = ("job", "instance")
"""The labels of one `streamsvc serve`: its workers are on one page."""

Part = Literal["", "_bucket", "_sum", "_count"]


def series(metric: Metric, part: Part = "", **labels: str | Collection[str]) -> str:
    """Return the selector of a metric's samples.

    Args:
        metric: the metric.
        part: which samples of a histogram.
        labels: what its labels must be: a text, or one of several; what comes after a `!` is excluded.

    Raises:
        ValueError: the metric does not have a label, or is a histogram and the part is not said.
    """
    if bool(part) != (metric.kind == "histogram"):
        raise ValueError(f"{metric.name} is a {metric.kind}")
    if unknown := labels.keys() - {*metric.labels, "worker", "le"}:
        raise ValueError(f"{metric.name} has no label {unknown}")
    name = metric.name + part if part else metric.series
    conditions = ", ".join(_condition(label, value) for label, value in labels.items())
    return f"{name}{{{conditions}}}" if conditions else name


def _condition(label: str, value: str | Collection[str]) -> str:
    if not isinstance(value, str):
        return f'{label}=~"{"|".join(sorted(value))}"'
    if value.startswith("$"):  # a variable of the dashboard, of which several values may be chosen
        return f'{label}=~"{value}"'
    if value.startswith("!"):
        return f'{label}{"!~" if "|" in value else "!="}"{value[1:]}"'
    return f'{label}="{value}"'


def rate(selector: str, window: str, by: Sequence[str]) -> str:
    """Return how fast counters grow, in a second, summed by labels."""
    return f"sum by ({', '.join(by)}) (rate({selector}[{window}]))"


def increase(selector: str, window: str, by: Sequence[str]) -> str:
    """Return by how much counters have grown, summed by labels."""
    return f"sum by ({', '.join(by)}) (increase({selector}[{window}]))"


def quantile(rank: float, buckets: str) -> str:
    """Return a quantile of a histogram.

    Args:
        rank: between 0 and 1.
        buckets: the rates of its buckets, by `le` and other labels.
    """
    return f"histogram_quantile({rank}, {buckets})"


def upstream(
    field: Literal["first_chunk", "chunk_gap", "duration"],
    window: str,
    by: Sequence[str],
    **labels: str,
) -> str:
    """Return the rates of the buckets of a GenAI metric, whichever generation of the conventions is in use."""
    metrics: Sequence[Metric] = [getattr(GEN_AI[it], field) for it in Convention]
    return " or ".join(
        rate(series(metric, "_bucket", **labels), window, ("le", *by)) for metric in metrics
    )
