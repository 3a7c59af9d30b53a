"""Limits of real workers that share a Redis server, and of which one is killed.

`LIMITED_REQUESTS=10000` asks for the full number of requests; the figures are in `docs/operate/scale.md`.
"""

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import httpx2
import openai
import pytest

from support.api_keys import KeysFile, bearer
from support.eventstream import view
from support.fleet import Place, Sections, Worker, fleet
from support.native import CREATE, QUESTION
from support.process import serve, write_config
from support.redis_servers import RedisServer

pytestmark = [pytest.mark.needs("valkey"), pytest.mark.promise("door:bounded")]

REQUESTS = int(os.environ.get("LIMITED_REQUESTS", "1200"))
AT_A_TIME = 8
"""How many requests of a principal are on their way."""

FLOOD, TOKENS, CALM = "flood", "tokens", "calm"
PER_MINUTE = 300
"""How many requests two of the principals may make."""

WORDS = 9
USED = 1 + WORDS
"""The tokens of an answer: its prompt, and its words."""

LIMITS: Mapping[str, Mapping[str, int]] = {
    FLOOD: {"requests_per_minute": PER_MINUTE},
    TOKENS: {"tokens_per_minute": PER_MINUTE * USED},
    CALM: {"requests_per_minute": 600, "max_generations": 100},
}

FAKE = {
    "kind": "fake",
    "text": "w " * (WORDS - 1) + "w",
    "words_per_second": 0,
    "first_word_seconds": 0,
    "max_generations": 10_000,
}


def keys_with_limits(path: Path, limits: Mapping[str, Mapping[str, int]]) -> dict[str, str]:
    """Write a keys file; return the key of each principal."""
    keys = KeysFile(path)
    lines = [
        line
        for name, of in limits.items()
        for line in (f"[principals.{name}]", *(f"{limit} = {most}" for limit, most in of.items()))
    ]
    keys.replace("\n".join(lines))
    return {name: keys.add(name) for name in limits}


@dataclass
class Client:
    """Sends the requests of one principal.

    Attributes:
        statuses: how many responses had each status; 0 is a connection that broke.
        began: when the first request was sent, on the monotonic clock.
        answered: when the first response arrived.
        refused: when the last request was sent that was refused.
        ended: when the last response arrived.
    """

    key: str
    statuses: Counter[int] = field(default_factory=Counter)
    began: float = 0.0
    answered: float = 0.0
    refused: float = 0.0
    ended: float = 0.0

    async def ask(self, worker: Worker) -> int:
        sent = time.monotonic()
        self.began = self.began or sent
        body = {**QUESTION, "max_tokens": WORDS}
        try:
            response = await worker.client.post(CREATE, json=body, headers=bearer(self.key))
        except httpx2.HTTPError:
            self.statuses[0] += 1
            return 0
        self.ended = time.monotonic()
        self.answered = self.answered or self.ended
        self.statuses[response.status_code] += 1
        if response.status_code == 429:
            self.refused = max(self.refused, sent)
            assert float(response.headers["retry-after"]) >= 1
        return response.status_code

    def bounds(self, most: int) -> tuple[float, float]:
        """Return how many requests a limit per minute has admitted, at least and at most.

        The first one was admitted between `began` and `answered`. At the last refusal, which was decided after
        `refused`, all was used but less than one request.
        """
        least = most * (1 + (self.refused - self.answered) / 60) - 1
        return least, most * (1 + (self.ended - self.began) / 60)


async def flood(client: Client, workers: Sequence[Worker], requests: int) -> None:
    """Send requests as fast as they are answered, to the workers in turn."""
    left = requests

    async def send(number: int) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            open_ones = [it for it in workers if it.is_open]
            await client.ask(open_ones[(left + number) % len(open_ones)])

    async with anyio.create_task_group() as tasks:
        for number in range(AT_A_TIME):
            tasks.start_soon(send, number)


async def stay_calm(client: Client, workers: Sequence[Worker], done: anyio.Event) -> None:
    """Send requests now and then, fewer than the limit allows, until the others are done."""
    number = 0
    while not done.is_set():
        number += 1
        open_ones = [it for it in workers if it.is_open]
        await client.ask(open_ones[number % len(open_ones)])
        with anyio.move_on_after(0.1):
            await done.wait()


@pytest.mark.long
async def test_limits_are_exact_while_a_worker_is_killed(
    valkey: RedisServer, tmp_path: Path, key_prefix: str
) -> None:
    """None exceeds its limit or gets less than it, and a flood of refusals delays nobody else."""
    keys = keys_with_limits(tmp_path / "keys.toml", LIMITS)
    sections: Sections = {
        "server": {"drain_seconds": 0},
        "auth": {"keys_file": str(tmp_path / "keys.toml")},
        "log": {"prefix": key_prefix, "lease_seconds": 1.0},
        "generations": {"keep_finished_seconds": 1, "keep_abandoned_seconds": 1},
        "limits": {"max_generations": 10_000},
        "providers.fake": FAKE,
    }
    clients = {name: Client(key) for name, key in keys.items()}
    async with fleet(tmp_path, [Place(redis_url=valkey.url)] * 2, sections) as workers:
        is_done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stay_calm, clients[CALM], workers, is_done)
            for phase in (1, 2):
                async with anyio.create_task_group() as floods:
                    for name in (FLOOD, TOKENS):
                        floods.start_soon(flood, clients[name], workers, REQUESTS // 4)
                    if phase == 2:
                        await anyio.sleep(0.1)
                        workers[0].kill()
            is_done.set()
    report(clients)
    for name in (FLOOD, TOKENS):
        client = clients[name]
        lost, admitted = client.statuses[0], client.statuses[201]
        assert client.statuses.keys() <= {0, 201, 429}
        assert lost <= AT_A_TIME
        least, most = client.bounds(PER_MINUTE)
        assert admitted <= most
        assert admitted + lost >= least
    calm = clients[CALM]
    assert calm.statuses.keys() <= {0, 201}
    assert calm.statuses[0] <= 1


def report(clients: Mapping[str, Client]) -> None:
    """Print the figures, for a run with `-s`."""
    for name, client in clients.items():
        seconds = client.ended - client.began
        print(f"{name}: {dict(client.statuses)} in {seconds:.1f} s")


async def test_what_a_killed_worker_ran_keeps_its_lease_until_it_ends(
    valkey: RedisServer, tmp_path: Path, key_prefix: str
) -> None:
    """Another worker takes it over, lease and all; what has no viewers is stopped and frees its lease."""
    keys = keys_with_limits(tmp_path / "keys.toml", {"one": {"max_generations": 1}})
    own = bearer(keys["one"])
    sections: Sections = {
        "server": {"drain_seconds": 0},
        "auth": {"keys_file": str(tmp_path / "keys.toml")},
        "log": {"prefix": key_prefix, "lease_seconds": 1.0},
        "providers.fake": {**FAKE, "text": "w " * 1000, "words_per_second": 20},
    }
    with anyio.fail_after(60):
        async with fleet(tmp_path, [Place(redis_url=valkey.url)] * 2, sections) as workers:
            dying, living = workers
            created = await dying.client.post(CREATE, json=QUESTION, headers=own)
            address = created.headers["location"]
            async with view(living.port, f"{address}/events", headers=own) as viewer:
                while (await viewer.event()).type != "message":
                    pass
                dying.kill()
                while (await viewer.event()).type != "status":
                    pass  # it goes on here
                await anyio.sleep(3)  # longer than the lease
                refused = await living.client.post(CREATE, json=QUESTION, headers=own)
                assert refused.status_code == 429
                assert (await living.client.post(f"{address}/stop", headers=own)).is_success
            again = await living.client.post(CREATE, json=QUESTION, headers=own)
            if again.status_code == 429:  # the end of the first one is on its way to the store
                await anyio.sleep(float(again.headers["retry-after"]))
                again = await living.client.post(CREATE, json=QUESTION, headers=own)
            assert again.status_code == 201


async def test_openai_sdk_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    """It retries once, and succeeds."""
    sections: Sections = {"principal_limits": {"requests_per_minute": 20}, "providers.fake": FAKE}
    write_config(tmp_path, sections)
    async with serve(tmp_path, {}) as service:
        url = f"http://127.0.0.1:{service.port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0) as sdk:
            with anyio.fail_after(60):
                with pytest.raises(openai.RateLimitError) as caught:
                    await asked_until_it_fails(sdk)
                assert caught.value.code == "rate_limit_exceeded"
                wait = float(caught.value.response.headers["retry-after"])
                assert 1 <= wait <= 3
                answer = await asked(sdk.with_options(max_retries=1))
        assert answer == FAKE["text"]
        service.assert_quiet()


async def asked(sdk: openai.AsyncOpenAI) -> str | None:
    answer = await sdk.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "hi"}]
    )
    return answer.choices[0].message.content


async def asked_until_it_fails(sdk: openai.AsyncOpenAI) -> None:
    while True:
        await asked(sdk)
