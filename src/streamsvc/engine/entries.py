"""The provider entries as the engine uses them: each with its room, its circuit and its fallbacks."""

from collections.abc import Iterator

from streamsvc.config.settings import ProviderSettings
from streamsvc.engine.circuit import Circuit
from streamsvc.errors import Overloaded
from streamsvc.providers.base import Provider
from streamsvc.providers.registry import ProviderRegistry


class ProviderEntry:
    """One provider entry.

    Args:
        name: of the entry.
        providers: where its provider is opened.

    Attributes:
        section: its settings.
        circuit: whether it is left in peace.
        running: how many generations are on it.
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
        """Whether it has the key it needs."""
        return self._providers.is_ready(self.name)

    @property
    def has_free_slot(self) -> bool:
        """Whether one more generation may use it."""
        return self.running < self.section.max_generations

    async def provider(self) -> Provider:
        """Return its provider, opened if this is its first use."""
        return await self._providers.get(self.name)


class ProviderEntries:
    """All provider entries.

    Args:
        providers: where they are configured.
    """

    def __init__(self, providers: ProviderRegistry) -> None:
        self._providers = providers
        self._entries = {name: ProviderEntry(name, providers) for name in providers.entries}

    def __iter__(self) -> Iterator[ProviderEntry]:
        """Go over all of them."""
        return iter(self._entries.values())

    def route(self, name: str, *, fault: str = "") -> tuple[ProviderEntry, ...]:
        """Return an entry, and those of its fallbacks that can be used, in their order.

        Raises:
            InvalidField: no such entry, or none that breaks in this way on request.
            ProviderNotReady: its key is missing.
        """
        section = self._providers.check(name, fault=fault)
        fallbacks = (self._entries[fallback] for fallback in section.fallbacks)
        return (self._entries[name], *(entry for entry in fallbacks if entry.is_ready))


def entry_with_free_slot(route: tuple[ProviderEntry, ...]) -> ProviderEntry:
    """Return the first lane of a route that one more generation may use.

    Raises:
        Overloaded: there is none.
    """
    for entry in route:
        if entry.has_free_slot:
            return entry
    raise Overloaded(f"providers.{route[0].name}.max_generations")
