"""Refusals, which are not retried; after those of a content filter, no other provider is called."""

from collections.abc import Iterator

from support.faults.row import (
    ANSWERED_ELSEWHERE,
    HALF,
    OTHER_TEXT,
    SAID,
    Fault,
    failed,
    filtered,
    said,
    switching,
)
from support.faults.steps import (
    BACKOFFS,
    BAD_KEY,
    BLOCKED,
    CUT,
    GOOGLES_BAD_KEY,
    MODEL_IN_400,
    NO_MODEL,
    NO_QUOTA,
    NOT_ALLOWED,
    TOO_LONG,
    TOO_LONG_EVENT,
    TOO_LONG_IN_STREAM,
)
from support.upstreams import (
    CLOSE,
    USAGE,
    finish,
    status,
)


def faults() -> Iterator[Fault]:
    refused = (
        ("context", "400: the input is longer than the model can read", TOO_LONG,
         "context_length_exceeded", "", ("openai", "gemini")),
        ("401", "401", BAD_KEY, "provider_auth", "api_key_env", ("openai", "gemini")),
        ("403", "403", NOT_ALLOWED, "provider_auth", "api_key_env", ("openai", "gemini")),
        ("400-key", "400: Gemini's code for a refused key", GOOGLES_BAD_KEY,
         "provider_auth", "api_key_env", ("gemini",)),
        ("404", "404", NO_MODEL, "provider_model_not_found", "model", ("openai", "gemini")),
        ("400-model", "400: the model is unknown", MODEL_IN_400, "provider_model_not_found", "model",
         ("openai", "gemini")),
        ("413", "413", status(413), "context_length_exceeded", "", ("openai", "gemini")),
        ("402", "402", status(402), "provider_quota", "api_key_env", ("openai", "gemini")),
        ("quota", "429: the quota is used up (`insufficient_quota`)", NO_QUOTA, "provider_quota",
         "api_key_env", ("openai", "gemini")),
        *((f"{code}", f"{code}", status(code), "provider_misconfigured", "base_url",
           ("openai", "gemini")) for code in (307, 407, 421, 424, 425)),
        ("context-in-stream", "200: the input is longer than the model can read, as an error in the stream",
         TOO_LONG_IN_STREAM, "context_length_exceeded", "", ("openai", "gemini")),
        ("context-event", "The same, as `event: error`", TOO_LONG_EVENT,
         "context_length_exceeded", "", ("openai",)),
    )  # fmt: skip
    for name, words, step, code, setting, kinds in refused:
        log = f"; the log names the entry and `{setting}`" if setting else ""
        yield Fault(
            name=f"refused-{name}",
            words=words,
            conduct=f"No retry: calls the fallback{log}.",
            primary=((step,),),
            events=(switching(code), said(OTHER_TEXT)),
            end=ANSWERED_ELSEWHERE,
            calls=(1, 1),
            setting=setting,
            kinds=kinds,
        )
        yield Fault(
            name=f"refused-{name}-alone",
            words=words,
            conduct=f"No retry: fails{log}.",
            primary=((step,),),
            fallback=None,
            events=(),
            end=failed(code),
            calls=(1, 0),
            setting=setting,
            kinds=kinds,
        )
    yield from _filters()


def _filters() -> Iterator[Fault]:
    nobody = "Calls no other provider: `incomplete`, and the reason reaches the viewer."
    yield Fault(
        name="filtered-prompt",
        words="A content filter refuses the prompt",
        conduct=nobody,
        primary=((BLOCKED,),),
        events=(),
        end=filtered(error="content_filter"),
        calls=(1, 0),
    )
    yield Fault(
        name="filtered-rescue",
        words="The connection is closed in the middle of an answer, and the next time a filter refuses the prompt",
        conduct="The text stays, and no other provider is called.",
        primary=((HALF, CLOSE), (BLOCKED,)),
        events=(said(SAID), CUT),
        end=filtered("estimated"),
        calls=(2, 0),
        gaps=BACKOFFS[:1],
    )
    yield Fault(
        name="filtered-answer",
        words="A content filter ends the answer",
        conduct=nobody,
        primary=((HALF, finish("content_filter")),),
        events=(said(SAID),),
        end=filtered(USAGE),
        calls=(1, 0),
    )
