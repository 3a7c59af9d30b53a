"""The clock of a server, as a probe reads it from `Date`."""

import pytest

from streamsvc.providers.http.probe import _ahead


@pytest.mark.parametrize("date", ["", "soon", "Fri, 99 Nov 2026 03:00:00 GMT"])
def test_text_that_is_not_a_date_says_nothing(date: str) -> None:
    assert _ahead(date) is None


@pytest.mark.parametrize("zone", ["GMT", ""])
def test_date_of_long_ago_is_far_behind(zone: str) -> None:
    ahead = _ahead(f"Fri, 27 Nov 2020 03:00:00 {zone}".strip())
    assert ahead is not None
    assert ahead < -86_400
