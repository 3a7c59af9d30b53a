"""Promises and tests belong together."""

import pytest

from conftest import CITED
from support.promises import PLANNED, PROMISES


def test_every_promise_has_a_test_and_no_planned_one_has(request: pytest.FixtureRequest) -> None:
    """A promise without a test is a wish; a planned one with a test is kept, and should say so."""
    if request.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        pytest.skip("only the whole suite can tell")
    cited = request.config.stash[CITED]
    assert PROMISES.keys() - cited == set()
    assert PLANNED.keys() & cited == set()
