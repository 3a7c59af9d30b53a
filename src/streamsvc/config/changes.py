"""What a reload changes: which settings differ, by name, and which of them wait for a new process.

Every setting is in one of the two lists, by itself or with its table; `tests/config/test_changes.py` compares them with
all settings.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from streamsvc.config.paths import dotted
from streamsvc.config.section import Section
from streamsvc.config.settings import Settings

RELOADED = frozenset({
    *("provider", "providers", "stream", "cors", "ai_sdk", "playground", "principal_limits", "metrics"),
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


class Change(NamedTuple):
    """What a reload makes of other settings.

    Attributes:
        settings: what is used from now on: the other settings, except for what waits.
        applied: the names of the settings that change.
        waiting: the names of those that stay as they were until a restart.
    """

    settings: Settings
    applied: Sequence[str]
    waiting: Sequence[str]


def change_to(running: Settings, wanted: Settings, *, kept: frozenset[str] = RESTARTED) -> Change:
    """Compare the settings that are used with others.

    Args:
        running: those that are used.
        wanted: the others.
        kept: the settings and tables that wait for a restart.
    """
    places = [*differences(running, wanted)]
    waiting = [place for place in places if not kept.isdisjoint({place[0], dotted(place[:2])})]
    for table, name in waiting:
        value = getattr(getattr(running, table), name)
        changed = msgspec.structs.replace(getattr(wanted, table), **{name: value})
        wanted = msgspec.structs.replace(wanted, **{table: changed})
    applied = [place for place in places if place not in waiting]
    return Change(wanted, [*map(dotted, applied)], [*map(dotted, waiting)])
