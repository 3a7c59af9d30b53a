"""What the log says of a reload, and that a bug in one ends nothing."""

from pathlib import Path

import anyio
import pytest

from streamsvc.app import create_app
from streamsvc.config.changes import Change
from streamsvc.config.load import Source
from streamsvc.config.settings import Settings
from streamsvc.errors import ConfigError
from streamsvc.server.changes import SHOWN, log_refused, log_waiting
from streamsvc.server.reload import Reload
from support.log_lines import logged


def test_a_line_has_a_limited_number_of_names(caplog: pytest.LogCaptureFixture) -> None:
    """Those of the supervisor need a restart of the service, others one of the workers."""
    names = [f"log.n{number}" for number in range(SHOWN + 2)]
    log_waiting(Change(Settings(), [], ["server.port", *names]), has_workers=True)
    log_refused(ConfigError("\n".join(names)))
    shown = names[:SHOWN]
    assert caplog.messages == [
        "settings.waiting needs_restart=server.port (restart the service)",
        f"settings.waiting needs_restart={','.join(shown)},and 2 more (SIGUSR2 replaces the workers)",
        f"settings.refused mistakes={'; '.join(shown)}; and 2 more (what was running stays)",
    ]


async def test_a_bug_in_a_reload_is_one_line_and_the_next_one_works(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("provider = 'fake'\n")
    source = Source(file, {})
    service = create_app(source.load(), {})
    reload = Reload(service, source, is_worker=True)

    async def broken(settings: Settings) -> None:
        raise RuntimeError(settings.provider)

    service.reload = broken  # type: ignore[method-assign]
    with logged() as log, anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(reload.run)
            file.write_text("[stream]\nping_seconds = 7\n")
            reload.ask()
            [line] = await log.wait("settings.crashed")
            assert line.startswith("settings.crashed exception=RuntimeError")
            assert line.endswith("(what was running stays)")
            file.write_text("")
            reload.ask()
            await log.wait("settings.unchanged")
            tasks.cancel_scope.cancel()
