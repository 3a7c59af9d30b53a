"""The provider entries in the engine: routes with fallbacks, and slots."""

from contextlib import ExitStack

import pytest

from streamsvc.config.provider_settings import FakeSettings, OpenAISettings, ProviderSettings
from streamsvc.engine.entries import ProviderEntries, ProviderEntry, ProviderSlot
from streamsvc.errors import InvalidField, Overloaded, ProviderNotReady
from streamsvc.providers.registry import ProviderRegistry
from support.doubles import PROMPT
from support.logged import logged

ENTRIES: dict[str, ProviderSettings] = {
    "first": FakeSettings(fallbacks=("keyless", "second"), max_generations=1),
    "keyless": OpenAISettings(model="gpt", api_key_env="A_KEY", fallbacks=("first",)),
    "second": FakeSettings(fallbacks=("first",), max_generations=2),
}


def new_entries(environ: dict[str, str] | None = None) -> ProviderEntries:
    return ProviderEntries(ProviderRegistry(ENTRIES, environ or {}), logged())


def names(route: tuple[ProviderEntry, ...]) -> list[str]:
    return [entry.name for entry in route]


def test_a_route_is_the_entry_and_its_own_fallbacks_in_order() -> None:
    """Fallbacks of a fallback are not used: the entry names every provider of its route."""
    entries = new_entries({"A_KEY": "sk-key"})
    assert names(entries.route("first", PROMPT)) == ["first", "keyless", "second"]
    assert names(entries.route("keyless", PROMPT)) == ["keyless", "first"]


@pytest.mark.promise("upstream:rescue")
def test_a_fallback_without_its_key_is_skipped() -> None:
    assert names(new_entries().route("first", PROMPT)) == ["first", "second"]


@pytest.mark.promise("input:clear-error")
def test_an_entry_that_cannot_be_used_has_no_route() -> None:
    """A request that names such an entry is refused, even if it has fallbacks."""
    with pytest.raises(ProviderNotReady):
        new_entries().route("keyless", PROMPT)
    with pytest.raises(InvalidField):
        new_entries().route("fourth", PROMPT)


def test_all_routes_share_the_same_entries() -> None:
    entries = new_entries()
    assert entries.route("first", PROMPT)[1] is entries.route("second", PROMPT)[0]
    assert [entry.name for entry in entries] == [*ENTRIES]
    assert [entry.is_ready for entry in entries] == [True, False, True]


@pytest.mark.promise("input:clear-error")
def test_a_slot_is_taken_on_the_first_entry_that_has_one() -> None:
    """If no entry has a free slot, the error names the setting of the requested entry."""
    route = new_entries().route("first", PROMPT)
    with ExitStack() as stack:
        slots = [stack.enter_context(ProviderSlot(route)) for _ in range(3)]
        assert [slot.entry.name for slot in slots] == ["first", "second", "second"]
        with pytest.raises(Overloaded, match=r"providers\.first\.max_generations"):
            stack.enter_context(ProviderSlot(route))
        assert [entry.running for entry in route] == [1, 2]
    assert [entry.running for entry in route] == [0, 0]


def test_a_slot_moves_along_and_is_given_back_where_it_is() -> None:
    first, second = new_entries().route("first", PROMPT)
    with ProviderSlot((first, second)) as slot:
        slot.move_to(first)
        assert (first.running, second.running) == (1, 0)
        slot.move_to(second)
        assert (first.running, second.running) == (0, 1)
    assert (first.running, second.running) == (0, 0)


def test_a_slot_handed_over_is_given_back_by_the_next_context() -> None:
    entry = new_entries().route("second", PROMPT)[0]
    with ProviderSlot((entry,)) as slot:
        slot.hand_over()
    assert entry.running == 1
    with slot:
        assert entry.running == 1
    assert entry.running == 0
