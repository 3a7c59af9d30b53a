"""Draws the dashboard from the answers of a real Prometheus, as a page of SVG, where Grafana cannot be installed.

Titles, places, queries, units, names of series and red lines are those of the dashboard; only the drawing is ours.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import cycle
from typing import Any

from support.watching.prometheus import Prometheus

CELL_WIDTH, CELL_HEIGHT = 60, 34
LEFT, TOP, BOTTOM = 62, 30, 44
COLORS = (
    *("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1"),
    *("#ba43a9", "#705da0", "#508642", "#cca300", "#447ebc", "#c15c17"),
)
MAX_LEGEND = 9
STYLE = """
body { margin: 0; background: #111217; } svg { position: absolute; font: 12px sans-serif; }
h2 { position: absolute; margin: 0; color: #ccccdc; font: 600 16px/34px sans-serif; }
"""


@dataclass(frozen=True)
class Line:
    """One series: its name, and its points in time."""

    name: str
    points: Sequence[tuple[float, float]]


async def drawn(
    board: Mapping[str, Any], prometheus: Prometheus, *, begin: float, end: float, window: str
) -> str:
    """Return a page that looks like the dashboard.

    Args:
        board: the dashboard, as JSON.
        prometheus: answers its queries.
        begin: of the time that it shows, in seconds since 1970.
        end: of that time.
        window: the window of rates, in the place of `$__rate_interval`.
    """
    parts = []
    for panel in board["panels"]:
        place = panel["gridPos"]
        x, y = place["x"] * CELL_WIDTH, place["y"] * CELL_HEIGHT
        if panel["type"] == "row":
            parts.append(f'<h2 style="left:{x + 8}px;top:{y}px">{escape(panel["title"])}</h2>')
            continue
        lines: list[Line] = []
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", window)
            lines += await _lines(
                prometheus,
                re.sub(r"\$(provider|model)", ".*", expr),
                target["legendFormat"],
                begin,
                end,
            )
        width, height = place["w"] * CELL_WIDTH - 8, place["h"] * CELL_HEIGHT - 8
        draw = _number if panel["type"] == "stat" else _chart
        parts.append(
            f'<svg style="left:{x + 4}px;top:{y + 4}px" width="{width}" height="{height}">'
            f'<rect width="{width}" height="{height}" rx="3" fill="#181b1f"/>'
            f'<text x="10" y="19" fill="#ccccdc" font-weight="600">{escape(panel["title"])}</text>'
            f"{draw(panel['fieldConfig']['defaults'], lines, width, height, begin, end)}</svg>"
        )
    return f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>{''.join(parts)}"


async def _lines(
    prometheus: Prometheus, expr: str, legend: str, begin: float, end: float
) -> Sequence[Line]:
    step = max(1, round((end - begin) / 150))
    data = await prometheus.ask(
        "/api/v1/query_range", query=expr, start=str(begin), end=str(end), step=str(step)
    )
    found = []
    for it in data["result"]:
        labels = it["metric"]
        name = legend
        for label in re.findall(r"\{\{(\w+)\}\}", legend):
            name = name.replace(f"{{{{{label}}}}}", labels.get(label, ""))
        points = [(at, float(value)) for at, value in it["values"] if value not in {"NaN", "+Inf"}]
        found.append(Line(name, points))
    return found


def _number(
    defaults: Mapping[str, Any],
    lines: Sequence[Line],
    width: int,
    height: int,
    _begin: float,
    _end: float,
) -> str:
    values = [line.points[-1][1] for line in lines if line.points]
    if not values:
        return f'<text x="10" y="{height - 20}" fill="#8e8e9c">No data</text>'
    red = _red(defaults)
    color = "#e24d42" if red is not None and values[0] >= red else "#73bf69"
    return (
        f'<text x="{width / 2}" y="{height / 2 + 26}" fill="{color}" font-size="36"'
        f' text-anchor="middle">{_said(values[0], defaults["unit"])}</text>'
    )


def _chart(
    defaults: Mapping[str, Any],
    lines: Sequence[Line],
    width: int,
    height: int,
    begin: float,
    end: float,
) -> str:
    red = _red(defaults)
    values = [value for line in lines for _, value in line.points]
    high = defaults.get("max") or 1.1 * max([*values, red or 0]) or 1
    right, low = width - 10, height - BOTTOM

    def x(at: float) -> float:
        return LEFT + (at - begin) / (end - begin) * (right - LEFT)

    def y(value: float) -> float:
        return low - min(value, high) / high * (low - TOP)

    parts = []
    for part in range(5):
        value = high * part / 4
        parts.append(
            f'<line x1="{LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#2c3235"/>'
            f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" fill="#8e8e9c" font-size="10"'
            f' text-anchor="end">{_said(value, defaults["unit"])}</text>'
        )
    if red is not None:
        parts.append(
            f'<rect x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{max(0.0, y(red) - TOP):.1f}"'
            f' fill="#e24d42" opacity=".13"/><line x1="{LEFT}" x2="{right}" y1="{y(red):.1f}"'
            f' y2="{y(red):.1f}" stroke="#e24d42" stroke-width="1.5"/>'
        )
    for line, color in zip(lines, cycle(COLORS), strict=False):
        points = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value in line.points)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="1.5"/>'
        )
    parts += _legend(lines, low + 16, right)
    if not values:
        parts.append(f'<text x="{width / 2}" y="{height / 2}" fill="#8e8e9c">No data</text>')
    return "".join(parts)


def _legend(lines: Sequence[Line], y: float, right: float) -> Iterator[str]:
    x = float(LEFT)
    for line, color in zip(lines[:MAX_LEGEND], COLORS, strict=False):
        length = 24 + 6.1 * len(line.name)
        if x + length > right and x > LEFT:
            x, y = LEFT, y + 13
        yield (
            f'<rect x="{x:.0f}" y="{y - 5}" width="10" height="3" fill="{color}"/>'
            f'<text x="{x + 14:.0f}" y="{y}" fill="#ccccdc" font-size="11">{escape(line.name)}</text>'
        )
        x += length


def _red(defaults: Mapping[str, Any]) -> float | None:
    values = [it["value"] for it in defaults["thresholds"]["steps"] if it["color"] == "red"]
    return float(values[0]) if values else None


def _said(value: float, unit: str) -> str:
    match unit:
        case "s":
            return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
        case "percentunit":
            return f"{value:.0%}"
        case "bytes" | "Bps":
            end = "/s" if unit == "Bps" else ""
            return f"{value / 1e6:.1f} MB{end}" if value >= 1e6 else f"{value / 1e3:.1f} kB{end}"
        case "ops":
            return f"{value:.2g}/s" if value < 10 else f"{value:.0f}/s"
        case _:
            return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
