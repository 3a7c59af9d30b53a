"""What is generated in `docs/`: tables, the OpenAPI document, deployment files, alert rules and a dashboard.

`uv run just tables` writes it, tests compare it.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from support import (
    advisories,
    chaos_table,
    comparison,
    deployment,
    metric_tables,
    openapi,
    parameters,
    referee,
)
from support.faults import table as faults
from support.reference import commands, errors, events, settings
from support.watching import alerts, dashboard

DOCS = Path(__file__).parents[2] / "docs"

TABLES: Mapping[str, Mapping[str, Callable[[], str]]] = {
    "reference/command-line.md": {
        "commands": commands.overview,
        "command_details": commands.details,
    },
    "reference/errors.md": {
        "refusals": errors.refusal_table,
        "failures": errors.failure_table,
    },
    "reference/events.md": {
        "events": events.overview,
        "event_details": events.details,
        "event_values": events.values,
        "event_parts": events.parts,
        "event_failures": events.failed,
    },
    "reference/faults.md": {"faults": faults.table, "referee": referee.table},
    "reference/metrics.md": {"metrics": metric_tables.own, "gen_ai": metric_tables.conventions},
    "reference/parameters.md": {"parameters": parameters.table},
    "reference/settings.md": {
        "settings": settings.overview,
        "settings_top": settings.top,
        "settings_tables": settings.tables,
        "settings_entries": settings.entries,
    },
    "operate/change.md": {"restarted": settings.restarted},
    "comparison.md": {"compared_run": comparison.when, "compared": comparison.measured},
    "operate/secure.md": {"advisories": advisories.table},
    "operate/scale.md": {"chaos": chaos_table.chaos, "restart": chaos_table.restart},
}
"""By page: its tables, by the name in their markers."""


def written(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Return the text of a page with up-to-date tables.

    Raises:
        ValueError: the page does not have the markers of a table exactly once.
    """
    for name, table in tables.items():
        begin, end = f"<!-- table {name} -->\n", f"<!-- end of table {name} -->\n"
        if page.count(begin) != 1 or page.count(end) != 1:
            raise ValueError(f"the markers of table {name}")
        before, _, rest = page.partition(begin)
        page = f"{before}{begin}\n{table()}\n{end}{rest.partition(end)[2]}"
    return page


def main() -> None:
    """Write all of it."""
    openapi.PAGE.write_text(openapi.written())
    for name, text in deployment.files().items():
        (deployment.PLACE / name).write_text(text)
    alerts.PAGE.write_text(alerts.written())
    dashboard.PAGE.write_text(dashboard.written())
    for name, tables in TABLES.items():
        path = DOCS / name
        path.write_text(written(path.read_text(), tables))


if __name__ == "__main__":
    main()
