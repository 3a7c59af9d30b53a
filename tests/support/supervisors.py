"""A supervisor over scripted providers, with its log and directory in memory."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio

from streamsvc.config.settings import GenerationSettings, LimitSettings, Settings
from streamsvc.engine.admission import Limiter
from streamsvc.engine.directory.memory import MemoryDirectory
from streamsvc.engine.supervisor import Supervisor
from streamsvc.eventlog.memory import MemoryEventLog
from streamsvc.events import Done
from streamsvc.guard.limits.memory import MemoryLimiter
from streamsvc.messages import GenerationRequest, Prompt, UserMessage
from streamsvc.providers.base import Finish, Provider
from support.doubles import PROMPT, Providers, ScriptedProvider, SlowLog, Step, events_of
from support.logged import logged

STOP = Finish(reason="stop")
KEEP = 300.0
REQUEST = GenerationRequest(prompt=PROMPT, provider="fake")
OTHER_REQUEST = GenerationRequest(prompt=Prompt(messages=(UserMessage("else"),)), provider="fake")


class Bench(Supervisor):
    """A supervisor over scripted providers and a log in memory.

    Args:
        providers: by entry name; each entry runs up to *entry_room* generations.
        room: how many generations may run at once.
        log: the class of its log.
        limiter: limits what principals use; by default one without limits.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        *,
        room: int = 100,
        entry_room: int = 100,
        log: type[MemoryEventLog] = SlowLog,
        limiter: Limiter | None = None,
    ) -> None:
        registry = Providers(providers, max_generations=entry_room)
        settings = Settings(
            generations=GenerationSettings(keep_finished_seconds=KEEP, keep_abandoned_seconds=KEEP),
            limits=LimitSettings(max_generations=room, max_viewers=3),
            providers=dict(registry.entries),
        )
        self.log = log(settings.generations)
        self.directory = MemoryDirectory(self.log, settings)
        self.hooks = logged()
        super().__init__(
            providers=registry,
            log=self.log,
            directory=self.directory,
            limiter=limiter or MemoryLimiter(settings.limits),
            settings=settings,
            hooks=self.hooks,
        )

    async def done(self, generation_id: str) -> Done:
        """Return the `Done` of a generation, once it is there."""
        done = (await events_of(self.log, generation_id))[-1]
        assert isinstance(done, Done)
        return done


@asynccontextmanager
async def supervising(*script: Step, room: int = 100) -> AsyncIterator[Bench]:
    """Run a supervisor whose only provider, `fake`, plays the script, and sweep its log."""
    with anyio.fail_after(10_000):
        async with (
            Bench({"fake": ScriptedProvider(*script)}, room=room) as bench,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(bench.log.sweep)
            yield bench
            tasks.cancel_scope.cancel()
