"""The provider entries as the engine uses them: each with its slots, its circuit and its fallbacks."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Self

from typing_extensions import override

from streamsvc.config.settings import ProviderSettings
from streamsvc.engine.circuit import Circuit
from streamsvc.errors import Overloaded
from streamsvc.providers.base import Provider
from streamsvc.providers.registry import ProviderRegistry


class ProviderEntry:
    """One provider entry.

    Args:
        name: its name in the settings.
        providers: opens its provider.

    Attributes:
        section: its settings.
        circuit: whether it may be called now.
        running: how many of its slots are taken; see `ProviderSlot`.
    """

    def __init__(self, name: str, providers: ProviderRegistry) -> None:
        self.name = name
        self.section: ProviderSettings = providers.entries[name]
        self.circuit = Circuit(
            name, failures=self.section.circuit_failures, seconds=self.section.circuit_seconds
        )
        self.running = 0
        self._providers = providers

    @property
    def is_ready(self) -> bool:
        """Whether its API key is set, or it needs none."""
        return self._providers.is_ready(self.name)

    @property
    def has_free_slot(self) -> bool:
        """Whether one more generation may use it (`max_generations`)."""
        return self.running < self.section.max_generations

    async def provider(self) -> Provider:
        """Return its provider, opened if this is its first use."""
        return await self._providers.get(self.name)


class ProviderEntries:
    """All provider entries.

    Args:
        providers: their settings and their providers.
    """

    def __init__(self, providers: ProviderRegistry) -> None:
        self._providers = providers
        self._entries = {name: ProviderEntry(name, providers) for name in providers.entries}

    def __iter__(self) -> Iterator[ProviderEntry]:
        """Iterate over them in the order of the settings."""
        return iter(self._entries.values())

    def route(self, name: str, *, fault: str = "") -> tuple[ProviderEntry, ...]:
        """Return an entry and its own fallbacks, in their order, without those whose key is missing.

        Raises:
            InvalidField: no such entry, or one that does not offer the fault.
            ProviderNotReady: the entry's own key is missing.
        """
        section = self._providers.check(name, fault=fault)
        fallbacks = (self._entries[fallback] for fallback in section.fallbacks)
        return (self._entries[name], *(entry for entry in fallbacks if entry.is_ready))


class ProviderSlot(AbstractContextManager["ProviderSlot"]):
    """The slot of one generation: taken on entering the context, given back on leaving it.

    Entering takes it on the first entry of the route that has one free. `hand_over` lets a request take
    the slot and a task give it back. (`ExitStack.pop_all` does that too, but keeps 1.7 kB for each
    stream.)

    Args:
        route: the entries that may answer, the requested one first.

    Raises:
        Overloaded: on entering, if no entry of the route has a free slot.

    Attributes:
        route: as given.
        entry: where the slot is now.
    """

    __slots__ = ("_is_handed_over", "entry", "route")

    entry: ProviderEntry

    def __init__(self, route: tuple[ProviderEntry, ...]) -> None:
        self.route = route
        self._is_handed_over = False

    @override
    def __enter__(self) -> Self:
        if self._is_handed_over:
            self._is_handed_over = False
            return self
        for entry in self.route:
            if entry.has_free_slot:
                self.entry = entry
                entry.running += 1
                return self
        raise Overloaded(f"providers.{self.route[0].name}.max_generations")

    @override
    def __exit__(self, *exc: object) -> None:
        if not self._is_handed_over:
            self.entry.running -= 1

    def hand_over(self) -> None:
        """Keep the slot when this context is left; the next one that is entered gives it back."""
        self._is_handed_over = True

    def move_to(self, entry: ProviderEntry) -> None:
        """Change to a slot of another entry, which must be free; to the same one, nothing happens."""
        self.entry.running -= 1
        entry.running += 1
        self.entry = entry
