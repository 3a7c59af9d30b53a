"""Alert rules, and the file that Prometheus reads them from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from textwrap import indent
from typing import Literal

RUNBOOK = "docs/operate/watch.md"


@dataclass(frozen=True, kw_only=True)
class Alert:
    """An alert rule.

    Attributes:
        name: of the alert, and the heading of its section in the runbook.
        expr: the query; each series that it returns is an alert.
        lasts: how long it must return it before anybody is told.
        severity: `page`: wake somebody; `ticket`: look at it at work.
        summary: a sentence for the message, with `{{ $labels… }}` and `{{ $value }}`.
        what: a label that tells alerts of the same name apart.
    """

    name: str
    expr: str
    lasts: str
    severity: Literal["page", "ticket"]
    summary: str
    what: str = ""

    @property
    def runbook(self) -> str:
        """Where it is explained."""
        return f"{RUNBOOK}#{self.name.lower()}"

    @property
    def labels(self) -> Mapping[str, str]:
        """What the rule adds to the labels of the series."""
        return {"severity": self.severity, **({"what": self.what} if self.what else {})}

    @property
    def annotations(self) -> Mapping[str, str]:
        """What a message about the alert says."""
        return {"summary": self.summary, "runbook": self.runbook}


HEAD = """\
# Alert rules of streamsvc for Prometheus. Generated from its table of metrics; docs/operate/watch.md explains each.
#   rule_files: ["alerts.yml"]        in prometheus.yml; the job is named "streamsvc"
groups:
"""


def written(groups: Mapping[str, Sequence[Alert]]) -> str:
    """Return the file of some rules, by the names of their groups."""
    parts = [HEAD]
    for name, alerts in groups.items():
        parts.append(f"  - name: streamsvc_{name}\n    rules:\n")
        parts += map(_rule, alerts)
    return "".join(parts)


def _rule(alert: Alert) -> str:
    return (
        f"      - alert: {alert.name}\n"
        f"        expr: |\n{indent(alert.expr, ' ' * 10)}\n"
        f"        for: {alert.lasts}\n"
        f"        labels:\n{_pairs(alert.labels)}"
        f"        annotations:\n{_pairs(alert.annotations)}"
    )


def _pairs(values: Mapping[str, str]) -> str:
    """Return lines of names and texts; a text of JSON is one of YAML (YAML 1.2, section 1.3)."""
    return "".join(f"          {name}: {json.dumps(it)}\n" for name, it in values.items())
