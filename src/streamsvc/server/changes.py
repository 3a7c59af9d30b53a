"""What the log says of a reload, in one process or in the supervisor of several."""

import logging
from collections.abc import Sequence

from streamsvc.config.changes import OF_ALL_WORKERS, Change
from streamsvc.errors import ConfigError
from streamsvc.log_line import log

logger = logging.getLogger(__name__)

SHOWN = 20
"""How many names or mistakes a line has at most."""


def log_refused(exc: ConfigError) -> None:
    """Log that the settings have a mistake, so that nothing has changed."""
    mistakes = _some(str(exc).splitlines(), "; ")
    log(logger, logging.ERROR, "settings.refused", "what was running stays", mistakes=mistakes)


def log_applied(change: Change) -> None:
    """Log which settings new requests have from now on, and apply the level of the log."""
    ours = logging.getLogger("streamsvc")
    level = logging.getLevelNamesMapping()[change.settings.server.log_level.upper()]
    ours.setLevel(min(ours.level, level))  # so that this line is seen
    if change.applied:
        log(logger, logging.INFO, "settings.reloaded", changed=_some(change.applied))
    else:
        log(logger, logging.INFO, "settings.unchanged")
    ours.setLevel(level)


def log_waiting(change: Change, *, has_workers: bool) -> None:
    """Log which settings differ, but stay as they were until a restart."""
    of_all = [name for name in change.waiting if name in OF_ALL_WORKERS or not has_workers]
    others = [name for name in change.waiting if name not in of_all]
    for names, remedy in (
        (of_all, "restart the service"),
        (others, "SIGUSR2 replaces the workers"),
    ):
        if names:
            log(logger, logging.WARNING, "settings.waiting", remedy, needs_restart=_some(names))


def _some(texts: Sequence[str], between: str = ",") -> str:
    more = [f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else []
    return between.join([*texts[:SHOWN], *more])
