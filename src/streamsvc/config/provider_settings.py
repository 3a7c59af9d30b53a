"""The settings of provider entries: what every kind has, and what each kind adds.

`settings` has all other tables, and says how they are read.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, get_args
from urllib.parse import urlsplit

from msgspec import Meta
from typing_extensions import override

from streamsvc import extras
from streamsvc.config.section import Count, Name, PositiveSeconds, Seconds, Section
from streamsvc.script import Script

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
    def extra(self) -> str:
        """The extra of `streamsvc` with the SDK that the entry needs; "" if it needs none."""
        return ""

    @property
    def has_sdk(self) -> bool:
        """Whether the SDK that the entry needs is installed."""
        return not self.extra or extras.is_installed(self.extra)

    @property
    def counts_words(self) -> bool:
        """Whether a token is a word of a prompt, and a delta of an answer, so that tokens can be counted."""
        return False

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
        reply: `auto` answers with `text`, but with a code block if asked about code, with all of Markdown
            if asked about that, and at length if asked to explain; `text` always answers with `text`; `echo` repeats the last user message.
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

    @property
    @override
    def counts_words(self) -> bool:
        return True


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
    extra_body: dict[str, Any] = {}  # noqa: RUF012  # msgspec copies an empty one

    @property
    @override
    def extra(self) -> str:
        return self.kind

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
