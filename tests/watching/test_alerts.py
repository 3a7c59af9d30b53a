"""The alert rules, checked and run by Prometheus' own promtool."""

import json
import re
import subprocess
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import pytest

from support.parts import find
from support.watching.alert_cases import CASES, Case
from support.watching.alerts import ALERTS, PAGE, written
from support.watching.rules import RUNBOOK, Alert
from support.watching.rules import written as rules_file

RULES = [*chain(*ALERTS.values())]
JOB = {"job": "streamsvc"}
INSTANCE = {"instance": "one:8000"}


def promtool(*arguments: str | Path) -> str:
    """Run it; return what it has written."""
    done = subprocess.run(
        [find("promtool"), *arguments], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_file_of_rules_is_current() -> None:
    """If it is not, run `uv run just tables`."""
    assert PAGE.read_text() == written()


def test_each_rule_has_a_section_in_the_runbook() -> None:
    page = (PAGE.parents[3] / RUNBOOK).read_text()
    sections = set(re.findall(r"^### (\w+)$", page, re.MULTILINE))
    assert {it.name for it in RULES} <= sections


def test_each_rule_is_seen_firing_and_seen_quiet() -> None:
    every = {(it.name, it.what) for it in RULES}
    firing = {(it.alert, it.fires.get("what", "")) for it in CASES if it.fires is not None}
    assert firing == every
    assert {it.alert for it in CASES if it.fires is None} == {it.name for it in RULES}


@pytest.mark.needs("promtool")
@pytest.mark.promise("seen:outside")
def test_rules_notice_what_they_should_and_nothing_else(tmp_path: Path) -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", PAGE)
    files = []
    for name in {
        it.name for it in RULES
    }:  # one by one, because promtool evaluates every rule of a file every minute
        rules, file = tmp_path / f"{name}.yml", tmp_path / f"{name}.json"
        rules.write_text(rules_file({name: [it for it in RULES if it.name == name]}))
        tests = {
            "rule_files": [str(rules)],
            "evaluation_interval": "1m",
            "tests": [_test(case) for case in CASES if case.alert == name],
        }
        file.write_text(json.dumps(tests))  # JSON is a subset of YAML
        files.append(file)
    promtool("test", "rules", *files)


def _test(case: Case) -> Mapping[str, object]:
    asked = [{"eval_time": case.at, "alertname": case.alert, "exp_alerts": _expected(case)}]
    if case.before:
        asked.append({"eval_time": case.before, "alertname": case.alert, "exp_alerts": []})
    return {
        "name": f"{case.alert}: {case.why}",
        "interval": "1m",
        "input_series": [
            {"series": _with_target(name), "values": values} for name, values in case.series.items()
        ],
        "alert_rule_test": asked,
    }


def _with_target(series: str) -> str:
    name, _, labels = series.rstrip("}").partition("{")
    target = ",".join(f'{label}="{value}"' for label, value in {**JOB, **INSTANCE}.items())
    return f"{name}{{{labels}{',' if labels else ''}{target}}}"


def _expected(case: Case) -> list[Mapping[str, object]]:
    if case.fires is None:
        return []
    labels = {**JOB, **case.fires}
    (rule,) = [it for it in RULES if (it.name, it.what) == (case.alert, labels.get("what", ""))]
    return [
        {
            "exp_labels": {**labels, **rule.labels},
            "exp_annotations": {**rule.annotations, "summary": _summary(rule, labels, case.value)},
        }
    ]


def _summary(rule: Alert, labels: Mapping[str, str], value: str) -> str:
    text = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda it: labels[it[1]], rule.summary)
    return re.sub(r"\{\{ \$value[^}]*\}\}", value, text)
