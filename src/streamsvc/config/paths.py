"""The path of each setting, as a key of the file and as an environment variable."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

import msgspec

from streamsvc.config.provider_settings import KINDS
from streamsvc.config.section import Section
from streamsvc.config.settings import Settings

PREFIX = "STREAMSVC_"

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "--host": ("server", "host"),
    "--port": ("server", "port"),
    "--workers": ("server", "workers"),
    "--provider": ("provider",),
    "--log-level": ("server", "log_level"),
    "--log-format": ("server", "log_format"),
    "--reload": ("server", "watch_config"),
}
"""The flags of the command line that override a setting."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+(\[\d+\])?|<name>")


def places(kind: type[Section], *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths of all keys of a table, including those of nested tables."""
    for field in msgspec.structs.fields(kind):
        place = (*path, field.name)
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from places(field.type, *place)
        elif place == ("providers",):
            for entry in KINDS.values():
                yield from places(entry, *place, "<name>")
        else:
            yield place


def dotted(path: Iterable[str]) -> str:
    """Return the path as the file's key, such as `server.port`."""
    return ".".join(name if _BARE_KEY.fullmatch(name) else repr(name) for name in path)


def default_of(path: Iterable[str]) -> str:
    """Return the default of a setting, as the file has it, but text without quotes."""
    value: object = Settings()
    for name in path:
        value = getattr(value, name)
    return str(value).lower() if isinstance(value, bool) else str(value)


def variable_for(path: Iterable[str]) -> str:
    """Return the variable of a path, such as `STREAMSVC_SERVER__PORT`."""
    return PREFIX + "__".join(path).upper()


def guess(path: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...] | None:
    """Guess which setting an unknown key means: it may be misspelt, or in the wrong table."""
    *table, name = path
    everywhere = [*places(Settings)]
    for setting in everywhere:
        if not table and name == "_".join(setting):
            return setting
    return near(path, known) or next(
        (setting for setting in everywhere if setting[-1] == name), None
    )


def near(path: tuple[str, ...], known: Iterable[str]) -> tuple[str, ...] | None:
    """Guess which key of the same table an unknown key means."""
    close = get_close_matches(path[-1], known, n=1)
    return (*path[:-1], close[0]) if close else None


def setting_for(option: str) -> tuple[str, str] | None:
    """Return the key and the variable of the setting that a command-line option means.

    Args:
        option: such as `--port`, `--server-port` or `--log-level=info`.
    """
    name = option.partition("=")[0].strip("-").replace("-", "_")
    for place in places(Settings):
        if name in {place[-1], "_".join(place)} and "<name>" not in place:
            return dotted(place), variable_for(place)
    return None
