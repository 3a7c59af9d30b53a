"""The targets: how each is started, and how a stream is requested."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.plan import Plan

_ROOT = Path(__file__).parents[1]
_PYTHON = sys.executable


@dataclass(frozen=True)
class Target:
    """One server.

    Attributes:
        name: as it stands in the results.
        command: makes the command, of the port to serve on and the upstream's.
        environ: makes what it needs of its environment, of the upstream's port.
        path: where a stream is asked for.
        model: as this target calls the upstream's.
        is_native: whether it speaks streamsvc's own wire format, and not OpenAI's.
        uses_redis: whether its answers are in the run's Redis server.
        health: where it says that it is ready.
        key: the API key of its requests.
        missing: why it cannot be measured here, if it cannot.
    """

    name: str
    command: Callable[[int, int], list[str]]
    environ: Callable[[int], dict[str, str]] = field(default=lambda _: {})
    path: str = "/v1/chat/completions"
    model: str = "bench"
    is_native: bool = False
    uses_redis: bool = False
    health: str = "/healthz"
    key: str = ""
    missing: str | None = None

    @property
    def is_streamsvc(self) -> bool:
        """Whether it is the service of this repository."""
        return self.name.startswith("streamsvc")

    def request(self, plan: Plan, *, streams: bool = True, keeps: bool = False) -> bytes:
        """Return the request for a stream of *plan*, or for its snapshot.

        The connection ends with its answer, unless the request *keeps* it.
        """
        accept = "text/event-stream" if streams else "application/json"
        prompt = str(plan)
        body: dict[str, Any] = {"prompt": prompt}
        if not self.is_native:
            messages = [{"role": "user", "content": prompt}]
            body = {"model": self.model, "messages": messages, "stream": True}
        data = json.dumps(body).encode()
        key = f"Authorization: Bearer {self.key}\r\n" if self.key else ""
        close = "" if keeps else "Connection: close\r\n"
        return (
            f"POST {self.path} HTTP/1.1\r\nHost: localhost\r\n{key}Content-Type: application/json\r\n"
            f"Accept: {accept}\r\n{close}Content-Length: {len(data)}\r\n\r\n"
        ).encode() + data


def get(path: str) -> bytes:
    """Return a GET request; the connection ends with its answer."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n"
        "Connection: close\r\n\r\n"
    ).encode()


def _streamsvc(provider: str, log: str = "memory") -> Callable[[int], dict[str, str]]:
    def environ(upstream_port: int) -> dict[str, str]:
        settings = {
            "STREAMSVC_PROVIDER": provider,
            "STREAMSVC_LOG__KIND": log,
            "STREAMSVC_SERVER__LOG_LEVEL": "warning",
            "STREAMSVC_SERVER__DRAIN_SECONDS": "0.1",
        }
        if (
            provider == "openai"
        ):  # an entry that is ready has its SDK imported at the start, whatever is the default
            settings |= {
                "STREAMSVC_PROVIDERS__OPENAI__BASE_URL": f"http://127.0.0.1:{upstream_port}/v1",
                "STREAMSVC_PROVIDERS__OPENAI__MODEL": "bench",
                "STREAMSVC_PROVIDERS__OPENAI__API_KEY_ENV": "",
            }
        return settings

    return environ


def _serve(port: int, _upstream_port: int) -> list[str]:
    config = str(_ROOT / "src/streamsvc/config.toml")
    # The port goes through `env`, which becomes the service: what is measured starts with it.
    setting = f"STREAMSVC_SERVER__PORT={port}"
    return ["env", setting, _PYTHON, "-m", "streamsvc", "serve", "--config", config]


def _app(module: str) -> Callable[[int, int], list[str]]:
    return lambda port, upstream: [
        _PYTHON,
        "-m",
        f"bench.apps.{module}",
        str(port),
        str(upstream),
    ]


def _litellm(port: int, upstream_port: int) -> list[str]:
    params = {
        "model": "openai/bench",
        "api_base": f"http://127.0.0.1:{upstream_port}/v1",
        "api_key": "none-needed",
    }
    config = {"model_list": [{"model_name": "bench", "litellm_params": params}]}
    path = Path(tempfile.gettempdir()) / "streamsvc-bench-litellm.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    address = ["--host", "127.0.0.1", "--port", str(port)]
    return ["litellm", "--config", str(path), *address, "--num_workers", "1"]


STREAMSVC = Target(
    "streamsvc", _serve, _streamsvc("openai"), path="/v1/generations", is_native=True
)

STREAMSVC_REDIS = replace(
    STREAMSVC,
    name="streamsvc-redis",
    environ=_streamsvc("openai", log="redis"),
    uses_redis=True,
)

_ALL = (
    Target("floor", _app("floor")),
    STREAMSVC,
    STREAMSVC_REDIS,
    Target("streamsvc-openai", _serve, _streamsvc("openai"), model="openai"),
    Target("streamsvc-fake", _serve, _streamsvc("fake"), model="fake"),
    Target("naive", _app("naive")),
    Target(
        "litellm",
        _litellm,
        lambda _: {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            # It listens on the loopback only, for a moment.
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
        health="/health/liveliness",
        missing=None if shutil.which("litellm") else "no `litellm` on the PATH",
    ),
    # The upstream itself: what the load generator and the loopback cost.
    Target("direct", lambda _port, _upstream: []),
)
TARGETS: Mapping[str, Target] = {target.name: target for target in _ALL}
"""By name; `streamsvc-fake` is for start-up only."""
