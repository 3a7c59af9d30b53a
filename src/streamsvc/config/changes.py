"""What a reload changes: which settings differ, by name, and which of them wait for a new process.

Every setting is in one of the two lists, by itself or with its table; `tests/config/test_changes.py` compares them with
all settings.
"""

from collections.abc import Iterator

import msgspec

from streamsvc.config.paths import dotted
from streamsvc.config.section import Section
from streamsvc.config.settings import Settings

RELOADED = frozenset({
    *("provider", "providers", "stream", "cors", "ai_sdk", "playground", "principal_limits"),
    *("server.hosts", "server.log_level"),
    *("generations.grace_seconds", "generations.max_grace_seconds", "generations.attach_seconds"),
    *("generations.rescue", "generations.max_calls"),
    *("limits.max_generations", "limits.max_viewers", "limits.requests_per_minute"),
    *("limits.tokens_per_minute", "limits.reserve_tokens", "limits.max_body_bytes"),
    *("limits.max_total_body_bytes", "limits.max_prompt_chars", "limits.max_images"),
    *("limits.max_image_bytes", "limits.max_file_bytes", "limits.max_total_data_bytes"),
    "auth.ticket_seconds",
})  # fmt: skip
"""What new requests have at once after a reload."""

RESTARTED = frozenset({
    *("server.host", "server.port", "server.workers", "server.root_path"),
    *("server.request_seconds", "server.drain_seconds", "server.close_seconds"),
    *("server.log_format", "server.access_log", "server.watch_config"),
    *("log", "jwt"),
    *("generations.keep_finished_seconds", "generations.keep_abandoned_seconds"),
    *("generations.keep_count", "generations.max_log_bytes", "generations.max_total_log_bytes"),
    *("limits.max_connections", "limits.max_connections_per_address"),
    *("limits.max_total_unread_bytes", "auth.keys_file", "auth.allow_anonymous"),
})  # fmt: skip
"""What a process reads once: the sockets and the logs of all answers are made with it."""

OF_ALL_WORKERS = frozenset({"server.host", "server.port", "server.workers"})
"""Those of them that are the supervisor's, if there are several workers: a new worker does not read them."""


def differences(before: Section, after: Section, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the settings that differ; of an entry that only one side has, its own path."""
    for field in msgspec.structs.fields(before):
        old, new = getattr(before, field.name), getattr(after, field.name)
        place = (*path, field.name)
        if place == ("providers",):
            for name in [*old, *(it for it in new if it not in old)]:
                yield from _of_entry(old.get(name), new.get(name), (*place, name))
        elif isinstance(old, Section):
            yield from differences(old, new, *place)
        elif old != new:
            yield place


def _of_entry(
    old: Section | None, new: Section | None, place: tuple[str, ...]
) -> Iterator[tuple[str, ...]]:
    if old is None or new is None or type(old) is not type(new):
        yield place
    else:
        yield from differences(old, new, *place)


def needs_restart(place: tuple[str, ...]) -> bool:
    """Return whether only a new process takes over a setting."""
    return not RESTARTED.isdisjoint({place[0], dotted(place[:2])})


def applicable(running: Settings, wanted: Settings) -> Settings:
    """Return the settings after a reload: those that are wanted, except for what needs a new process."""
    changes = [place for place in differences(running, wanted) if needs_restart(place)]
    for table, name in changes:
        kept = {name: getattr(getattr(running, table), name)}
        wanted = msgspec.structs.replace(
            wanted, **{table: msgspec.structs.replace(getattr(wanted, table), **kept)}
        )
    return wanted
