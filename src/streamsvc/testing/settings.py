"""Settings of a service under test, as the variables that the service reads."""

import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import streamsvc
from streamsvc.testing.script import Script

CONFIG = Path(streamsvc.__file__).with_name("config.toml")
"""The shipped settings. The file in the working directory is not read: tests do not depend on it."""

SettingsTree = Mapping[str, Any]
"""Settings as in `config.toml`: tables are mappings. A `Script` may stand for its steps."""

QUICK: Mapping[str, Any] = {
    "server": {"port": 0, "drain_seconds": 0},
    "providers": {
        "fake": {
            "words_per_second": 0,
            "first_word_seconds": 0,
            "allow_faults": True,
            "backoff_seconds": 0.01,
            "max_backoff_seconds": 0.01,
            "circuit_failures": 0,
        }
    },
}
"""What differs from the shipped settings: no waiting, no circuit that one test opens for the next, and faults and
scripts in requests."""

_ENTRY = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


def environment(settings: SettingsTree) -> dict[str, str]:
    """Return this process's environment with *settings* over `QUICK` in place of its own settings.

    Raises:
        ValueError: an entry's name cannot be part of a variable's name.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STREAMSVC_")}
    return {**clean, **dict(_variables(QUICK)), **dict(_variables(settings))}


def _variables(settings: SettingsTree) -> Iterator[tuple[str, str]]:
    for section, value in settings.items():
        if not isinstance(value, Mapping):
            yield _variable(section), _text(value)
            continue
        for key, inner in value.items():
            if section != "providers":
                yield _variable(section, key), _text(inner)
                continue
            if not _ENTRY.fullmatch(key):
                accepted = "lower-case letters, digits and single underscores"
                raise ValueError(f"the name of a provider entry has {accepted}, not {key!r}")
            for name, setting in inner.items():
                yield _variable(section, key, name), _text(setting)


def _variable(*path: str) -> str:
    return f"STREAMSVC_{'__'.join(path).upper()}"


def _text(value: object) -> str:
    if isinstance(value, Script):
        value = value.steps
    return value if isinstance(value, str) else json.dumps(value)
