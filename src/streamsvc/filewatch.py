"""Notices that a file has been written or replaced.

It polls: network file systems and the mounts of containers report no changes.
"""

from pathlib import Path

POLL_SECONDS = 0.4
"""How often the file is looked at. A key has to stop working within a second after it was removed."""

SETTLE_SECONDS = 0.1
"""How long a file must stay as it is before it counts as changed: an editor may empty a file before it writes it."""


class FileWatch:
    """Watches one file. The caller looks, in a thread if the file may be on another machine.

    Args:
        path: of the file; it may be missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._seen = _signature(path)

    @property
    def seconds(self) -> float:
        """When to look again."""
        return POLL_SECONDS if self._seen == self._known else SETTLE_SECONDS

    def look(self) -> bool:
        """Return whether the file is different from when this last returned True, and the same as at the last look."""
        before, self._seen = self._seen, _signature(self._path)
        if self._seen != before or self._seen == self._known:
            return False
        self._known = self._seen
        return True


def _signature(path: Path) -> tuple[int, ...] | None:
    """Return what changes whenever a file is written or replaced, also by a link to another; None if it is missing."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
