"""The settings: mistakes, where each comes from, files that others can change, who may use the service."""

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from streamsvc import extras
from streamsvc.config.addresses import is_loopback
from streamsvc.config.changes import differences
from streamsvc.config.keys_file import read_keys
from streamsvc.config.load import Loaded
from streamsvc.config.paths import dotted
from streamsvc.config.settings import Settings
from streamsvc.doctor.findings import Finding, Findings, fail, ok, warn
from streamsvc.errors import ConfigError
from streamsvc.web.hosts import Hosts

_SHIPPED = {"uvloop": "streams cost more CPU time", "httptools": "the service does not start"}
"""Libraries that make uvicorn fast, and what is lost without them."""


def check_settings(loaded: Loaded, path: Path | None) -> Findings:
    """Check the settings, the files that they come from and name, and what must be installed for them.

    Args:
        loaded: the settings, with their mistakes.
        path: the file that they come from, if there is one.
    """
    settings = loaded.settings
    return [
        *(
            fail("settings", mistake, "correct it; config.toml explains each key")
            for mistake in loaded.mistakes
        ),
        *_sources(loaded, path),
        *_config_file(path),
        *_keys_file(settings),
        *_access(settings),
        *_libraries(settings),
    ]


def _sources(loaded: Loaded, path: Path | None) -> Iterator[Finding]:
    """Say where each setting comes from that is not as by default; never its value, which may contain a password."""
    by_source: dict[str, list[str]] = defaultdict(list)
    for key, source in loaded.sources.items():
        by_source[source].append(key)
    if path is not None:
        keys = by_source.pop(str(path), [])
        others = map(dotted, differences(Settings(), loaded.settings))
        # A table of providers that there is not by default is one difference.
        named = [it for it in others if any(f"{key}.".startswith(f"{it}.") for key in keys)]
        yield ok("settings", f"{path} sets {', '.join(named) if named else 'only defaults'}")
    for source, keys in by_source.items():
        yield ok("settings", f"{source} sets {keys[0]}")
    if not loaded.sources:
        yield ok("settings", "all are defaults")


def _config_file(path: Path | None) -> Iterator[Finding]:
    if path is not None and (found := _writable_by_others(path)):
        yield warn(
            "settings",
            f"{path} {found}",
            f"chmod go-w {path}: anyone who can write it decides where prompts go",
        )


def _keys_file(settings: Settings) -> Iterator[Finding]:
    if not settings.auth.keys_file:
        return
    path = Path(settings.auth.keys_file)
    try:
        principals = read_keys(path, settings.providers)
    except ConfigError as exc:
        for mistake in str(exc).splitlines():
            yield fail(
                "keys file", mistake, "correct it, or make keys with `streamsvc key new NAME`"
            )
        return
    keys = sum(len(principal.keys) for principal in principals.values())
    yield ok("keys file", f"{path} has {keys} keys of {len(principals)} principals")
    if not keys and not settings.jwt.issuer:
        yield warn(
            "keys file", "there is no key, so nobody may use the service", "streamsvc key new NAME"
        )
    if found := _writable_by_others(path):
        yield fail(
            "keys file",
            f"{path} {found}",
            f"chmod 600 {path}: anyone who can write it can let anybody in",
        )
    elif os.name == "posix" and path.stat().st_mode & stat.S_IROTH:
        yield warn(
            "keys file", f"{path} can be read by every user of this machine", f"chmod 600 {path}"
        )


def _writable_by_others(path: Path) -> str:
    """Return that others may write a file, in words; "" if not, or if it cannot be found out."""
    try:
        mode = path.stat().st_mode if os.name == "posix" else 0
    except OSError:
        return ""
    return "can be written by every user of this machine" if mode & stat.S_IWOTH else ""


def _access(settings: Settings) -> Iterator[Finding]:
    """Say who may use the service; what makes it refuse to start is among the mistakes."""
    server, is_guarded = settings.server, bool(settings.auth.keys_file or settings.jwt.issuer)
    who = "clients with a key or token" if is_guarded else "everybody"
    if is_loopback(server.host.strip("[]").lower()):
        yield ok("access", f"{who}, from this machine and through proxies on it")
    elif is_guarded:
        yield ok("access", f"{who}, from every machine that reaches {server.host}")
    else:
        advice = "set auth.keys_file, unless a proxy decides who may use it and nobody else reaches the port"
        yield warn("access", f"everybody who reaches {server.host}", advice)
    if Hosts(server).has_only_addresses:
        advice = "add the public name to server.hosts"
        yield warn(
            "access", "requests for a public host name get a 421: only addresses are served", advice
        )
    if "*" in settings.cors.origins and not is_guarded:
        advice = "name the origins of your pages in cors.origins"
        yield warn("access", "every web page may use the service, in any visitor's browser", advice)


def _libraries(settings: Settings) -> Iterator[Finding]:
    """Say what is installed for the settings; an extra that is missing is among the mistakes."""
    for name, lost in _SHIPPED.items():
        if find_spec(name) is None and os.name == "posix":
            yield warn("libraries", f"{name} is not installed: {lost}", f"pip install {name}")
    wanted = ["streamsvc", "uvicorn"]
    wanted += ["redis", "hiredis"] if settings.log.kind == "redis" else []
    wanted += ["joserfc"] if settings.jwt.issuer else []
    installed = [f"{name} {metadata.version(name)}" for name in wanted if find_spec(name)]
    yield ok("libraries", ", ".join(installed))
    if settings.log.kind == "redis" and find_spec("hiredis") is None:
        advice = extras.install("redis")
        yield warn("libraries", "hiredis is not installed: Redis costs more CPU time", advice)
