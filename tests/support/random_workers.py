"""Two workers behind a load balancer that sends every connection to a random one of them."""

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from support.fleet import Place, Worker, fleet
from support.redis_servers import RedisServer
from support.upstreams import Upstream, paced, upstream

TEXT = " ".join(f"word{number}" for number in range(40)) + " 😀\r\n\u2028 done."
"""What the entry `fake` answers."""


@dataclass(frozen=True)
class Pair:
    """Two workers, and the model's API that both call as `paced`."""

    workers: Sequence[Worker]
    api: Upstream

    def ports(self, seed: int) -> Iterator[int]:
        """Yield the port of a random worker for each connection, of those that a load balancer would use."""
        draw = random.Random(seed)  # noqa: S311  # repeatable
        while True:
            yield draw.choice([worker.port for worker in self.workers if worker.is_open])

    @property
    def ended(self) -> int:
        """How many answers have ended."""
        return sum(worker.output.count("generation.finished") for worker in self.workers)

    async def until_ended(self, count: int) -> None:
        """Wait until so many answers have ended."""
        with anyio.fail_after(10):
            while self.ended < count:  # noqa: ASYNC110  # in the output of either process
                await anyio.sleep(0.05)


@asynccontextmanager
async def pair_on(
    server: RedisServer, prefix: str, directory: Path, *, words_per_second: float = 30
) -> AsyncIterator[Pair]:
    """Run two workers.

    Args:
        server: what they share.
        prefix: of their keys.
        directory: their working directories are made here.
        words_per_second: of the entry `fake`.
    """
    fake = {"kind": "fake", "reply": "text", "text": TEXT, "words_per_second": words_per_second}
    async with upstream(paced(0.05)) as api:
        sections: dict[str, dict[str, object]] = {
            "providers.fake": {**fake, "first_word_seconds": 0.1},
            "providers.paced": {
                "kind": "openai", "model": "m", "api_key_env": "", "base_url": api.url,
            },
            "cors": {"origins": ["*"]},
            "stream": {"retry_ms": 500},
            "generations": {"grace_seconds": 5},
            "log": {"prefix": prefix, "lease_seconds": 1.5},
        }  # fmt: skip
        async with fleet(directory, [Place(redis_url=server.url)] * 2, sections) as workers:
            yield Pair(workers, api)
