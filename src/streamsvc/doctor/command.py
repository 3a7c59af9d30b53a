"""`streamsvc doctor`: runs all checks at once, and prints one line for each finding."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

import anyio
import msgspec

from streamsvc import extras
from streamsvc.config.file import find
from streamsvc.config.load import Loaded, read
from streamsvc.doctor.clocks import Clocks
from streamsvc.doctor.endpoints import check_collector, check_issuer
from streamsvc.doctor.findings import Findings, fail, line, worst
from streamsvc.doctor.machine import check_machine, check_port
from streamsvc.doctor.providers import check_entry
from streamsvc.doctor.settings import check_settings
from streamsvc.traces import describe

EXIT_FAILED = 1

Check = Callable[[], Awaitable[Findings]]


def run(
    path: Path | None, environ: Mapping[str, str], options: Mapping[str, str], *, as_json: bool
) -> int:
    """Check everything; return 0, or 1 if a check failed.

    Args:
        path: the settings file; None as in `load`.
        environ: the process's environment, which holds the keys.
        options: the text of command-line options that override a setting.
        as_json: print one JSON object, `{"status": …, "checks": [{"status", "what", "found", "advice"}]}`.
    """
    # What the service would log for operators is in the findings.
    logging.getLogger("streamsvc").addHandler(logging.NullHandler())
    findings = anyio.run(check_all, read(path, environ, options), find(path, environ), environ)
    if as_json:
        report = {"status": worst(findings), "checks": findings}
        print(msgspec.json.format(msgspec.json.encode(report)).decode())
    else:
        width = max(len(it.what) for it in findings)
        for finding in findings:
            print(line(finding, width))
    return EXIT_FAILED if worst(findings) == "fail" else 0


async def check_all(loaded: Loaded, path: Path | None, environ: Mapping[str, str]) -> Findings:
    """Return the findings of all checks in a fixed order; those that wait for others run at the same time."""
    settings, clocks = loaded.settings, Clocks()
    checks: list[tuple[str, Check]] = [
        ("port", partial(check_port, settings)),
        *(
            (f"provider {name}", partial(check_entry, name, settings, environ, clocks))
            for name in settings.providers
        ),
    ]
    if settings.jwt.jwks_url:
        checks.append(("issuer", partial(check_issuer, settings, clocks)))
    checks.append(("traces", partial(check_collector, environ)))
    if settings.log.kind == "redis" and extras.is_installed("redis"):
        from streamsvc.doctor.store import check_store  # noqa: PLC0415  # redis-py is only needed here

        checks.append(("redis", partial(check_store, settings.log, clocks)))
    results: dict[str, Findings] = {}

    async def run_one(what: str, check: Check) -> None:
        try:
            results[what] = await check()
        except Exception as exc:  # noqa: BLE001  # a bug in one check hides no other finding
            found = f"the check itself failed ({describe(exc)})"
            results[what] = [fail(what, found, "report it; the other checks are complete")]

    async with anyio.create_task_group() as tasks:
        for what, check in checks:
            tasks.start_soon(run_one, what, check)
    return [
        *check_settings(loaded, path),
        *(finding for what, _ in checks for finding in results[what]),
        *check_machine(settings),
        clocks.finding(),
    ]
