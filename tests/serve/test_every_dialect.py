"""Each dialect to the last byte, from `python -m streamsvc serve` in its own process."""

import sys
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from support.asking import CLIENTS, answered, entries
from support.process import Running
from support.shared import quiet_service, shared_process
from support.transcript import assert_is_transcript

OUTCOMES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "completed": ("fake", {}),
    "length": ("fake", {"max_tokens": 3}),
    "content-filter": ("filtered", {}),
    "failed": ("broken", {}),
    "restart": ("restarts", {}),
}
"""How an answer ends: the requested entry, and further fields of the request."""

CASES = [
    (name, outcome)
    for name, client in CLIENTS.items()
    for outcome, (_, fields) in OUTCOMES.items()
    if client.wraps is not None or not fields  # a GET has no parameters of the model
]


process = shared_process(entries())
service = quiet_service(r"call\.failed .* provider=(broken|restarts) ")


@pytest.mark.promise("stream:word-by-word")
@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(("name", "outcome"), CASES)
async def test_answer_matches_its_transcript(service: Running, name: str, outcome: str) -> None:
    provider, fields = OUTCOMES[outcome]
    client = CLIENTS[name]
    answer = await answered(service.port, client.request(provider, **fields))
    transcript = f"serve/{client.transcript}-{outcome}"
    assert_is_transcript(bytes(answer.raw), transcript, is_whole=answer.is_whole)


@pytest.mark.skipif(
    sys.platform != "linux", reason="/proc shows which libraries a process has loaded"
)
async def test_process_runs_on_uvloop(service: Running) -> None:
    loaded = await anyio.Path(f"/proc/{service.process.pid}/maps").read_text()
    assert "uvloop" in loaded
