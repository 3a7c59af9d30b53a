"""Usage is the provider's own, else an estimate, else nothing."""

import pytest

from streamsvc.events import Reasoning, Text, Usage
from streamsvc.provider_errors import ProviderTimedOut, ProviderUnavailable
from streamsvc.providers.base import Finish
from support.answers import STOP, USAGE, counted, supervising
from support.doubles import HOLD, ScriptedProvider, Step, Takes, virtual_backends

anyio_backend = virtual_backends()


@pytest.mark.promise("upstream:rescue")
@pytest.mark.parametrize(
    ("script", "usage"),
    [
        ((Text("a"), STOP), USAGE),
        ((Text("a"), Finish(reason="stop")), counted(1)),
        ((Finish(reason="stop"),), counted(0)),
        ((Text("a"), HOLD), counted(1)),
        ((Reasoning("a"), Text("b"), Text("c")), counted(2, thought=1)),
        ((Text("a" * 41),), counted(1)),
        ((ProviderUnavailable(),), None),
        ((ProviderTimedOut("connect"),), None),
        ((HOLD,), counted(0)),
    ],
)
async def test_usage_is_reported_else_estimated_else_missing(
    script: tuple[Step, ...], usage: Usage | None
) -> None:
    """It is missing only if no provider can have charged for the answer."""
    async with supervising(ScriptedProvider(*script), attempts=1) as bench:
        assert (await bench.done()).usage == usage


@pytest.mark.promise("upstream:rescue")
async def test_the_usage_of_a_failed_call_is_not_added() -> None:
    provider = Takes([Text("one "), Text("two ")], [Text("one two three"), STOP])
    async with supervising(provider) as bench:
        assert (await bench.done()).usage == USAGE
