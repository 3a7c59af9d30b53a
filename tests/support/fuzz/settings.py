"""The service that is fuzzed: keys for two principals, small limits, answers at once, and faults on demand."""

from collections.abc import Mapping
from pathlib import Path

from support.api_keys import KeysFile
from support.process import FAKE, write_config

PRINCIPALS = ("team-a", "team-b")
SETTINGS: Mapping[str, str] = {"SERVER__LOG_LEVEL": "error"}


def configure(directory: Path) -> tuple[str, ...]:
    """Write a `config.toml`; return the API keys that it accepts."""
    write_config(
        directory,
        {
            "limits": {"max_body_bytes": 50_000, "max_prompt_chars": 10_000},
            "generations": {
                "keep_finished_seconds": 2,
                "keep_abandoned_seconds": 1,
                "attach_seconds": 1,
                "max_grace_seconds": 1,
            },
            "server": {"request_seconds": 5},
            "auth": {"keys_file": "keys.toml", "ticket_seconds": 2},
            "principal_limits": {
                "requests_per_minute": 1_000_000,
                "tokens_per_minute": 100_000_000,
                "max_generations": 20,
                "max_viewers": 20,
            },
            "providers.fake": {
                **FAKE,
                "allow_faults": True,
                "fault_seconds": 0.05,
                "backoff_seconds": 0.01,
                "first_token_seconds": 0.3,
                "idle_seconds": 0.3,
                "total_seconds": 1,
            },
            "providers.keyless": {"kind": "openai", "model": "m", "api_key_env": "NO_SUCH_KEY"},
        },
    )
    keys = KeysFile(directory / "keys.toml")
    return tuple(keys.add(name) for name in PRINCIPALS)
