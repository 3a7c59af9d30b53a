"""`python -m support.fuzz`: a run with figures, against a service that it starts."""

import argparse
import re
import sys
import tempfile
from pathlib import Path

import anyio

from support.fuzz.run import Fuzz, Report
from support.fuzz.settings import SETTINGS, configure
from support.process import serve

COMPLAINT = re.compile(r"Traceback|crashed|\b(?:ERROR|CRITICAL)\b")


async def run(total: int, seed: int) -> bool:
    """Run, and print what was seen; return whether all was well."""
    with tempfile.TemporaryDirectory() as directory:
        credentials = configure(Path(directory))
        async with serve(Path(directory), SETTINGS) as service:
            document = (await service.client.get("/openapi.json")).json()
            fuzz = Fuzz(
                service,
                document,
                total=total,
                seed=seed,
                credentials=credentials,
                on_progress=progress,
            )
            report = await fuzz.run()
            is_alive = (await service.client.get("/healthz")).is_success
            code = await service.terminate()
        complaints = [line for line in service.output.splitlines() if COMPLAINT.search(line)]
    show(report, complaints)
    return is_alive and code == 0 and not report.faults and not complaints


def progress(report: Report) -> None:
    """Print how far it is."""
    faults = len(report.faults)
    print(
        f"{report.requests:,} requests, {faults} faults, {report.memory_kb[-1] / 1024:.0f} MB",
        flush=True,
    )


def show(report: Report, complaints: list[str]) -> None:
    """Print what was seen."""
    print(f"{report.requests:,} requests in {report.seconds:,.0f} s")
    for status, count in sorted(report.statuses.items()):
        print(f"{status}: {count:,}")
    print(f"no answer, or not awaited: {report.unanswered:,}")
    print(f"memory in MB: {', '.join(f'{kb / 1024:.0f}' for kb in report.memory_kb)}")
    print(f"descriptors: {', '.join(map(str, report.descriptors))}")
    print(*report.faults, *complaints[:20], sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=17)
    arguments = parser.parse_args()
    is_fine = anyio.run(
        run, arguments.requests, arguments.seed, backend_options={"use_uvloop": True}
    )
    sys.exit(not is_fine)
