"""schemathesis asks a service for everything that the OpenAPI document offers, and for what it rules out.

Each answer has a documented status, content type, headers and schema, down to the events of a stream. The service has
keys, and an operation that needs one is not answered without it.
"""

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from support.api_keys import KeysFile
from support.process import FAKE, serve, write_config

EXAMPLES = int(os.environ.get("OPENAPI_EXAMPLES", "0"))
"""How many requests each operation gets in the long run; 0: the short one."""

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance"),
    *("unsupported_method", "allow_header_conformance", "ignored_auth"),
)
ACCEPTED = ("*/*", "text/event-stream", "text/plain") if EXAMPLES else ("*/*",)
PHASES = "examples,coverage,fuzzing,stateful" if EXAMPLES else "examples,fuzzing"


@pytest.mark.long
@pytest.mark.timeout(3600 if EXAMPLES else 200)
@pytest.mark.promise("input:clear-error")
@pytest.mark.promise("door:closed")
@pytest.mark.parametrize("accept", ACCEPTED)
async def test_answers_are_as_documented(tmp_path: Path, accept: str) -> None:
    """`uv run just conformance` asks for longer."""
    key = KeysFile(tmp_path / "keys.toml").add("team-a")
    auth, limits = {"keys_file": "keys.toml"}, {"max_body_bytes": 100_000}
    write_config(tmp_path, {"providers.fake": FAKE, "auth": auth, "limits": limits})
    async with serve(tmp_path, {}) as service:
        run = await anyio.run_process(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run"),
                *(f"http://127.0.0.1:{service.port}/openapi.json", "--checks", ",".join(CHECKS)),
                *("--phases", PHASES, "--max-examples", f"{EXAMPLES or 8}", "--seed", "17"),
                *("--request-timeout", "20", "--generation-database", "none", "--warnings", "off"),
                *("--no-color", "--header", f"Accept: {accept}"),
                *("--header", f"Authorization: Bearer {key}"),
            ],
            cwd=tmp_path,
            check=False,
            stderr=subprocess.STDOUT,
        )
        print(run.stdout.decode())
        assert run.returncode == 0
        assert (await service.client.get("/healthz")).is_success
        assert await service.terminate() == 0
    service.assert_quiet()
