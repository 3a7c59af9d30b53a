"""Each dialect, to the last byte, against `python -m streamsvc serve` as a process of its own."""

import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import anyio
import pytest

from support.asking import CLIENTS, answered, entries
from support.process import Running, serve, write_config
from support.transcript import assert_is_transcript

OUTCOMES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "completed": ("fake", {}),
    "length": ("fake", {"max_tokens": 3}),
    "content-filter": ("filtered", {}),
    "failed": ("broken", {}),
    "restart": ("restarts", {}),
}
"""What an answer comes to: the entry that is asked, and further fields of the request."""

CASES = [
    (name, outcome)
    for name, client in CLIENTS.items()
    for outcome, (_, fields) in OUTCOMES.items()
    if client.wraps is not None or not fields  # a GET has no parameters of the model
]


@pytest.fixture(scope="module")
async def process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    directory = tmp_path_factory.mktemp("serve")
    write_config(directory, entries())
    async with serve(directory, {}) as running:
        yield running
        assert await running.terminate() == 0


@pytest.fixture
def service(process: Running) -> Iterator[Running]:
    """Give the process of the module, which complains of the broken providers and of nothing else."""
    since = len(process.output)
    yield process
    process.assert_quiet(r"call\.failed .* provider=(broken|restarts) ", since=since)


@pytest.mark.promise("stream:word-by-word")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(("name", "outcome"), CASES)
async def test_an_answer_is_as_in_its_transcript(service: Running, name: str, outcome: str) -> None:
    provider, fields = OUTCOMES[outcome]
    client = CLIENTS[name]
    answer = await answered(service.port, client.request(provider, **fields))
    transcript = f"serve/{client.transcript}-{outcome}"
    assert_is_transcript(bytes(answer.raw), transcript, is_whole=answer.is_whole)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells what a process has loaded")
async def test_the_process_runs_on_uvloop(service: Running) -> None:
    loaded = await anyio.Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "uvloop" in loaded
