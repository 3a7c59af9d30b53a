"""What tests need of the machine besides Python, and what is said where it is missing.

A test names its parts with `@pytest.mark.needs("chromium")`; `browser` and `node` are short for what
most of those tests need. Where one is missing the test is skipped before any fixture of it runs. Under
`CI=true` everything has to be there: the first test that needs a missing part fails.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NoReturn

import pytest
from _pytest.mark.structures import ParameterSet
from typing_extensions import override

CLIENTS = Path(__file__).parents[1] / "clients"
IMPLIED = {"browser": ("chromium",), "node": ("node", "clients")}
SKIPPED = "Skipped: "
_DEPENDENCIES = "dependencies", "devDependencies"


@dataclass(frozen=True)
class Part:
    """Something that a machine may lack.

    Attributes:
        name: as people know it.
        hint: how it is had on Debian.
        find: returns where it is.
    """

    name: str
    hint: str
    find: Callable[[], str | None]

    @override
    def __str__(self) -> str:
        return f"{self.name} is missing ({self.hint})"


def _program(name: str, package: str, command: str) -> Part:
    """Return a program; some lie where only root looks for them."""
    where = f"{os.environ.get('PATH', '')}:/usr/sbin"
    hint = f"apt-get install {package}"
    return Part(name, hint, lambda: shutil.which(command, path=where))


def _lighttpd() -> str | None:
    """Return lighttpd, if it has its module for TLS, which is a package of its own."""
    has_tls = any(
        Path(lib, "lighttpd/mod_openssl.so").exists() for lib in ("/usr/lib", "/usr/lib64")
    )
    return _program("", "", "lighttpd").find() if has_tls else None


def _clients() -> str | None:
    """Return the folder of the libraries that `package.json` names, if all of them are there."""
    modules = CLIENTS / "node_modules"
    package = json.loads((CLIENTS / "package.json").read_text(encoding="utf-8"))
    names = chain.from_iterable(package.get(kind, {}) for kind in _DEPENDENCIES)
    return str(modules) if all((modules / name).is_dir() for name in names) else None


PARTS: Mapping[str, Part] = {
    "chromium": _program("Chromium", "chromium", "chromium"),
    "firefox": _program("Firefox", "firefox-esr", "firefox-esr"),
    "node": _program("Node.js", "nodejs npm", "node"),
    "clients": Part("tests/clients/node_modules", "npm install --prefix tests/clients", _clients),
    "nginx": _program("nginx", "nginx", "nginx"),
    "caddy": _program("Caddy", "caddy", "caddy"),
    "haproxy": _program("HAProxy", "haproxy", "haproxy"),
    "lighttpd": Part("lighttpd", "apt-get install lighttpd lighttpd-mod-openssl", _lighttpd),
    "openssl": _program("OpenSSL", "openssl", "openssl"),
    "curl": _program("curl", "curl", "curl"),
    "ip": Part("iproute2", "apt-get install iproute2", lambda: shutil.which("ip")),
}


def find(name: str) -> str:
    """Return where a part is; the test is skipped where it is missing."""
    part = PARTS[name]
    return part.find() or missing(str(part))


def each(names: Iterable[str]) -> list[ParameterSet]:
    """Return parts as parameters of a test, each of which needs its own."""
    return [pytest.param(name, marks=pytest.mark.needs(name)) for name in names]


def missing(what: str) -> NoReturn:
    """Skip the test that runs, or fail it under CI; the sentence says what is missing."""
    if _is_ci():
        pytest.fail(f"{what}, and CI has to have it", pytrace=False)
    pytest.skip(what)


def _is_ci() -> bool:
    return os.environ.get("CI") == "true"


class Plugin:
    """Skips early, and tells each reason once."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a test before its fixtures are made."""
        for name in _needs(item):
            part = PARTS[name]
            if part.find():
                continue
            if _is_ci() and name not in self._failed:
                self._failed.add(name)
                missing(str(part))
            pytest.skip(str(part))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write a line for each reason why tests were skipped, and how many."""
        reports = terminalreporter.stats.get("skipped", [])
        for reason, count in sorted(Counter(map(_reason, reports)).items()):
            terminalreporter.write_line(f"SKIPPED [{count}] {reason}", yellow=True)


def _needs(item: pytest.Item) -> Iterator[str]:
    for short, names in IMPLIED.items():
        if item.get_closest_marker(short):
            yield from names
    for mark in item.iter_markers("needs"):
        yield from mark.args


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return why a test was skipped."""
    where = report.longrepr
    return where[2].removeprefix(SKIPPED) if isinstance(where, tuple) else str(where)


def unknown(items: Iterable[pytest.Item]) -> set[str]:
    """Return the names of parts that tests need and nobody knows."""
    return {name for item in items for name in _needs(item)} - PARTS.keys()
