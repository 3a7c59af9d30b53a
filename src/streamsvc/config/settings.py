"""Every setting, its type, its bounds and its default; values only, frozen.

`config.toml` explains each key to operators and states the same defaults; a test compares the two. `load` turns
the file and the environment into a `Settings`. Seconds are floats; sizes are bytes unless the name says otherwise.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from streamsvc.config.guard_settings import AuthSettings, JWTSettings, Limit, PrincipalLimits
from streamsvc.config.provider_settings import FakeSettings, ProviderSettings
from streamsvc.config.section import Count, Name, PositiveSeconds, Seconds, Section


class ServerSettings(Section, frozen=True):
    """Where to listen, and how to shut down.

    Attributes:
        workers: how many processes share the connections.
        hosts: host names that clients may use besides the loopback ones.
        root_path: the path under which a proxy publishes the service, if the proxy strips it.
        request_seconds: how long a request may take to arrive, headers and body together.
        log_format: `json`: each line is a JSON object.
        access_log: whether each request is logged.
        watch_config: whether a changed file is applied at once, as after SIGHUP.
    """

    host: Name = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8000
    workers: Annotated[int, Meta(ge=1, le=256)] = 1
    hosts: tuple[str, ...] = ()
    root_path: str = ""
    request_seconds: PositiveSeconds = 30.0
    drain_seconds: Seconds = 10.0
    close_seconds: Count = 3
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["text", "json"] = "text"
    access_log: bool = False
    watch_config: bool = False


class StreamSettings(Section, frozen=True):
    """How a stream looks on the wire."""

    ping_seconds: PositiveSeconds = 15.0
    retry_ms: Annotated[int, Meta(ge=500, le=600_000)] = 2000
    send_timeout_seconds: PositiveSeconds = 30.0
    head_seconds: Seconds = 10.0


class GenerationSettings(Section, frozen=True):
    """How long a generation waits for viewers, and how much of it is kept.

    Attributes:
        keep_count: the maximum number of ended generations that are kept.
        max_log_bytes: limit on one generation's log; an answer that exceeds it ends.
        max_total_log_bytes: limit on all logs together; ended ones are dropped early to stay below it.
        rescue: whether an answer that breaks off is generated again.
        max_calls: how many calls to providers one answer may take.
    """

    grace_seconds: Seconds = 0.0
    max_grace_seconds: Seconds = 120.0
    attach_seconds: PositiveSeconds = 30.0
    keep_finished_seconds: Seconds = 300.0
    keep_abandoned_seconds: Seconds = 60.0
    keep_count: Count = 10_000
    max_log_bytes: Annotated[int, Meta(ge=4096)] = 16_000_000
    max_total_log_bytes: Annotated[int, Meta(ge=4096)] = 512_000_000
    rescue: bool = True
    max_calls: Count = 6


class LogSettings(Section, frozen=True):
    """Where answers are kept, and what happens when that place is lost.

    Attributes:
        kind: `memory`, for one process; `redis`, for any number of them.
        url: of the Redis or Valkey server: `redis://`, `rediss://` (TLS) or `unix://`, with user, password, database.
        prefix: begins all keys, so that several services can share a server.
        write_ms: how often new words are stored; viewers of other workers get them after that.
        read_ms: how long a worker waits between two reads for the viewers of other workers' answers.
        lease_seconds: after how long without a sign of life another worker takes over an answer.
        timeout_seconds: how long a command may take.
        on_outage: whether new answers are refused while the server cannot be used, or kept in this process.
        max_request_bytes: requests up to this size are stored, so that another worker can ask again.
    """

    kind: Literal["memory", "redis"] = "memory"
    url: str = "redis://127.0.0.1:6379/0"
    prefix: Annotated[str, Meta(min_length=1, pattern=r"^[^{}\s]+$")] = "streamsvc"
    write_ms: Annotated[int, Meta(ge=1, le=1000)] = 25
    read_ms: Annotated[int, Meta(ge=0, le=1000)] = 15
    lease_seconds: Annotated[float, Meta(ge=1, le=60)] = 4.0
    timeout_seconds: PositiveSeconds = 2.0
    on_outage: Literal["refuse", "local"] = "refuse"
    max_request_bytes: Annotated[int, Meta(ge=0)] = 1_000_000


class LimitSettings(Section, frozen=True):
    """How many generations, viewers and connections at once, how many requests, and how large they may be.

    Attributes:
        requests_per_minute: how many answers may be created by all principals together; 0 is no limit.
        tokens_per_minute: how many tokens they may have together; 0 is no limit.
        reserve_tokens: the tokens that an answer counts as at first, if its request does not limit them.
        max_connections_per_address: how many connections one public address may have; 0 is no limit.
        max_total_unread_bytes: how much of the responses may wait for clients to read it, all together.
        max_total_body_bytes: the maximum size of all bodies together that are being read.
        max_images: the maximum number of images and files in a request.
        max_image_bytes: the maximum size of an image, decoded.
        max_file_bytes: the maximum size of a file, decoded.
        max_total_data_bytes: the maximum size of the images and files of all running answers together, in base64.
    """

    max_generations: Count = 1000
    max_viewers: Count = 5000
    requests_per_minute: Limit = 0
    tokens_per_minute: Limit = 0
    reserve_tokens: Count = 1000
    max_connections: Count = 10_000
    max_connections_per_address: Limit = 256
    max_total_unread_bytes: Count = 256_000_000
    max_body_bytes: Count = 20_000_000
    max_total_body_bytes: Count = 32_000_000
    max_prompt_chars: Count = 400_000
    max_images: Count = 20
    max_image_bytes: Count = 5_000_000
    max_file_bytes: Count = 10_000_000
    max_total_data_bytes: Count = 256_000_000


class CorsSettings(Section, frozen=True):
    """Which pages from other origins may read answers."""

    origins: tuple[str, ...] = ()


class MetricsSettings(Section, frozen=True):
    """Who may read the figures at `/metrics`.

    Attributes:
        access: `loopback`: programs on this machine; `key`: clients with the key of `key_env`; `open`: everybody; `off`:
            nobody, and the path is not found.
        key_env: the environment variable with that key, which opens nothing else.
    """

    access: Literal["loopback", "key", "open", "off"] = "loopback"
    key_env: Name = "METRICS_KEY"

    def key(self, environ: Mapping[str, str]) -> str:
        """Return the key; "" if it is not set, or not asked for."""
        return environ.get(self.key_env, "").strip() if self.access == "key" else ""


class AISDKSettings(Section, frozen=True):
    """The endpoints for the AI SDK.

    Attributes:
        grace_seconds: how long a disconnected `useChat` may take to return.
    """

    grace_seconds: Seconds = 30.0


class PlaygroundSettings(Section, frozen=True):
    """The page at `/`."""

    enabled: bool = True


class Settings(Section, frozen=True):
    """The whole of `config.toml`."""

    provider: Name = "fake"
    server: ServerSettings = ServerSettings()
    stream: StreamSettings = StreamSettings()
    generations: GenerationSettings = GenerationSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    auth: AuthSettings = AuthSettings()
    jwt: JWTSettings = JWTSettings()
    principal_limits: PrincipalLimits = PrincipalLimits()
    cors: CorsSettings = CorsSettings()
    metrics: MetricsSettings = MetricsSettings()
    ai_sdk: AISDKSettings = AISDKSettings()
    playground: PlaygroundSettings = PlaygroundSettings()
    providers: dict[str, ProviderSettings] = msgspec.field(
        default_factory=lambda: {"fake": FakeSettings()}
    )
