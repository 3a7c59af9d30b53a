"""The dashboard is what its generator writes, and holds together; tests/scale/test_prometheus.py runs its queries."""

import json
import re
from itertools import combinations

from support.watching.dashboard import PAGE, written

BOARD = json.loads(PAGE.read_text())
PANELS = [it for it in BOARD["panels"] if it["type"] != "row"]
BUILT_IN = {"__rate_interval"}


def test_file_of_the_dashboard_is_current() -> None:
    """If it is not, run `uv run just tables`."""
    assert PAGE.read_text() == written()


def test_each_panel_has_an_id_and_says_what_it_shows() -> None:
    assert len({it["id"] for it in PANELS}) == len(PANELS)
    assert all(it["title"] and it["description"] and it["targets"] for it in PANELS)
    assert len({it["title"] for it in PANELS}) == len(PANELS)


def test_no_panel_lies_on_another() -> None:
    def cells(panel: dict[str, dict[str, int]]) -> set[tuple[int, int]]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        columns, lines = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
        return {(column, line) for column in columns for line in lines}

    for one, other in combinations(BOARD["panels"], 2):
        assert not cells(one) & cells(other), (one["title"], other["title"])


def test_queries_use_only_variables_that_exist() -> None:
    defined = {it["name"] for it in BOARD["templating"]["list"]} | BUILT_IN
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARD)))
    assert used <= defined
    assert {"datasource", "provider", "model"} <= used


def test_first_token_has_its_red_line() -> None:
    (panel,) = [it for it in PANELS if it["title"] == "Late first tokens"]
    red = panel["fieldConfig"]["defaults"]["thresholds"]["steps"][-1]
    assert red == {"value": 0.05, "color": "red"}
    assert panel["fieldConfig"]["defaults"]["custom"]["thresholdsStyle"]["mode"] == "line+area"
