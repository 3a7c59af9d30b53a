"""The script builder: each method is a step, and wrong steps are refused by what is wrong."""

from typing import Any

import pytest

from streamsvc.testing import Script


def test_each_method_is_a_step() -> None:
    script = (
        Script()
        .reasoning("Hm.")
        .words("Hello")
        .refusal("No.")
        .call("get_weather", city="Paris")
        .call("ping")
        .pause(1.5)
        .pace(20)
        .usage(input_tokens=1, output_tokens=2, cached_tokens=1)
        .finish("length")
        .fail("provider_rate_limited", after=3, times=1, retry_after=2)
        .fail("upstream_cut")
        .provider_data(google={"a": 1})
        .turn()
        .step(call="f", id="x", arguments="{broken")
    )
    assert script.steps == [
        {"reasoning": "Hm."},
        {"words": "Hello"},
        {"refusal": "No."},
        {"call": "get_weather", "arguments": {"city": "Paris"}},
        {"call": "ping", "arguments": {}},
        {"pause": 1.5},
        {"pace": 20},
        {"usage": {"input_tokens": 1, "output_tokens": 2, "cached_tokens": 1}},
        {"finish": "length"},
        {"fail": "provider_rate_limited", "after": 3, "times": 1, "retry_after": 2},
        {"fail": "upstream_cut"},
        {"provider_data": {"google": {"a": 1}}},
        {"turn": "next"},
        {"call": "f", "id": "x", "arguments": "{broken"},
    ]
    assert Script(script.steps) == script


def test_script_is_a_value() -> None:
    one = Script().words("one")
    two = one.words("two")
    assert one.steps == [{"words": "one"}]
    assert one == Script([{"words": "one"}])
    assert one != two
    assert one != "one"
    assert len({one, two, Script().words("one")}) == 2
    assert repr(one) == "Script([{'words': 'one'}])"


@pytest.mark.parametrize(
    ("step", "why"),
    [
        ({"wrods": "a"}, "unknown field `wrods`"),
        ({"fail": "no"}, "Invalid enum value 'no'"),
        ({"words": "a", "pause": 1}, "not words and pause"),
        ({}, "a step has one of words"),
    ],
)
def test_wrong_step_says_what_is_wrong(step: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Script().step(**step)
    with pytest.raises(ValueError, match=why):
        Script([step])
