"""The dashboard for Grafana, written to `docs/operate/watch/dashboard.json` by `uv run just tables`.

Grafana's own SDK builds it, so each field is one that Grafana knows.
"""

import json
from pathlib import Path

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableHide,
    VariableRefresh,
)

from streamsvc.telemetry import names
from support.watching.panels import ROWS, Panel

PAGE = Path(__file__).parents[3] / "docs" / "operate" / "watch" / "dashboard.json"

HEIGHT, NUMBER_HEIGHT = 8, 4
COLUMNS = 24
_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


def written() -> str:
    """Return the file."""
    return json.dumps(built(), cls=JSONEncoder, indent=2, ensure_ascii=False) + "\n"


def built() -> Dashboard:
    """Return the dashboard."""
    board = (
        dashboard.Dashboard("streamsvc")
        .uid("streamsvc")
        .description(
            "Answers, providers, viewers, money and workers; docs/operate/watch.md explains it."
        )
        .tags(["streamsvc"])
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .with_variable(dashboard.DatasourceVariable("datasource").type("prometheus"))
        .with_variable(_choice("provider", f"label_values({names.CALLS.series}, provider)"))
        .with_variable(
            _choice("model", f'label_values({names.CALLS.series}{{provider=~"$provider"}}, model)')
        )
    )
    y = number = 0
    for row, panels in ROWS.items():
        board.with_row(dashboard.Row(row).grid_pos(GridPos(h=1, w=COLUMNS, x=0, y=y)))
        y, x, height = y + 1, 0, 0
        for panel in panels:
            if x + panel.width > COLUMNS:
                x, y = 0, y + height
            height = NUMBER_HEIGHT if panel.is_number else HEIGHT
            number += 1
            place = GridPos(h=height, w=panel.width, x=x, y=y)
            board.with_panel((_number if panel.is_number else _lines)(panel, place, number))
            x += panel.width
        y += height
    return board.build()


def _choice(name: str, query: str) -> dashboard.QueryVariable:
    """Return a variable of which several values, or all, can be chosen."""
    return (
        dashboard.QueryVariable(name)
        .query(query)
        .datasource(_SOURCE)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(".*")
        .hide(VariableHide.DONT_HIDE)
    )


def _number(panel: Panel, place: GridPos, number: int) -> stat.Panel:
    made = (
        stat.Panel()
        .id(number)
        .title(panel.title)
        .description(panel.about)
        .datasource(_SOURCE)
        .grid_pos(place)
        .unit(panel.unit)
        .graph_mode(BigValueGraphMode.NONE)
        .thresholds(_thresholds(panel))
    )
    for at, query in enumerate(panel.queries):
        made.with_target(_target(at, query.expr, query.legend))
    return made


def _lines(panel: Panel, place: GridPos, number: int) -> timeseries.Panel:
    made = (
        timeseries.Panel()
        .id(number)
        .title(panel.title)
        .description(panel.about)
        .datasource(_SOURCE)
        .grid_pos(place)
        .unit(panel.unit)
        .min(0)
        .thresholds(_thresholds(panel))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
    )
    if panel.red is not None:
        style = common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.LINE_AND_AREA)
        made.thresholds_style(style)
    if panel.most is not None:
        made.max(panel.most)
    for at, query in enumerate(panel.queries):
        made.with_target(_target(at, query.expr, query.legend))
    return made


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    steps = [Threshold(value=None, color="green")]
    if panel.red is not None:
        steps.append(Threshold(value=panel.red, color="red"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _target(at: int, expr: str, legend: str) -> prometheus.Dataquery:
    return (
        prometheus.Dataquery()
        .ref_id("ABCDEFGHIJ"[at])
        .expr(expr)
        .legend_format(legend)
        .range()
        .datasource(_SOURCE)
    )
