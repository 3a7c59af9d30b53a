"""What a worker inherits from the supervisor: descriptors, named in an environment variable.

The variable does not begin with `STREAMSVC_`, so it is not taken for a setting.
"""

import os
import socket
from collections.abc import MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from streamsvc.config.changes import change_to
from streamsvc.config.load import Source
from streamsvc.config.settings import Settings
from streamsvc.server.shares import Share, Shares
from streamsvc.server.workers.channel import Channel
from streamsvc.telemetry.place import Place

VARIABLE = "_STREAMSVC_WORKER"

SETTINGS, STARTED = "settings.toml", "started.toml"
"""The names of files in `Inheritance.directory`: the settings that were last good, and those of the last (re)start."""


class Inheritance(msgspec.Struct, frozen=True):
    """Descriptors and numbers that the supervisor gives to a worker.

    Attributes:
        number: of the worker, from 1; its replacement has the same.
        channel: the worker's end of the channel.
        shares: the memory with the number of connections of each worker.
        seats: how many counts that memory has.
        seat: which of them is the worker's.
        sockets: they listen already.
        directory: where the workers have sockets to ask each other, and the settings; "": nowhere.
        start: how many workers had been started before this one.
        workers: how many serve at a time.
    """

    number: int
    channel: int
    shares: int
    seats: int
    seat: int
    sockets: tuple[int, ...]
    directory: str = ""
    start: int = 0
    workers: int = 1

    @property
    def place(self) -> Place:
        """The place of the worker among the others."""
        return Place(self.directory, self.number, self.start, self.workers)

    @property
    def settings(self) -> str | None:
        """The text of the settings file as the supervisor has last found it good; None if nobody has kept it."""
        return self._kept(SETTINGS)

    def like_the_others(self, settings: Settings, source: Source) -> Settings:
        """Return settings with the values that the other workers keep until they are restarted.

        Otherwise a worker that replaces one that has died could have another log than the rest.

        Args:
            settings: as they were last good.
            source: where they come from.

        Raises:
            ConfigError: this version of the program does not accept those that the workers were started with.
        """
        started = self._kept(STARTED)
        return settings if started is None else change_to(source.parse(started), settings).settings

    def _kept(self, name: str) -> str | None:
        if self.directory:
            with suppress(OSError):
                return Path(self.directory, name).read_text(encoding="utf-8")
        return None

    @property
    def descriptors(self) -> Sequence[int]:
        """All descriptors."""
        return (self.channel, self.shares, *self.sockets)

    def variable(self) -> dict[str, str]:
        """Return the environment variable for the worker."""
        return {VARIABLE: msgspec.json.encode(self).decode()}

    def open_channel(self) -> Channel:
        """Return the worker's end of the channel."""
        return Channel(socket.socket(fileno=self.channel))

    def open_sockets(self) -> list[socket.socket]:
        """Return the listening sockets."""
        return [socket.socket(fileno=descriptor) for descriptor in self.sockets]

    def open_share(self) -> Share:
        """Return the worker's view of the shared counts."""
        share = Shares(self.shares, self.seats).share(self.seat)
        os.close(self.shares)
        return share


def inherit(environ: MutableMapping[str, str]) -> Inheritance | None:
    """Take the inheritance out of the environment; return None if this process is not a worker.

    Neither the variable nor the descriptors reach processes that this one starts.
    """
    text = environ.pop(VARIABLE, None)
    if text is None:
        return None
    inheritance = msgspec.json.decode(text, type=Inheritance)
    for descriptor in inheritance.descriptors:
        os.set_inheritable(descriptor, False)
    return inheritance
