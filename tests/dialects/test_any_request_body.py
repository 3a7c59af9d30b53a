"""Bodies of any shape: each is a request, or it is refused with the name of a field that is in it."""

import copy
import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamsvc.config.provider_settings import FakeSettings
from streamsvc.config.settings import GenerationSettings, LimitSettings
from streamsvc.dialects.json_body import Body
from streamsvc.dialects.native.request import NativeRequestParser
from streamsvc.dialects.openai.request import ChatCompletionParser
from streamsvc.dialects.request import RequestBuilder
from streamsvc.errors import RequestError
from support.contents import (
    HI,
    PDF,
    PNG,
    WEATHER,
    asking,
    call,
    calling,
    data_url,
    result,
    schema_format,
    tool,
)

BUILDER = RequestBuilder(
    default_provider="fake", models={}, limits=LimitSettings(), generations=GenerationSettings()
)
PARSERS: dict[str, Callable[[Body], object]] = {
    "native": NativeRequestParser(BUILDER).parse,
    "openai": ChatCompletionParser(BUILDER, {"fake": FakeSettings()}).parse,
}
SHARED: dict[str, Any] = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        asking(
            {"type": "image_url", "image_url": {"url": data_url(PNG), "detail": "low"}},
            {"type": "file", "file": {"file_data": data_url(PDF, "application/pdf")}},
        ),
        calling(call("a"), call("b", arguments='{"city": "Paris"}')),
        result("a"),
        result("b", [{"type": "text", "text": "20"}]),
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "name": "Bot"},
        {**HI, "name": "Ada"},
    ],
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 3,
    "logit_bias": {"1": 2},
    "logprobs": True,
    "top_logprobs": 2,
    "stop": ["a"],
    "reasoning_effort": "low",
    "prediction": {"type": "content", "content": "a"},
    "response_format": schema_format(
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}, "$defs": {"b": {}}}
    ),
    "tools": [WEATHER, tool("get_time")],
    "tool_choice": {"type": "function", "function": {"name": "get_time"}},
    "metadata": {"a": "b"},
    "store": False,
}
BODIES: dict[str, dict[str, Any]] = {
    "native": {**SHARED, "system": "", "provider": "fake", "extra_body": {"a": 1}},
    "openai": {
        **SHARED,
        "model": "fake",
        "stream": True,
        "stream_options": {"include_usage": True},
    },
}


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Return the paths of all values in a JSON value, itself included."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    return [path, *(place for key, inner in items for place in places(inner, (*path, key)))]


def at(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


names = st.text(st.characters(exclude_characters=".[]", exclude_categories=["Cs"]), max_size=5)
"""Without the characters that separate the steps of a path."""

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | names
    | st.sampled_from(["user", "tool", "function", "a", "auto", "data:image/png;base64,AA==", "#"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn, api: str) -> Any:
    """Return a valid body in which up to three places are different, new or missing."""
    body = copy.deepcopy(BODIES[api])
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(places(body)[1:] or [()]))
        if not path:
            return draw(values)
        parent, key = at(body, path[:-1]), path[-1]
        match draw(st.sampled_from(["change", "remove", "add", "copy"])):
            case "change":
                parent[key] = draw(values)
            case "remove":
                del parent[key]
            case "add" if isinstance(parent, dict):
                parent[draw(names)] = draw(values)
            case _:
                parent[key] = copy.deepcopy(at(body, draw(st.sampled_from(places(body)[1:]))))
    return body


def is_in(field: str, body: Any) -> bool:
    """Return whether a field is in a body; its last step may be what is missing."""
    steps = re.findall(r"\[(\d+)\]|([^.\[\]]+)|\[\.\.\.\]", field)
    for place, (number, name) in enumerate(steps):
        is_last = place == len(steps) - 1
        if not number and not name:
            return bool(body)
        try:
            body = body[int(number) if number else name]
        except (KeyError, IndexError, TypeError):
            return is_last
    return True


@pytest.mark.long
@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("api", PARSERS)
@settings(max_examples=300)
@given(data=st.data())
def test_any_change_of_a_body_is_accepted_or_refused_by_name(api: str, data: st.DataObject) -> None:
    body = data.draw(mutated(api))
    try:
        PARSERS[api](Body(msgspec.json.encode(body)))
    except RequestError as exc:
        refused = exc
    else:
        return
    if refused.field != "body":
        assert refused.field is not None
        assert is_in(refused.field, body), refused.message
    assert refused.message.endswith((".", "?"))


@pytest.mark.parametrize("api", PARSERS)
def test_body_that_is_changed_is_valid(api: str) -> None:
    """The test above would prove nothing otherwise."""
    PARSERS[api](Body(msgspec.json.encode(BODIES[api])))


@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("api", PARSERS)
@given(body=values)
@example(body={})
def test_any_json_is_refused(api: str, body: Any) -> None:
    with pytest.raises(RequestError):
        PARSERS[api](Body(msgspec.json.encode(body)))
