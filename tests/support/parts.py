"""The parts that tests need from the machine besides Python, and the reports about missing ones.

A test names its parts with `@pytest.mark.needs("chromium")`; the marks `browser` and `node` stand for the usual
parts of such tests. If a part is missing, the test is skipped before its fixtures run. Under `CI=true` every part
must be there: the first test that needs a missing part fails.
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

from support.redis_programs import find_program

CLIENTS = Path(__file__).parents[1] / "clients"
IMPLIED = {"browser": ("chromium",), "node": ("node", "clients")}
SKIPPED = "Skipped: "
_DEPENDENCIES = "dependencies", "devDependencies"


@dataclass(frozen=True)
class Part:
    """Something that a machine may lack.

    Attributes:
        name: its common name.
        hint: how to install it on Debian.
        find: returns its path, or None if it is missing.
    """

    name: str
    hint: str
    find: Callable[[], str | None]

    @override
    def __str__(self) -> str:
        return f"{self.name} is missing ({self.hint})"


def _program(name: str, package: str, command: str) -> Part:
    """Return a program; some are in directories that only root has in its `PATH`."""
    where = f"{os.environ.get('PATH', '')}:/usr/sbin"
    hint = f"apt-get install {package}"
    return Part(name, hint, lambda: shutil.which(command, path=where))


def _lighttpd() -> str | None:
    """Return the path of lighttpd, if its module for TLS is there, too: that is a separate package."""
    has_tls = any(
        Path(lib, "lighttpd/mod_openssl.so").exists() for lib in ("/usr/lib", "/usr/lib64")
    )
    return _program("", "", "lighttpd").find() if has_tls else None


def _webkit() -> str | None:
    """Return the path of WebKitGTK's MiniBrowser, if there is a display for it: Xvfb."""
    places = ("/usr/lib", "/usr/lib64", "/usr/libexec")
    patterns = ("webkit2gtk-4.1/MiniBrowser", "*-linux-gnu/webkit2gtk-4.1/MiniBrowser")
    found = (path for place in places for name in patterns for path in Path(place).glob(name))
    return next(map(str, found), None) if shutil.which("Xvfb") else None


def _clients() -> str | None:
    """Return the folder with the libraries of `package.json`, if all of them are installed."""
    modules = CLIENTS / "node_modules"
    package = json.loads((CLIENTS / "package.json").read_text(encoding="utf-8"))
    names = chain.from_iterable(package.get(kind, {}) for kind in _DEPENDENCIES)
    return str(modules) if all((modules / name).is_dir() for name in names) else None


PARTS: Mapping[str, Part] = {
    "chromium": _program("Chromium", "chromium", "chromium"),
    "firefox": _program("Firefox", "firefox-esr", "firefox-esr"),
    "webkit": Part("WebKitGTK", "apt-get install libwebkit2gtk-4.1-0 xvfb", _webkit),
    "node": _program("Node.js", "nodejs npm", "node"),
    "clients": Part("tests/clients/node_modules", "npm install --prefix tests/clients", _clients),
    "nginx": _program("nginx", "nginx", "nginx"),
    "caddy": _program("Caddy", "caddy", "caddy"),
    "haproxy": _program("HAProxy", "haproxy", "haproxy"),
    "lighttpd": Part("lighttpd", "apt-get install lighttpd lighttpd-mod-openssl", _lighttpd),
    "openssl": _program("OpenSSL", "openssl", "openssl"),
    "curl": _program("curl", "curl", "curl"),
    "valkey": Part("Valkey", "uv sync installs it", lambda: find_program("valkey")),
    "redis-6.2": Part(
        "Redis 6.2",
        "uv sync installs it for CPython 3.11 and 3.12 on Linux, x86-64",
        lambda: find_program("redis-6.2"),
    ),
    "redis-server": Part(
        "redis-server", "apt-get install redis-server", lambda: find_program("redis-server")
    ),
    "prometheus": _program("Prometheus", "prometheus", "prometheus"),
    "promtool": _program("promtool", "prometheus", "promtool"),
    "git": _program("git", "git", "git"),
    "uv": Part("uv", "pip install uv", lambda: os.environ.get("UV") or shutil.which("uv")),
    "ip": Part("iproute2", "apt-get install iproute2", lambda: shutil.which("ip")),
}


def find(name: str) -> str:
    """Return the path of a part; skip the test if it is missing."""
    part = PARTS[name]
    return part.find() or missing(str(part))


def each(names: Iterable[str]) -> list[ParameterSet]:
    """Return parts as parameters of a test; each parameter needs its part."""
    return [pytest.param(name, marks=pytest.mark.needs(name)) for name in names]


def missing(what: str) -> NoReturn:
    """Skip the current test, or fail it under CI, with a sentence that says what is missing."""
    if _is_ci():
        pytest.fail(f"{what}, and CI has to have it", pytrace=False)
    pytest.skip(what)


def _is_ci() -> bool:
    return os.environ.get("CI") == "true"


class Plugin:
    """Skips before fixtures run, and reports each reason once."""

    def __init__(self) -> None:
        self._failed: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Skip a test before its fixtures run."""
        for name in _needs(item):
            part = PARTS[name]
            if part.find():
                continue
            if _is_ci() and name not in self._failed:
                self._failed.add(name)
                missing(str(part))
            pytest.skip(str(part))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Write one line for each reason for skips, with their number.

        If `SKIPPED_TESTS` is set, write the ids of the skipped tests to that file: `pytest @file` runs them elsewhere.
        """
        reports = terminalreporter.stats.get("skipped", [])
        if path := os.environ.get("SKIPPED_TESTS"):
            ids = [f"{report.nodeid}\n" for report in reports]
            Path(path).write_text("".join(ids), encoding="utf-8")
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
    """Return the unknown names among the parts that tests need."""
    return {name for item in items for name in _needs(item)} - PARTS.keys()
