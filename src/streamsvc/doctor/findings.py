"""What a check has found: one line each."""

from collections.abc import Sequence
from typing import Literal

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """The result of a check. It contains no key, password, prompt or answer.

    Attributes:
        status: `ok`; `warn`: the service works, but not as well as it should; `fail`: it does not.
        what: what was checked.
        found: what was found there.
        advice: what to do about it; "" if nothing.
    """

    status: Literal["ok", "warn", "fail"]
    what: str
    found: str
    advice: str = ""


Findings = Sequence[Finding]


def ok(what: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding("ok", what, found)


def warn(what: str, found: str, advice: str) -> Finding:
    """Return that something could be better."""
    return Finding("warn", what, found, advice)


def fail(what: str, found: str, advice: str) -> Finding:
    """Return that something does not work."""
    return Finding("fail", what, found, advice)


def worst(findings: Findings) -> Literal["ok", "warn", "fail"]:
    """Return the worst status."""
    return max((it.status for it in findings), key=("ok", "warn", "fail").index, default="ok")


def line(finding: Finding, width: int) -> str:
    """Return a finding as one line, with what was checked in a column; unprintable characters are escaped."""
    parts = [f"{finding.status:4}  {finding.what:{width}}", finding.found, finding.advice]
    text = " – ".join(filter(None, parts))  # noqa: RUF001  # a dash
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
