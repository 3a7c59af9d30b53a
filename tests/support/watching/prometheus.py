"""A real Prometheus that scrapes a service.

async with scraping(tmp_path, [service.port]) as prometheus:
    await prometheus.number("sum(streamsvc_generations_total)")
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import httpx2

from support.parts import find
from support.process import started

SECONDS = 60
"""Bound of a wait for figures on a busy machine."""

_LISTENING = r'msg="Listening on" address=127\.0\.0\.1:(\d+)'


@dataclass(frozen=True)
class Sample:
    """One series of an answer.

    Attributes:
        labels: its labels, `__name__` included if it has one.
        value: its latest value.
    """

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True)
class Prometheus:
    """A running server.

    Attributes:
        client: asks it.
    """

    client: httpx2.AsyncClient

    async def query(self, expr: str) -> Sequence[Sample]:
        """Return the answer to a query for an instant vector."""
        data = await self.ask("/api/v1/query", query=expr)
        return [Sample(it["metric"], float(it["value"][1])) for it in data["result"]]

    async def number(self, expr: str) -> float:
        """Return the only number of an answer; 0 if there is none."""
        samples = await self.query(expr)
        assert len(samples) <= 1, samples
        return samples[0].value if samples else 0.0

    async def by(self, label: str, expr: str) -> dict[str, float]:
        """Return an answer by the values of one label, without those that are 0."""
        return {it.labels[label]: it.value for it in await self.query(expr) if it.value}

    async def until(self, expr: str, value: float) -> None:
        """Wait until the answer is a number."""
        await self._until(expr, lambda found: found == value)

    async def until_above(self, expr: str, value: float) -> None:
        """Wait until the answer is above a number."""
        await self._until(expr, lambda found: found > value)

    async def _until(self, expr: str, is_so: Callable[[float], bool]) -> None:
        found = None
        with anyio.move_on_after(SECONDS):
            while found is None or not is_so(found):
                found = await self.number(expr)
                await anyio.lowlevel.checkpoint()
            return
        raise AssertionError(f"{expr} is {found}")

    async def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer of its API (prometheus.io/docs/prometheus/latest/querying/api)."""
        answer = await self.client.get(path, params=parameters)
        body = answer.json()
        assert body["status"] == "success", (parameters, body)
        return body["data"]


@asynccontextmanager
async def scraping(
    directory: Path, ports: Sequence[int], *, rules: Sequence[Path] = ()
) -> AsyncIterator[Prometheus]:
    """Run a server that scrapes services of this machine once a second.

    Args:
        directory: where it may keep its files.
        ports: of the services.
        rules: files of rules that it evaluates once a second.
    """
    config = directory / "prometheus.yml"
    targets = [f"127.0.0.1:{port}" for port in ports]
    config.write_text(
        json.dumps(  # JSON is a subset of YAML
            {
                "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(it) for it in rules],
                "scrape_configs": [
                    {"job_name": "streamsvc", "static_configs": [{"targets": targets}]}
                ],
            }
        )
    )
    command = [
        find("prometheus"),
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    async with started(command, directory, {}, running_on=_LISTENING) as server:
        await server.logged("Server is ready to receive web requests")
        yield Prometheus(server.client)
