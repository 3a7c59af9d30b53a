"""Every worker that shares a Redis server stops at the same time: nobody is left to take over.

Viewers are cut, without a `done` that would be a lie: the answers are stored, and go on when a worker is back.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import pytest

from support.event_source import Ledger, Page, lost_and_doubled
from support.fleet import Place, fleet
from support.redis_servers import RedisServer
from support.upstreams import Exchange, Script, finish, upstream

WORDS = [f"w{number} " for number in range(60)]

pytestmark = pytest.mark.needs("valkey")


async def speak(to: Exchange) -> None:
    """Send the words at a pace."""
    await to.send_tokens(map(to.call.wire.token, WORDS), gap_seconds=0.05)


ANSWER: Script = (speak, finish())


async def until_all(pages: Sequence[Page], holds: Callable[[Page], object]) -> None:
    """Wait until something holds for all pages."""
    for page in pages:
        while not holds(page):
            await page.wait_word()


@pytest.mark.promise("drain:no-loss")
async def test_answers_go_on_after_all_workers_were_restarted(
    tmp_path: Path, valkey: RedisServer, key_prefix: str
) -> None:
    async with upstream(*ANSWER) as api:
        entry = {"kind": "openai", "model": "m", "api_key_env": "", "base_url": f"{api.url}/v1"}
        sections = {
            "providers.model": dict[str, object](entry),
            "server": dict[str, object](drain_seconds=0.1),
            "stream": dict[str, object](retry_ms=500),
            "generations": dict[str, object](grace_seconds=30),
            "log": dict[str, object](prefix=key_prefix),
        }
        place = Place(redis_url=valkey.url)
        with anyio.fail_after(60):
            async with fleet(tmp_path / "before", [place, place], sections) as workers:
                body = {"prompt": "hi", "provider": "model"}
                created = await workers[0].client.post("/v1/generations", json=body)
                path = f"{created.headers['location']}/events"
                ledger = Ledger()
                pages = [Page(path, workers, ledger, first=worker) for worker in workers]
                async with anyio.create_task_group() as tasks:
                    for page in pages:
                        tasks.start_soon(page.show)
                    await until_all(pages, lambda page: page.words)
                    for worker in list(workers):
                        worker.terminate()
                    for worker in list(workers):
                        assert await worker.running.end() == 0
                    assert all(page.outcome == "" for page in pages)
                    assert "handed_over=1" in workers[0].output
                    async with fleet(tmp_path / "after", [place], sections) as [newcomer]:
                        workers.append(newcomer)
                        await until_all(pages, lambda page: page.outcome)
                        await newcomer.running.logged("generation.resumed")
                    tasks.cancel_scope.cancel()  # nobody is left to answer their 204
    for page in pages:
        assert page.outcome == "completed"
        assert lost_and_doubled(page.text, WORDS) == (0, 0)
    assert not ledger.doubtful
    assert len(api.calls) == 2
