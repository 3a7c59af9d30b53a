"""The tables of `docs/reference/metrics.md`: all metrics, from the one table that the service has."""

from collections.abc import Iterable

from streamsvc.telemetry.conventions import GEN_AI, Convention
from streamsvc.telemetry.names import GROUPS, Metric


def own() -> str:
    """Return the metrics of this service, a table for each group."""
    parts = []
    for group, metrics in GROUPS.items():
        rows = [(f"`{it.series}`", _kind(it), _labels(it), it.help) for it in metrics]
        parts.append(f"### {group}\n\n{_table(('name', 'type', 'labels', 'meaning'), rows)}")
    return "\n".join(parts)


def conventions() -> str:
    """Return the metrics of the GenAI conventions in both generations."""
    rows = []
    for convention in Convention:
        for it in GEN_AI[convention].all:
            name = f"`{it.series}`<br>`{it.otel}`"
            rows.append((convention.value, name, _kind(it), _labels(it), it.help))
    return _table(
        ("conventions", "name, here and in OpenTelemetry", "type", "labels", "meaning"), rows
    )


def _kind(metric: Metric) -> str:
    return f"{metric.kind}, {metric.unit}" if metric.unit else metric.kind


def _labels(metric: Metric) -> str:
    return ", ".join(f"`{label}`" for label in metric.labels)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
