"""Every dialect fulfils the contract of the `Dialect` port."""

from collections.abc import Callable, Mapping

import pytest
from dialect_conformance import CONTRACT, Check

from streamsvc.dialects.ai_sdk.frames import AISDKDialect
from streamsvc.dialects.base import Dialect
from streamsvc.dialects.native.frames import NativeDialect
from streamsvc.dialects.native.text import TextDialect
from streamsvc.dialects.openai.frames import OpenAIDialect
from streamsvc.dialects.plain.frames import PlainDialect

DIALECTS: Mapping[str, Callable[[], Dialect]] = {
    "native": NativeDialect,
    "text": TextDialect,
    "plain": PlainDialect,
    "plain-with-end": lambda: PlainDialect("e-1"),
    "openai": OpenAIDialect,
    "openai-with-usage": lambda: OpenAIDialect(include_usage=True),
    "ai-sdk": AISDKDialect,
}


@pytest.mark.promise("end:exactly-one")
@pytest.mark.promise("alive:ping")
@pytest.mark.promise("stream:word-by-word")
@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", DIALECTS)
def test_dialect_fulfils_the_contract(name: str, check: Check) -> None:
    check(DIALECTS[name]())
