"""The provider entries as the engine uses them: who is asked for whom, and who has room."""

import pytest

from streamsvc.config.settings import FakeSettings, OpenAISettings, ProviderSettings
from streamsvc.engine.entries import ProviderEntries, ProviderEntry, entry_with_free_slot
from streamsvc.errors import InvalidField, Overloaded, ProviderNotReady
from streamsvc.providers.registry import ProviderRegistry

ENTRIES: dict[str, ProviderSettings] = {
    "first": FakeSettings(fallbacks=("keyless", "second"), max_generations=1),
    "keyless": OpenAISettings(model="gpt", api_key_env="A_KEY", fallbacks=("first",)),
    "second": FakeSettings(fallbacks=("first",), max_generations=2),
}


def new_lanes(environ: dict[str, str] | None = None) -> ProviderEntries:
    return ProviderEntries(ProviderRegistry(ENTRIES, environ or {}))


def names(route: tuple[ProviderEntry, ...]) -> list[str]:
    return [entry.name for entry in route]


def test_a_route_is_the_entry_and_its_own_fallbacks_in_their_order() -> None:
    """And not those of its fallbacks: nobody is asked whom the entry does not name."""
    entries = new_lanes({"A_KEY": "sk-key"})
    assert names(entries.route("first")) == ["first", "keyless", "second"]
    assert names(entries.route("keyless")) == ["keyless", "first"]


@pytest.mark.promise("upstream:rescue")
def test_a_fallback_without_its_key_is_passed_over() -> None:
    assert names(new_lanes().route("first")) == ["first", "second"]


@pytest.mark.promise("input:clear-error")
def test_an_entry_that_cannot_be_used_has_no_route() -> None:
    """Not even to its fallbacks: whoever asks for it by name is told."""
    with pytest.raises(ProviderNotReady):
        new_lanes().route("keyless")
    with pytest.raises(InvalidField):
        new_lanes().route("fourth")


def test_every_route_leads_over_the_same_lanes() -> None:
    entries = new_lanes()
    assert entries.route("first")[1] is entries.route("second")[0]
    assert [entry.name for entry in entries] == [*ENTRIES]
    assert [entry.is_ready for entry in entries] == [True, False, True]


@pytest.mark.promise("input:clear-error")
def test_the_first_lane_with_room_is_taken_and_where_there_is_none_that_is_told() -> None:
    route = new_lanes().route("first")
    taken = []
    for _ in range(3):
        entry = entry_with_free_slot(route)
        entry.running += 1
        taken.append(entry.name)
    assert taken == ["first", "second", "second"]
    with pytest.raises(Overloaded, match=r"providers\.first\.max_generations"):
        entry_with_free_slot(route)
