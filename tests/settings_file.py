"""A `config.toml` for a process, from values."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FAKE: Mapping[str, Any] = {
    "kind": "fake",
    "reply": "text",
    "text": "Fine.",
    "first_word_seconds": 0.0,
    "words_per_second": 0.0,
}
"""An entry that answers at once."""


def write_settings(
    directory: Path,
    provider: str,
    entries: Mapping[str, Mapping[str, Any]],
    **tables: Mapping[str, Any],
) -> None:
    """Write the settings where `process.serve` looks for them.

    Args:
        directory: where the service runs.
        provider: the entry that is asked.
        entries: the provider entries.
        tables: the other tables.
    """
    lines = [f"provider = {json.dumps(provider)}"]
    named = {f"providers.{name}": entry for name, entry in entries.items()}
    for name, table in {**tables, **named}.items():
        lines.append(f"[{name}]")
        lines += (f"{key} = {json.dumps(value)}" for key, value in table.items())
    (directory / "config.toml").write_text("\n".join(lines) + "\n")
