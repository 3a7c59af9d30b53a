"""The pace of an answer in the playground: only what arrives when it is sent counts."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from streamsvc.web.playground import DIRECTORY

pytestmark = pytest.mark.needs("node")

SCRIPT = """
import { Meter } from "./meter.mjs";

const [steps, isFromStart] = JSON.parse(process.argv[1]);
const meter = new Meter(1000, isFromStart);
for (const [at, name, about] of steps) {
  if (name === "leave") meter.leave(about, 1000 + at);
  else if (name === "back") meter.comeBack(about, 1000 + at);
  else if (name === "open") meter.open(1000 + at);
  else meter.event(name, 1000 + at);
}
const { firstMs, rate, pieces, counted, absences } = meter;
console.log(JSON.stringify({ firstMs, rate, pieces, counted, absences: Object.fromEntries(absences) }));
"""

BEGIN = [(20, "open"), (21, "start")]


def measure(directory: Path, *steps: tuple[Any, ...], is_from_start: bool = True) -> Any:
    """Return what is measured of events at these milliseconds after the question."""
    shutil.copy(DIRECTORY / "meter.js", directory / "meter.mjs")
    ended = subprocess.run(
        ["node", "--input-type=module", "-e", SCRIPT, json.dumps([steps, is_from_start])],
        cwd=directory, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(ended.stdout)


def words(first: int, count: int, every: int = 50) -> list[tuple[int, str]]:
    return [(first + number * every, "text") for number in range(count)]


WHOLE = {"firstMs": 300, "rate": 20, "pieces": 11, "counted": [50] * 10, "absences": {}}


@pytest.mark.parametrize(
    ("steps", "measured"),
    [
        pytest.param([*BEGIN, *words(300, 11)], WHOLE, id="whole"),
        pytest.param(
            [*BEGIN, (300, "reasoning"), (350, "tool_call_begun"), (350, "tool_call_arguments"), (400, "refusal"),
             *words(450, 8)],
            WHOLE, id="every kind of piece",
        ),
        pytest.param(
            [*BEGIN, *words(300, 3), (430, "leave", "away"), (1930, "leave", "away"), (2030, "back", "away"),
             *words(2031, 33, 0), *words(2100, 5)],
            {"rate": 20, "pieces": 41, "counted": [50] * 6, "absences": {"away": 1600}}, id="cut and caught up",
        ),
        pytest.param(
            [*BEGIN, *words(300, 3), (430, "leave", "away"), (2030, "back", "away"),
             *words(2031, 3, 0), *words(2091, 35, 0), *words(2350, 3)],
            {"rate": 20, "pieces": 44}, id="caught up with a pause in it",
        ),
        pytest.param(
            [*BEGIN, *words(300, 3), (430, "leave", "away"), (2030, "back", "away"), (2031, "status"),
             (2031, "text"), *words(2080, 4)],
            {"rate": 20, "pieces": 8, "counted": [50] * 5}, id="asked again while away",
        ),
        pytest.param(
            [*BEGIN, *words(300, 3), (430, "leave", "hidden"), (500, "leave", "away"), (900, "back", "hidden"),
             (1430, "back", "away"), *words(1430, 5, 1), *words(1500, 4)],
            {"pieces": 12, "counted": [50] * 5, "absences": {"hidden": 1000}}, id="hidden and cut at a time",
        ),
        pytest.param(
            [*BEGIN, (100, "leave", "away"), (900, "back", "away"), (901, "start"), *words(902, 3, 0), *words(960, 3)],
            {"firstMs": None, "pieces": 6, "counted": [50] * 2, "absences": {}}, id="away before the first piece",
        ),
        pytest.param(
            [*BEGIN, (30, "status"), (500, "status"), *words(900, 3)],
            {"firstMs": 900, "pieces": 3, "counted": [50] * 2, "absences": {}}, id="asked again before the first piece",
        ),
        pytest.param(
            [*BEGIN, *words(300, 3), (410, "status"), *words(2400, 3)],
            {"firstMs": 300, "rate": 20, "pieces": 6, "counted": [50] * 4, "absences": {"retrying": 2000}},
            id="asked again in the middle",
        ),
        pytest.param(
            [*BEGIN, *words(300, 3, 10), (410, "restart"), *words(820, 3)],
            {"firstMs": 300, "rate": 20, "pieces": 3, "counted": [50] * 2, "absences": {"retrying": 500}},
            id="started over",
        ),
        pytest.param(
            [*BEGIN, *words(25, 11, 0)],
            {"firstMs": 25, "rate": None, "pieces": 11, "counted": [], "absences": {}}, id="all at once",
        ),
        pytest.param(
            [*BEGIN, *words(300, 3), (410, "done"), (420, "leave", "hidden"), (9000, "back", "hidden")],
            {"pieces": 3, "counted": [50] * 2, "absences": {}}, id="hidden after the end",
        ),
    ],
)  # fmt: skip
def test_only_what_arrives_when_it_is_sent_counts(
    tmp_path: Path, steps: list[tuple[Any, ...]], measured: Mapping[str, Any]
) -> None:
    found = measure(tmp_path, *steps)
    assert {name: found[name] for name in measured} == measured


def test_an_answer_met_in_the_middle_has_a_pace_and_no_first_piece(tmp_path: Path) -> None:
    steps = [(5, "open"), (6, "start"), *words(7, 500, 0), *words(80, 5)]
    found = measure(tmp_path, *steps, is_from_start=False)
    assert found == {
        "firstMs": None,
        "rate": 20,
        "pieces": 505,
        "counted": [50] * 4,
        "absences": {},
    }
