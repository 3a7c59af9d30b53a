"""The table of parameters, and what a prompt becomes at each kind of entry."""

from collections.abc import Mapping
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamsvc.config.provider_settings import (
    FakeSettings,
    GeminiSettings,
    OpenAISettings,
    ParameterName,
    ProviderSettings,
)
from streamsvc.messages import (
    AssistantMessage,
    ImagePart,
    Prompt,
    TextPart,
    UserMessage,
)
from streamsvc.providers.fitting import IN_MESSAGES, asked, fit
from streamsvc.providers.parameters import CONTENT, TABLE, api_of, fate_of, fates
from support.parameters import ASKING, CONTENTS, DATA, QUESTION, prompt_with

ENTRIES: Mapping[str, ProviderSettings] = {
    "fake": FakeSettings(),
    "openai": OpenAISettings(model="gpt"),
    "compatible": OpenAISettings(model="llama", base_url="http://127.0.0.1:1/v1"),
    "gemini": GeminiSettings(model="gemini-2.5-flash"),
}

BESIDE: Mapping[ParameterName, tuple[ParameterName, ...]] = {"detail": ("image_url",)}
"""What a message asks for besides."""

LACKED: Mapping[str, set[ParameterName]] = {
    "fake": {"extra_body"},
    "openai": {"top_k", "min_p", "repetition_penalty", "extra_body"},
    "compatible": {"extra_body"},
    "gemini": {
        "min_p",
        "repetition_penalty",
        "logit_bias",
        "verbosity",
        "parallel_tool_calls",
        "extra_body",
        "name",
        "detail",
        "https_image_url",
    },
}
LEFT_OUT: set[ParameterName] = {
    "prediction",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
}
"""What Gemini lacks, but may be left out without a refusal."""

NEUTRAL: Mapping[ParameterName, tuple[Any, ...]] = {
    "top_p": (1.0,),
    "min_p": (0.0,),
    "frequency_penalty": (0.0,),
    "presence_penalty": (0.0,),
    "repetition_penalty": (1.0,),
    "top_logprobs": (0,),
    "verbosity": ("medium",),
    "tool_choice": ("auto",),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto", "default"),
    "store": (False,),
}

every_entry = pytest.mark.parametrize("api", ENTRIES)
every_parameter = pytest.mark.parametrize("name", TABLE)


def test_every_parameter_of_a_prompt_has_a_row() -> None:
    of_prompt = {*Prompt.__struct_fields__} - {
        "messages",
        "system",
        "model",
        "fault",
        "script",
        "call",
        "trace",
    }
    rows = set(TABLE)
    assert rows - IN_MESSAGES == of_prompt
    assert (*TABLE,) == get_args(ParameterName)
    assert rows == ASKING.keys() | CONTENTS.keys()
    assert CONTENT < IN_MESSAGES


@every_entry
def test_entries_have_their_own_column(api: str) -> None:
    assert api_of(ENTRIES[api]) == api


@pytest.mark.parametrize(
    ("url", "api"),
    [
        ("https://api.openai.com/v1/", "openai"),
        ("https://eu.api.openai.com/v1", "openai"),
        ("https://api.openai.com.evil.test/v1", "compatible"),
        ("https://notapi.openai.community/v1", "compatible"),
        ("https://resource.openai.azure.com/openai/v1", "compatible"),
    ],
)
def test_the_address_tells_openai_from_compatible_servers(url: str, api: str) -> None:
    assert api_of(OpenAISettings(model="m", base_url=url)) == api


@every_entry
@every_parameter
def test_a_parameter_is_refused_or_dropped_where_it_is_lacked(
    api: str, name: ParameterName
) -> None:
    prompt, section = prompt_with(name), ENTRIES[api]
    dropping = msgspec.structs.replace(section, params_unsupported="drop")
    assert [*asked(prompt)] == [
        (one, ASKING.get(one, True)) for one in TABLE if one in {name, *BESIDE.get(name, ())}
    ]
    if name in LACKED[api]:
        assert fit(prompt, section) == (prompt, (name,), (), {})
        if name in CONTENT:
            assert fit(prompt, dropping).lacked == (name,)
            return
        rest, lacked, dropped, _ = fit(prompt, dropping)
        assert (lacked, dropped) == ((), (name,))
        assert name not in dict(asked(rest))
    elif api == "gemini" and name in LEFT_OUT:
        assert fit(prompt, section) == (prompt_with(), (), (name,), {})
    else:
        assert fit(prompt, section).prompt is prompt
        assert fit(prompt, section)[1:3] == ((), ())
        assert fit(prompt, dropping) == fit(prompt, section)


@every_entry
@every_parameter
def test_the_command_says_what_happens(api: str, name: ParameterName) -> None:
    section = ENTRIES[api]
    words = fates(section)[name]
    assert words.endswith("; refused") == (name in LACKED[api])
    dropping = msgspec.structs.replace(section, params_unsupported="drop")
    is_dropped = name in LACKED[api] and name not in CONTENT
    assert fates(dropping)[name].endswith("; dropped") == is_dropped
    assert words == words.strip()


@every_entry
@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in NEUTRAL.items() for value in values]
)
def test_a_value_that_changes_nothing_is_never_refused(
    api: str, name: ParameterName, value: Any
) -> None:
    prompt = Prompt(messages=(QUESTION,), **{name: value})
    section = msgspec.structs.replace(ENTRIES[api], params_lacked=(*TABLE,))
    assert fit(prompt, section) == (prompt, (), (), {})


@every_parameter
def test_settings_take_any_parameter_from_an_entry(name: ParameterName) -> None:
    section = FakeSettings(params_lacked=(name,), allow_extra_body=True)
    assert name in fit(prompt_with(name), section).lacked
    assert "params_lacked" in fates(section)[name]


@pytest.mark.parametrize(
    ("base", "parts"),
    [
        ("tools", ("tool_choice", "parallel_tool_calls")),
        ("logprobs", ("top_logprobs",)),
        ("image_url", ("https_image_url", "detail")),
    ],
)
def test_what_belongs_to_a_lacked_parameter_is_lacked_too(
    base: ParameterName, parts: tuple[ParameterName, ...]
) -> None:
    section = FakeSettings(params_lacked=(base,))
    assert {*fit(prompt_with(base, *parts), section).lacked} == {base, *parts}


def test_an_effort_becomes_the_models_nearest() -> None:
    section = ENTRIES["gemini"]
    prompt = Prompt(messages=(QUESTION,), reasoning_effort="max")
    assert fit(prompt, section) == (prompt, (), (), {"reasoning_effort": "high"})
    named = msgspec.structs.replace(prompt, model="gemini-2.5-pro")
    assert fit(named, section).adjusted == {}
    assert fit(prompt, ENTRIES["openai"]).adjusted == {}


@pytest.mark.parametrize("tier", ["flex", "priority", "standard", "auto", "default"])
def test_gemini_has_tiers_of_its_own(tier: str) -> None:
    asks = Prompt(messages=(QUESTION,), service_tier=tier)
    other = Prompt(messages=(QUESTION,), service_tier="scale")
    assert fit(asks, ENTRIES["gemini"]).lacked == ()
    assert fit(other, ENTRIES["gemini"]).lacked == ("service_tier",)
    assert fit(other, ENTRIES["openai"]).lacked == ()


def test_extra_fields_are_for_the_requested_kind_of_api() -> None:
    prompt = prompt_with("extra_body")
    section = OpenAISettings(model="m", allow_extra_body=True)
    assert fit(prompt, section, kind="openai").lacked == ()
    assert fit(prompt, section, kind="gemini").lacked == ("extra_body",)


def test_names_and_details_leave_the_rest_of_a_message() -> None:
    image = ImagePart(url=DATA, detail="high")
    prompt = Prompt(
        messages=(
            UserMessage((TextPart("What is it?"), image), name="Ada"),
            AssistantMessage("A cat.", name="Bot"),
            UserMessage("Sure?"),
        )
    )
    section = msgspec.structs.replace(ENTRIES["gemini"], params_unsupported="drop")
    rest, _, dropped, _ = fit(prompt, section)
    assert dropped == ("name", "detail")
    plain = msgspec.structs.replace(image, detail=None)
    assert rest.messages == (
        UserMessage((TextPart("What is it?"), plain)),
        AssistantMessage("A cat."),
        UserMessage("Sure?"),
    )


def test_the_limit_on_the_answer_has_the_entrys_name() -> None:
    section = OpenAISettings(model="m", max_tokens_field="max_tokens")
    assert str(fate_of("max_tokens", section)) == "sent as max_tokens"
    assert fates(ENTRIES["openai"])["max_tokens"] == "sent as max_completion_tokens"


@given(
    st.lists(st.sampled_from([*TABLE]), unique=True),
    st.sampled_from([*ENTRIES]),
    st.sampled_from(["refuse", "drop"]),
    st.lists(st.sampled_from([*TABLE]), max_size=3, unique=True),
)
def test_any_request_is_refused_or_becomes_one_that_fits(
    names: list[ParameterName], api: str, unsupported: str, lacked: list[ParameterName]
) -> None:
    """Nothing is dropped in silence, and what is left fits without a further change."""
    section = msgspec.structs.replace(
        ENTRIES[api], params_unsupported=unsupported, params_lacked=tuple(lacked)
    )
    prompt = prompt_with(*names)
    rest, refused, dropped, adjusted = fit(prompt, section)
    before, after = dict(asked(prompt)), dict(asked(rest))
    assert before.keys() - after.keys() == {*dropped}
    assert all(after[name] == before[name] for name in after)
    assert not {*refused} & {*dropped}
    assert unsupported == "refuse" or {*refused} <= CONTENT
    assert fit(rest, section) == (rest, refused, (), adjusted)
