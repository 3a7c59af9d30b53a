"""The measured table of `docs/comparison.md`, from the results of the latest benchmark in `docs/performance.md`."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from support.reference.markdown import table

PERFORMANCE = Path(__file__).parents[2] / "docs" / "performance.md"

TARGETS: Mapping[str, str] = {
    "streamsvc": "streamsvc",
    "streamsvc-openai": "streamsvc, OpenAI's wire format",
    "litellm": "LiteLLM's proxy",
    "naive": "hand-written: sse-starlette over the openai SDK",
    "floor": "bare relay: no parsing, no log, no deadlines",
}
"""Those of the benchmark that are compared, if the run has them, and what they are."""

FIGURES = (
    (
        "paced",
        "100 streams",
        "\N{MULTIPLICATION SIGN} floor",
        "CPU per token, times the bare relay's",
    ),
    ("paced", "100 streams", "delivered", "100 streams of 50 tokens/s: delivered"),
    ("paced", "300 streams", "delivered", "300 streams: delivered"),
    ("latency", "one stream", "first token added, p50 ms", "added to the first token, ms"),
    ("teardown", "idle", "closed p50 ms", "left viewer to closed provider call, ms"),
    ("memory", "1000 streams", "kB/stream", "memory for a held stream, kB"),
)
"""The scenario, the case, the column, and what it is called in the comparison."""

NONE = "\N{EN DASH}"
"""A figure that the run does not have."""

Figures = Mapping[tuple[str, str, str, str], str]


def measured() -> str:
    """Return a row for each target that the latest run has."""
    figures = results(PERFORMANCE.read_text(encoding="utf-8"))
    rows = []
    for target, name in TARGETS.items():
        cells = [
            figures.get((scenario, case, target, column), NONE).partition(" (")[0]
            for scenario, case, column, _ in FIGURES
        ]
        if any(cell != NONE for cell in cells):
            rows.append((name, *cells))
    return table(("", *(title for *_, title in FIGURES)), rows)


def when() -> str:
    """Return what the page says of the run: its date and its machine."""
    text = PERFORMANCE.read_text(encoding="utf-8")
    found = re.search(r"<!-- results -->\n\n(\d{4}-\d\d-\d\d); ([^:;]+)", text)
    if found is None:
        raise ValueError("the results have no date")
    return f"Measured by this project on {found[1]}; {found[2]}, one process on one core.\n"


def results(text: str) -> Figures:
    """Return the cells of the tables, by scenario, case, target and column."""
    part = text.partition("<!-- results -->")[2].partition("<!-- /results -->")[0]
    return dict(_cells(part))


def _cells(text: str) -> Iterator[tuple[tuple[str, str, str, str], str]]:
    scenario, head = "", list[str]()
    for line in text.splitlines():
        if named := re.fullmatch(r"\*\*([\w-]+)\*\*", line):
            scenario, head = named[1], []
        elif line.startswith("| ") and not line.startswith("| --"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            for column, cell in zip(head, cells, strict=False):
                yield (scenario, cells[0], cells[1], column), cell
            head = head or cells
