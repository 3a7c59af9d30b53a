"""Every setting, its type, its bounds and its default; values only, frozen.

`config.toml` explains each key to operators and states the same defaults; a test compares the two. `load` turns
the file and the environment into a `Settings`. Seconds are floats; sizes are bytes unless the name says otherwise.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from typing_extensions import override

from streamsvc.script import Script

Seconds = Annotated[float, Meta(ge=0)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of `config.toml`: frozen, and without unknown keys."""


class ServerSettings(Section, frozen=True):
    """Where to listen, and how to shut down.

    Attributes:
        workers: how many processes share the connections.
        hosts: host names that clients may use besides the loopback ones, if `host` is a loopback address.
        root_path: the path under which a proxy publishes the service, if the proxy strips it.
        request_seconds: how long a request may take to arrive, headers and body together.
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
    """How many generations, viewers and connections at once, and how large a request.

    Attributes:
        max_total_body_bytes: the maximum size of all bodies together that are being read.
        max_images: the maximum number of images and files in a request.
        max_image_bytes: the maximum size of an image, decoded.
        max_file_bytes: the maximum size of a file, decoded.
        max_total_data_bytes: the maximum size of the images and files of all running answers together, in base64.
    """

    max_generations: Count = 1000
    max_viewers: Count = 5000
    max_connections: Count = 10_000
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


class AISDKSettings(Section, frozen=True):
    """The endpoints for the AI SDK.

    Attributes:
        grace_seconds: how long a disconnected `useChat` may take to return.
    """

    grace_seconds: Seconds = 30.0


class PlaygroundSettings(Section, frozen=True):
    """The page at `/`."""

    enabled: bool = True


ParameterName = Literal[
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "logit_bias",
    "max_tokens",
    "stop",
    "seed",
    "logprobs",
    "top_logprobs",
    "reasoning_effort",
    "verbosity",
    "response_format",
    "prediction",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
    "store",
    "extra_body",
    "name",
    "image_url",
    "https_image_url",
    "detail",
    "file",
]
"""The parameters of a request, and the kinds of content that not every API takes; `providers.parameters` says what
becomes of each."""


class ProviderSection(Section, frozen=True):
    """The keys common to every kind of provider entry.

    Attributes:
        first_token_seconds: from the request to the first text or reasoning, all attempts together; 0 means the
            default of `first_token_bound`.
        idle_seconds: between two tokens; 0 means the default of `idle_bound`.
        total_seconds: from the request to the end of the answer.
        max_generations: how many answers may run at once on this entry.
        fallbacks: the entries to call, in this order, when this one fails.
        attempts: how many times the entry may be called for one answer.
        backoff_seconds: the wait before the first retry; doubled for each further one.
        max_backoff_seconds: the longest wait; if there is a fallback, also for `Retry-After`.
        circuit_failures: how many consecutive failures open the entry's circuit; 0 switches it off.
        circuit_seconds: how long an open circuit waits before one call tests the provider.
        params_unsupported: whether a request with a parameter that the provider's API lacks is refused, or the
            parameter is dropped.
        params_lacked: parameters that this entry lacks although its API has them.
        allow_extra_body: whether a request may have fields that streamsvc does not know, for the provider.
    """

    first_token_seconds: Seconds = 0.0
    idle_seconds: Seconds = 0.0
    total_seconds: PositiveSeconds = 1800.0
    max_generations: Count = 1000
    fallbacks: tuple[str, ...] = ()
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    backoff_seconds: PositiveSeconds = 0.5
    max_backoff_seconds: PositiveSeconds = 8.0
    circuit_failures: Annotated[int, Meta(ge=0)] = 5
    circuit_seconds: PositiveSeconds = 15.0
    params_unsupported: Literal["refuse", "drop"] = "refuse"
    params_lacked: tuple[ParameterName, ...] = ()
    allow_extra_body: bool = False

    @property
    def kind(self) -> str:
        """The entry's `kind` in `config.toml`, defined once: as the tag of its class."""
        return str(self.__struct_config__.tag)

    def key(self, environ: Mapping[str, str]) -> str | None:  # noqa: ARG002  # no variable holds it
        """Return the provider's key; "" if the entry needs none, None if it is not set.

        Args:
            environ: the process's environment, which holds the keys.
        """
        return ""

    @property
    def first_token_bound(self) -> float:
        """The effective first-token deadline: as set, or a default that is longer if there is no fallback."""
        return self.first_token_seconds or (45.0 if self.fallbacks else 120.0)

    @property
    def idle_bound(self) -> float:
        """The effective deadline between two tokens, chosen in the same way."""
        return self.idle_seconds or (30.0 if self.fallbacks else 60.0)

    @property
    def first_token_silence(self) -> float:
        """A call that breaks before its first token, after at least this much silence, counts as timed out."""
        return self.first_token_bound / 2

    @property
    def idle_silence(self) -> float:
        """The same for a call that breaks after its first token."""
        return self.idle_bound / 2


FaultName = Literal[
    "none",
    "rate_limit_once",
    "rate_limit",
    "error_once",
    "unavailable",
    "reset",
    "silent",
    "slow",
    "cut_once",
    "cut",
    "restart",
    "stall",
    "garbage",
    "context_length",
    "prompt_blocked",
    "content_filter",
    "auth",
    "model_not_found",
    "flapping",
    "tool_index_zero",
    "tool_index_missing",
    "tool_id_late",
    "tool_id_missing",
    "tool_whole",
    "tool_object",
    "tool_finish_stop",
    "tool_name_repeated",
]
"""The faults of the fake provider; `providers.fake.faults` says what each one does."""


class FakeSettings(ProviderSection, frozen=True, tag_field="kind", tag="fake"):
    """Words without a model: no key, no network, the same answer every time.

    Attributes:
        model: the model name that viewers see.
        reply: `auto` answers with `text`, but with a code block if asked about code, and at length
            if asked to explain; `text` always answers with `text`; `echo` repeats the last user message.
        text: the answer.
        reasoning: reasoning that is streamed first, if not empty.
        words_per_second: the speed; 0 is as fast as possible.
        first_word_seconds: silence before the first word.
        jitter: the fraction, 0 to 1, by which each gap may vary.
        seed: the seed of the jitter; a request's own seed overrides it.
        fault: how the provider fails.
        fault_after_words: after how many words an answer fails.
        fault_seconds: the delay of `slow`, and the length of each phase of `flapping`.
        script: the answers to the successive turns of each conversation, instead of `reply`.
        allow_faults: whether a request may choose the fault, or bring a script.
    """

    model: Name = "words"
    reply: Literal["auto", "text", "echo"] = "auto"
    text: str = "FastAPI is the future of AI development."
    reasoning: str = ""
    words_per_second: Seconds = 12.0
    first_word_seconds: Seconds = 0.3
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.0
    seed: int = 0
    fault: FaultName = "none"
    fault_after_words: Count = 3
    fault_seconds: PositiveSeconds = 20.0
    script: Script = ()
    allow_faults: bool = False


class UpstreamSection(ProviderSection, frozen=True, kw_only=True):
    """The additional keys of a provider that is reached over HTTP.

    Attributes:
        model: as the provider's API names it.
        api_key_env: the environment variable that holds the key; empty if none is needed.
        base_url: the API's base URL; Gemini's may end in an API version, which is `v1` otherwise.
        connect_seconds: how long connecting may take: name resolution, TCP and TLS.
        max_line_bytes: limit on a line of the upstream's event stream, and on an answer that is one JSON document.
        extra_body: further fields of the request's body; a field of the same name in a request takes precedence.
    """

    default_base_url: ClassVar[str]
    own_fields: ClassVar[frozenset[str]]
    """The fields of the request's body that the service sends itself."""

    model: Name
    api_key_env: str = ""
    base_url: str = ""
    connect_seconds: PositiveSeconds = 5.0
    max_line_bytes: Annotated[int, Meta(ge=1024)] = 4_194_304
    extra_body: dict[str, Any] = {}

    @override
    def key(self, environ: Mapping[str, str]) -> str | None:
        if not self.api_key_env:
            return ""
        # Stripped, because a mounted secret may end in a newline.
        return environ.get(self.api_key_env, "").strip() or None

    @property
    def url(self) -> str:
        """The API's base URL: `base_url`, or the vendor's own."""
        return self.base_url or self.default_base_url


class OpenAISettings(UpstreamSection, frozen=True, kw_only=True, tag_field="kind", tag="openai"):
    """OpenAI's chat completions, or any compatible server.

    Attributes:
        max_tokens_field: the request field that limits the length of an answer.
    """

    default_base_url = "https://api.openai.com/v1"
    own_fields: ClassVar = frozenset(("model", "messages", "stream", "stream_options", "n"))

    max_tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"

    @property
    def is_openais_own(self) -> bool:
        """Whether the API is OpenAI's own, in any region, and not another server's."""
        host = urlsplit(self.url).hostname or ""
        return host == "api.openai.com" or host.endswith(".api.openai.com")


class GeminiSettings(UpstreamSection, frozen=True, kw_only=True, tag_field="kind", tag="gemini"):
    """Google's Gemini API.

    Attributes:
        include_thoughts: whether to ask for thought summaries, which are streamed as reasoning.
        missing_signature: replaces a thought signature that a history lacks; empty: nothing.
    """

    default_base_url = "https://generativelanguage.googleapis.com"
    own_fields: ClassVar = frozenset(("contents", "systemInstruction", "system_instruction"))

    include_thoughts: bool = True
    missing_signature: str = "skip_thought_signature_validator"


ProviderSettings = FakeSettings | OpenAISettings | GeminiSettings
"""An entry of any kind. A new kind is a class in this union, and a package named as its tag, with the adapter in
`provider.py`."""

KINDS: Mapping[str, type[ProviderSettings]] = {
    str(section.__struct_config__.tag): section for section in get_args(ProviderSettings)
}
"""The class of each kind."""


class Settings(Section, frozen=True):
    """The whole of `config.toml`."""

    provider: Name = "fake"
    server: ServerSettings = ServerSettings()
    stream: StreamSettings = StreamSettings()
    generations: GenerationSettings = GenerationSettings()
    log: LogSettings = LogSettings()
    limits: LimitSettings = LimitSettings()
    cors: CorsSettings = CorsSettings()
    ai_sdk: AISDKSettings = AISDKSettings()
    playground: PlaygroundSettings = PlaygroundSettings()
    providers: dict[str, ProviderSettings] = msgspec.field(
        default_factory=lambda: {"fake": FakeSettings()}
    )
