"""What all deployment files say, computed from the settings."""

import json
import math
from collections.abc import Iterable, Mapping

import msgspec

from streamsvc.config.addresses import is_address, is_loopback
from streamsvc.config.check import may_be_shown
from streamsvc.config.load import Loaded
from streamsvc.config.paths import OPTIONS, PREFIX, variable_for
from streamsvc.config.provider_settings import ProviderSettings, UpstreamSection
from streamsvc.config.settings import Settings
from streamsvc.config.tracing import exports_traces
from streamsvc.server import sizing

EXAMPLE_NAME = "words.example.com"
"""Stands for the public name if the settings have none."""

SILENT_PINGS = 4
"""How many keepalives may be missing before a proxy gives a stream up."""

KEPT_SECONDS = 4
"""How long a proxy keeps an idle connection to the service, which closes its own after 5 s (uvicorn)."""

_MIB = 1024 * 1024
_HEALTH = (
    "import os, urllib.request as r; "
    "r.urlopen('http://127.0.0.1:' + os.environ.get('STREAMSVC_SERVER__PORT', '{port}') + '/healthz', timeout=3)"
)


class Plan(msgspec.Struct, frozen=True):
    """What is deployed.

    Attributes:
        settings: the whole configuration.
        variables: what the environment says about the service and its traces, by the names of variables; no secrets.
        has_file: whether the others come from a file, which has to be where the service runs.
    """

    settings: Settings
    variables: Mapping[str, str] = {}
    has_file: bool = False

    @property
    def port(self) -> int:
        """The port to listen on."""
        return self.settings.server.port or 8000

    @property
    def names(self) -> tuple[str, ...]:
        """The public names, for a proxy; one that is an example if there is none."""
        hosts = (it for it in self.settings.server.hosts if it != "*" and not it.startswith("*."))
        names = (it for it in hosts if not is_loopback(it) and not is_address(it.strip("[]")))
        return tuple(names) or (EXAMPLE_NAME,)

    @property
    def is_shared(self) -> bool:
        """Whether several processes share their answers in Redis."""
        return self.settings.log.kind == "redis"

    @property
    def is_guarded(self) -> bool:
        """Whether the service asks for keys or tokens."""
        return bool(self.settings.auth.keys_file or self.settings.jwt.issuer)

    @property
    def stop_seconds(self) -> int:
        """The time from SIGTERM to the end of the process, at most."""
        return sizing.stop_seconds(self.settings)

    @property
    def grace_seconds(self) -> int:
        """The same, with the time before SIGTERM in which load balancers learn of it."""
        return sizing.PRE_STOP_SECONDS + self.stop_seconds

    @property
    def descriptors(self) -> int:
        """How many files a process may have open."""
        return sizing.descriptors_needed(self.settings.limits)

    @property
    def memory_mib(self) -> int:
        """The limit of the memory of all workers, in MiB."""
        return math.ceil(sizing.memory_bytes(self.settings) / _MIB)

    @property
    def silence_seconds(self) -> int:
        """How long an answer may be silent before a proxy gives it up.

        Event streams have keepalives. Plain text has none, so it may be silent until the deadlines of the provider.
        """
        entries = self.settings.providers
        pings = SILENT_PINGS * self.settings.stream.ping_seconds
        deadlines = [
            sum(entries[it].first_token_bound for it in (name, *entry.fallbacks)) + entry.idle_bound
            for name, entry in entries.items()
        ]
        return math.ceil(max(pings, *deadlines)) + KEPT_SECONDS

    @property
    def whole_seconds(self) -> int:
        """How long an answer in one piece may take, which is silent until its end."""
        entries = self.settings.providers.values()
        return math.ceil(max(entry.total_seconds for entry in entries)) + KEPT_SECONDS

    @property
    def key_variables(self) -> tuple[str, ...]:
        """The variables with the keys that are needed: of the default entry and its fallbacks, and of the metrics."""
        settings = self.settings
        names = [it.api_key_env for it in self._route if isinstance(it, UpstreamSection)]
        names += [settings.metrics.key_env] if settings.metrics.access == "key" else []
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def extras(self) -> tuple[str, ...]:
        """The extras of `streamsvc` that are needed: for the default entry and its fallbacks, and for the other settings."""
        wanted = {
            "jwt": bool(self.settings.jwt.issuer),
            "otel": exports_traces(self.variables),
            "redis": self.is_shared,
        }
        wanted |= {entry.extra: True for entry in self._route if entry.extra}
        return tuple(sorted(extra for extra, is_wanted in wanted.items() if is_wanted))

    @property
    def _route(self) -> tuple[ProviderSettings, ...]:
        providers = self.settings.providers
        default = providers[self.settings.provider]
        return default, *(providers[it] for it in default.fallbacks)

    @property
    def needed(self) -> tuple[str, ...]:
        """Those of them that may be shown: someone may have put a key itself in the place of its variable."""
        return tuple(filter(may_be_shown, self.key_variables))

    @property
    def healthy(self) -> tuple[str, ...]:
        """A command for the machine of the service that succeeds if the process is alive; slim images have no curl."""
        return "python", "-c", _HEALTH.format(port=self.port)

    def remade(self, kind: str, settings: str) -> str:
        """Return the sentence that says when a file has to be made again."""
        return f"Made by `streamsvc deploy {kind}`. Make it again when one of these settings changes: {settings}."

    def in_container(self, access: Mapping[str, str]) -> Mapping[str, str]:
        """Return the variables of a container; its port is published, so the service listens on every address.

        Args:
            access: says who may use it; taken if the settings do not.
        """
        ours = {f"{PREFIX}SERVER__HOST": "0.0.0.0", f"{PREFIX}SERVER__PORT": str(self.port)}  # noqa: S104
        is_decided = self.is_guarded or self.settings.auth.allow_anonymous
        return {**self.variables, **({} if is_decided else access), **ours}


_TRACING = (
    *("OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"),
    *("OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG", "OTEL_SERVICE_NAME"),
    "OTEL_SEMCONV_STABILITY_OPT_IN",
)
"""OpenTelemetry's variables that are carried over; others, such as those with headers, may have secrets."""


def plan_of(loaded: Loaded, given: Mapping[str, str], *, has_file: bool) -> Plan:
    """Return the plan for settings, with the variables and flags that set some of them.

    Args:
        loaded: the settings and their sources.
        given: has the text of the variables and flags; the plan has only variables.
        has_file: whether there is a settings file.
    """
    ours = {
        variable_for(OPTIONS[source]) if source in OPTIONS else source: given[source]
        for key, source in loaded.sources.items()
        if source in given and not _may_be_secret(key, given[source])
    }
    tracing = {name: given[name] for name in _TRACING if "@" not in given.get(name, "@")}
    return Plan(loaded.settings, {**ours, **tracing}, has_file)


def _may_be_secret(key: str, text: str) -> bool:
    """Return whether a setting may contain a password: a URL with a user, fields for a provider's API."""
    return "@" in text or key.endswith(("url", "extra_body", "api_key_env"))


def quoted(text: str) -> str:
    """Return a string in YAML: its double-quoted scalars contain those of JSON (YAML 1.2, section 1.3)."""
    return json.dumps(text, ensure_ascii=False)


def indented(lines: Iterable[str], spaces: int) -> str:
    """Return lines, each after some spaces, for a place in a template that begins a line."""
    return "".join(f"{' ' * spaces}{line}\n" for line in lines)
