"""One table of finish words, for every adapter."""

import pytest
from google.genai import types

from streamsvc.events import AnswerEnd
from streamsvc.provider_errors import ProviderError
from streamsvc.providers.finish_words import answer_end
from streamsvc.providers.wording import model_name

ENDS: dict[AnswerEnd, tuple[str, ...]] = {
    "stop": ("FINISH_REASON_STOP", "FinishReason.STOP", "REASON_STOP", "stop", "STOP", "Stop", "eos", "eos_token", "end", "end_turn", "stop_sequence", "COMPLETE", "eosFound"),
    "length": ("REASON_MAX_LEN", "FINISH_REASON_MAX_TOKENS", "length", "max_tokens", "MAX_TOKENS", "model_length", "maxPredictedTokensReached", "limit"),
    "content_filter": ("content_filter", "content-filter", "sensitive", "SAFETY", "refusal", "guardrail_intervened"),
    "tool_calls": ("tool_calls", "tool-calls", "tool_use", "function_call"),
    "other": ("tired", "LANGUAGE", "OTHER", "load"),
}  # fmt: skip
FAILURES = {
    "error": "upstream_error",
    "ERROR": "upstream_error",
    "MALFORMED_FUNCTION_CALL": "upstream_error",
    "network_error": "provider_unavailable",
    "abort": "provider_unavailable",
    "cancelled": "provider_unavailable",
    "insufficient_system_resource": "provider_unavailable",
    "MISSING_THOUGHT_SIGNATURE": "provider_refused",
    "PUP_LIMITED_DISABLED": "provider_auth",
}


@pytest.mark.promise("provider:swap")
@pytest.mark.parametrize(
    ("word", "end"), [(word, end) for end, its in ENDS.items() for word in its]
)
def test_finish_words_of_all_servers_are_known(word: str, end: AnswerEnd) -> None:
    assert answer_end(word) == end


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize(("word", "code"), FAILURES.items())
def test_finish_word_may_mean_a_failure(word: str, code: str) -> None:
    with pytest.raises(ProviderError) as caught:
        answer_end(word)
    assert caught.value.code == code


@pytest.mark.parametrize("word", ["", "null", "None", "not_finished"])
def test_some_finish_words_mean_the_answer_goes_on(word: str) -> None:
    assert answer_end(word) is None


def test_every_finish_reason_of_googles_sdk_is_mapped() -> None:
    """A new reason may mean a filter or a failure."""
    others = {"IMAGE_OTHER", "LANGUAGE", "NO_IMAGE", "OTHER"}
    unknown = set()
    failures = set()
    for it in types.FinishReason:
        try:
            unknown |= {it.value} if answer_end(it.value) == "other" else set()
        except ProviderError:
            failures.add(it.value)
    assert unknown == others
    assert failures == {
        "MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE",
        "PUP_LIMITED_DISABLED", "TOO_MANY_TOOL_CALLS", "UNEXPECTED_TOOL_CALL",
    }  # fmt: skip


@pytest.mark.promise("seen:never-secret")
@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        *((it, it) for it in ("gpt-5.1", "models/gemini-3:free", "accounts/x/m@v1", "/m/l.gguf")),
        *((it, None) for it in ("", None, "a prompt", "a\nb", "ä", 'say "so"', "m" * 257)),
    ],
)
def test_only_a_name_of_a_model_is_let_through(sent: str | None, shown: str | None) -> None:
    assert model_name(sent) == shown
