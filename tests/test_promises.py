"""Every promise has a test, and every test of a promise cites one."""

import pytest

from conftest import CITED
from support.promises import PLANNED, PROMISES


def test_every_promise_has_a_test_and_no_planned_one_has(request: pytest.FixtureRequest) -> None:
    """A planned promise that has a test is kept, and must move to `PROMISES`."""
    if request.config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        pytest.skip("only the whole suite can tell")
    cited = request.config.stash[CITED]
    assert PROMISES.keys() - cited == set()
    assert PLANNED.keys() & cited == set()
