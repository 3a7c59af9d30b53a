"""A service with planted secrets in its settings, its keys and the texts of its exceptions.

It is a process of its own. All its loggers and those of its libraries are at DEBUG, and two places crash: every call of
the fake provider, and the snapshot at a path with a planted word.
"""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from streamsvc.config.keys_file import KeyEntry
from streamsvc.guard.keys import hash_of
from streamsvc.keys.edits import added
from support.issuer import AUDIENCE, ISSUER
from support.planted import CREDENTIALS, KEYS
from support.process import Running, environment, started, write_config
from support.upstreams import Upstream

PROGRAM = """
import logging
import streamsvc.server.run as run
from streamsvc.providers.fake.provider import FakeProvider
from streamsvc.web.native import GenerationEndpoints

usual = run.log_config

def loud(*arguments):
    config = usual(*arguments)
    config["root"]["level"] = "DEBUG"
    config["loggers"] = {}
    return config

async def crash(self, prompt, emit):
    logging.getLogger("any.library").debug("crashing")
    raise RuntimeError(repr(prompt))

snapshot = GenerationEndpoints.snapshot

async def crash_too(self, request, head):
    if "planted" in request.scope["path"]:
        raise LookupError(f"{request.scope}")
    return await snapshot(self, request, head)

run.log_config = loud
FakeProvider.generate = crash
GenerationEndpoints.snapshot = crash_too

from streamsvc.cli import main
main()
"""


@asynccontextmanager
async def serving(
    directory: Path, api: Upstream, jwks_url: str, redis_url: str, collector_url: str
) -> AsyncIterator[Running]:
    """Run the service until the context is left.

    With Redis, its log is in JSON, and its spans follow the latest conventions.
    """
    jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": jwks_url}
    entry = {"kind": "openai", "model": "m", "base_url": api.url, "attempts": 2}
    fast: dict[str, object] = {"backoff_seconds": 0.01, "circuit_failures": 0}
    log: dict[str, object] = {"kind": "redis", "url": redis_url} if redis_url else {}
    sections: dict[str, Mapping[str, object]] = {
        "auth": {"keys_file": "keys.toml"},
        "jwt": {**jwt, "limits_claim": "limits"},
        "server": {
            "log_level": "debug",
            "log_format": "json" if redis_url else "text",
            "access_log": True,
            "drain_seconds": 0.0,
        },
        "generations": {"grace_seconds": 0.0},
        "providers.main": {**entry, **fast, "api_key_env": "MAIN_KEY"},
        "providers.backup": {
            "kind": "gemini",
            "model": "m",
            "base_url": api.url,
            "api_key_env": "BACKUP_KEY",
            **fast,
        },
        "providers.falling": {
            **entry,
            "base_url": "http://127.0.0.1:1",
            "api_key_env": "MAIN_KEY",
            **fast,
            "fallbacks": ["backup"],
        },
        "providers.fake": {"kind": "fake", **fast},
        "log": log,
    }
    write_config(directory, sections)
    write_keys(directory / "keys.toml")
    keys = {"MAIN_KEY": CREDENTIALS["upstream"], "BACKUP_KEY": CREDENTIALS["backup"]}
    traces = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector_url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"x-key={CREDENTIALS['collector']}",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental" if redis_url else "",
    }
    environ = environment({}, {**keys, **traces, "OPENAI_LOG": "debug"})
    command = [sys.executable, "-c", PROGRAM, "serve"]
    async with started(command, directory, environ) as running:
        yield running


def write_keys(path: Path) -> None:
    """Write a keys file with two principals, `team` and `rival`."""
    text = ""
    for name, key in KEYS.items():
        owner = "rival" if name == "rival" else "team"
        entry = KeyEntry(name, hash_of(key), datetime(2026, 1, 1, tzinfo=UTC))
        text = added(text, owner, entry)
    table = "[principals.rival]\n"
    assert table in text
    path.write_text(text.replace(table, f"{table}requests_per_minute = 1\n"))
    path.chmod(0o600)
