"""Reads the settings again while the service runs, and applies them; in a service of one process, or in a worker."""

import logging

import anyio
import anyio.to_thread

from streamsvc.app import Service
from streamsvc.config.changes import change_to
from streamsvc.config.load import Source
from streamsvc.errors import ConfigError
from streamsvc.filewatch import FileWatch
from streamsvc.log_line import log
from streamsvc.server.changes import log_applied, log_refused, log_waiting
from streamsvc.traces import fields_of

logger = logging.getLogger(__name__)


class Reload:
    """Applies the settings again whenever it is asked to, one time after another.

    Args:
        service: runs on settings.
        source: where they come from.
        is_worker: whether the supervisor watches the file, and says what needs a restart.
    """

    def __init__(self, service: Service, source: Source, *, is_worker: bool) -> None:
        self._service = service
        self._source = source
        self._is_worker = is_worker
        self._asked = anyio.Event()
        is_watched = service.settings.server.watch_config and not is_worker
        self._watch = FileWatch(source.path) if is_watched and source.path else None

    def ask(self) -> None:
        """Ask for a reload. If one is running, another one follows."""
        self._asked.set()

    async def run(self) -> None:
        """Reload when asked; runs until it is cancelled."""
        async with anyio.create_task_group() as tasks:
            if self._watch is not None:
                tasks.start_soon(self._watch_file, self._watch)
            while True:
                await self._asked.wait()
                self._asked = anyio.Event()
                await self._reload()

    async def _watch_file(self, watch: FileWatch) -> None:
        while True:
            await anyio.sleep(watch.seconds)
            if await anyio.to_thread.run_sync(watch.look, abandon_on_cancel=True):
                self.ask()

    async def _reload(self) -> None:
        """Read the settings in a thread, because the file may be on another machine, and apply them."""
        try:
            wanted = await anyio.to_thread.run_sync(self._source.load, abandon_on_cancel=True)
            change = change_to(self._service.settings, wanted)
            if change.applied:
                await self._service.reload(change.settings)
        except ConfigError as exc:
            log_refused(exc)
        except Exception as exc:  # noqa: BLE001  # a bug of ours must not end the answers
            note = "what was running stays"
            log(logger, logging.ERROR, "settings.crashed", note, **fields_of(exc))
        else:
            log_applied(change)
            if not self._is_worker:
                log_waiting(change, has_workers=False)
