"""Tables for people: Markdown, which a terminal shows as well."""

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from bench.results import Result

_OTHERS = re.compile(r"others used (\d+)% of (.*)")

Column = tuple[str, str, str]
"""Metric, heading, format."""

_THROUGHPUT: tuple[Column, ...] = (
    ("us_per_token", "CPU µs/token", ".1f"),
    ("tokens_per_second", "tokens/s", ",.0f"),
    ("delivered_share", "delivered", ".1%"),
    ("target_share", "of its core", ".0%"),
    ("harness_share", "harness", ".0%"),
)
COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "startup": (("start_seconds", "seconds", ".2f"),),
    "paced": (("ratio", "× floor", ".2f"), *_THROUGHPUT),
    "unpaced": (("ratio", "× floor", ".2f"), *_THROUGHPUT),
    "requests": (
        ("ratio", "× floor", ".2f"),
        ("us_per_request", "CPU µs/request", ".0f"),
        ("all_first_ms", "all first tokens after ms", ".1f"),
        ("delivered_share", "delivered", ".1%"),
        ("target_share", "of its core", ".0%"),
        ("harness_share", "harness", ".0%"),
    ),
    "fan-out": (
        ("ratio", "× one viewer", ".2f"),
        ("us_per_generated_token", "CPU µs/generated token", ".1f"),
        ("us_per_token", "CPU µs/token", ".1f"),
        ("delivered_share", "delivered", ".1%"),
    ),
    "latency": (
        ("first_added_ms", "first token added, p50 ms", ".2f"),
        ("first_p50_ms", "first token p50 ms", ".2f"),
        ("first_p99_ms", "first token p99 ms", ".2f"),
        ("gap_p50_ms", "gap p50 ms", ".3f"),
        ("gap_p99_ms", "gap p99 ms", ".2f"),
        ("probes", "probes", ".0f"),
    ),
    "teardown": (
        ("close_p50_ms", "closed p50 ms", ".2f"),
        ("close_p99_ms", "closed p99 ms", ".2f"),
        ("tokens_after", "tokens after", ".0f"),
        ("tokens_later", "after 1 ms", ".0f"),
        ("unclosed", "not closed", ".0f"),
        ("aborts", "aborts", ".0f"),
    ),
    "memory": (
        ("kb_per_stream", "kB/stream", ".1f"),
        ("start_mb", "start MB", ".0f"),
        ("held_mb", "held MB", ".0f"),
        ("after_release_mb", "MB above start after", ".1f"),
        ("redis_kb_per_stream", "Redis kB/stream", ".1f"),
    ),
    "held": (
        ("held", "held", ".0f"),
        ("without_ping", "without keepalive", ".0f"),
        ("refused", "refused", ".0f"),
        ("beyond", "asked beyond", ".0f"),
        ("opened_seconds", "opened in s", ".1f"),
        ("target_share", "of its core", ".0%"),
        ("rss_mb", "MB", ".0f"),
    ),
    "shared-log": (
        ("ratio", "× memory", ".2f"),
        ("us_per_token", "CPU µs/token", ".1f"),
        ("delivered_share", "delivered", ".1%"),
        ("redis_us_per_token", "Redis CPU µs/token", ".1f"),
        ("commands_per_token", "commands/token", ".4f"),
        ("answers_per_write", "answers/write", ".0f"),
        ("words_per_write", "tokens/answer", ".1f"),
        ("bytes_in_per_token", "bytes to Redis/token", ".0f"),
        ("memory_per_token", "Redis memory bytes/token", ".0f"),
    ),
    "foreign": (
        ("lag_p50_ms", "lag p50 ms", ".0f"),
        ("lag_p99_ms", "lag p99 ms", ".0f"),
        ("gap_p99_ms", "gap p99 ms", ".0f"),
        ("us_per_token", "CPU µs/token", ".1f"),
        ("target_share", "of its core", ".0%"),
        ("delivered_share", "delivered", ".1%"),
        ("redis_us_per_token", "Redis CPU µs/token", ".1f"),
        ("commands_per_token", "commands/token", ".4f"),
        ("bytes_out_per_token", "bytes from Redis/token", ".0f"),
    ),
    "workers": (
        ("ratio", "× one worker", ".2f"),
        ("capacity_per_second", "tokens/s with a core each", ",.0f"),
        ("tokens_per_second", "tokens/s here", ",.0f"),
        ("us_per_token", "CPU µs/token", ".1f"),
        ("delivered_share", "delivered", ".1%"),
        ("harness_share", "harness", ".0%"),
        ("redis_share", "Redis", ".0%"),
        ("redis_us_per_token", "Redis CPU µs/token", ".1f"),
    ),
    "guard": (
        ("ratio", "× without", ".2f"),
        ("us_per_request", "CPU µs/request", ".0f"),
        ("us_per_token", "CPU µs/token", ".1f"),
        ("delivered_share", "delivered", ".1%"),
        ("target_share", "of its core", ".0%"),
        ("harness_share", "harness", ".0%"),
    ),
}


def tables(results: Sequence[Result]) -> str:
    """Return a table for each scenario."""
    parts: list[str] = []
    for scenario, group in groupby(results, key=lambda result: result.scenario):
        rows = list(group)
        columns = [column for column in COLUMNS[scenario] if _is_known(column, rows)]
        heads = ["case", "target", *(title for _, title, _ in columns)]
        cells = [[row.case, row.target, *_figures(row, columns)] for row in rows]
        parts.append(f"**{scenario}**\n\n{_table(heads, cells)}")
        if notes := _notes(rows):
            parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts)


def heading(machine: Mapping[str, Any]) -> str:
    """Return the machine, the date and the versions of a run."""
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['date']}; {machine['cpu']}, {machine['cores']} cores: the target alone on core "
        f"{machine['target_core']}, upstream and load generator on core {machine['load_core']}; "
        f"load average at the start {machine['load_average']:.1f}; Linux {machine['kernel']}, "
        f"Python {machine['python']}, {versions}."
    )


def put_into(text: str, report: str, results: Sequence[Result]) -> str:
    """Return a document with a report instead of the one that it has.

    A run of one scenario goes to that scenario's place, if the document has one: after `<!-- results: guard -->`. All
    others go to the place of every run, after `<!-- results -->`.
    """
    places = ["results"]
    if len(scenarios := {result.scenario for result in results}) == 1:
        places.insert(0, f"results: {scenarios.pop()}")
    for place in places:
        pattern = rf"(<!-- {place} -->\n).*?(<!-- /{place} -->\n)"
        text, count = re.subn(
            pattern, lambda it: f"{it[1]}\n{report}\n{it[2]}", text, flags=re.DOTALL
        )
        if count:
            break
    return text


def _notes(rows: Sequence[Result]) -> list[str]:
    """Return the notes of a table; the CPU time of other processes appears once for each core, as its maximum."""
    notes: list[str] = []
    others: dict[str, int] = {}
    for row in rows:
        for note in row.notes:
            if match := _OTHERS.fullmatch(note):
                others[match[2]] = max(int(match[1]), others.get(match[2], 0))
            else:
                notes.append(f"{row.case}, {row.target}: {note}")
    return notes + [f"others used up to {most}% of {core}" for core, most in others.items()]


def _is_known(column: Column, rows: Sequence[Result]) -> bool:
    return any(row.metrics.get(column[0]) is not None for row in rows)


def _figures(result: Result, columns: Sequence[Column]) -> list[str]:
    figures: list[str] = []
    for metric, _, form in columns:
        value = result.metrics.get(metric)
        text = "–" if value is None else format(value, form)
        if metric == "ratio" and result.spread and result.spread[0] != result.spread[1]:
            text += f" ({result.spread[0]:.2f}–{result.spread[1]:.2f})"
        figures.append(text)
    return figures


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        _line(heads, widths),
        _line(["-" * width for width in widths], widths),
        *(_line(row, widths) for row in rows),
    ]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
