"""The provider entries as the engine uses them: each with its slots, its circuit and its fallbacks."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Self

import msgspec
from typing_extensions import override

from streamsvc.config.provider_settings import ParameterName, ProviderSettings
from streamsvc.engine.circuit import Circuit
from streamsvc.errors import ModelNotFound, Overloaded, UnsupportedParameter
from streamsvc.hooks import Hooks
from streamsvc.messages import Prompt
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.providers.base import Provider
from streamsvc.providers.fitting import IN_MESSAGES, Fit, fit
from streamsvc.providers.parameters import CONTENT, IN_WORDS, fate_of
from streamsvc.providers.registry import ProviderRegistry

logger = logging.getLogger(__name__)


class ProviderEntry:
    """One provider entry.

    Args:
        name: its name in the settings.
        providers: opens its provider.
        hooks: of its circuit.

    Attributes:
        section: its settings.
        circuit: decides whether it may be called now.
        running: how many of its slots are in use; see `ProviderSlot`.
    """

    def __init__(self, name: str, providers: ProviderRegistry, hooks: Hooks) -> None:
        self.name = name
        self.section: ProviderSettings = providers.entries[name]
        self.circuit = Circuit(
            name,
            failures=self.section.circuit_failures,
            seconds=self.section.circuit_seconds,
            hooks=hooks,
        )
        self.running = 0
        self._providers = providers

    @property
    def is_ready(self) -> bool:
        """Whether its API key is set or not needed."""
        return self._providers.is_ready(self.name)

    @property
    def has_free_slot(self) -> bool:
        """Whether one more generation may use it (`max_generations`)."""
        return self.running < self.section.max_generations

    async def provider(self) -> Provider:
        """Return its provider, which is opened on first use."""
        return await self._providers.get(self.name)


class ProviderEntries:
    """All provider entries.

    Args:
        providers: their settings and their providers.
        hooks: of their circuits.
    """

    def __init__(self, providers: ProviderRegistry, hooks: Hooks) -> None:
        self._providers = providers
        self._entries = {name: ProviderEntry(name, providers, hooks) for name in providers.entries}
        self._logged: set[tuple[str, str, str]] = set()

    def __iter__(self) -> Iterator[ProviderEntry]:
        """Iterate over them in the order of the settings."""
        return iter(self._entries.values())

    def visible(self, caller: Principal) -> Iterator[ProviderEntry]:
        """Iterate over those that exist for a caller."""
        return map(self._entries.__getitem__, caller.visible(self._entries))

    def usable(self, name: str) -> Sequence[ProviderEntry]:
        """Return an entry and those of its fallbacks that have their key; the entry alone may lack its own."""
        entry = self._entries[name]
        fallbacks = (self._entries[other] for other in entry.section.fallbacks)
        return (entry, *(other for other in fallbacks if other.is_ready))

    def route(
        self, name: str, prompt: Prompt, caller: Principal = ANONYMOUS
    ) -> tuple[ProviderEntry, ...]:
        """Return an entry followed by its fallbacks, in order, without those that cannot answer.

        A fallback cannot answer if its key is missing, or if it lacks a parameter of the prompt and does not drop it.

        Args:
            name: of the entry.
            prompt: the request.
            caller: who asks; entries that it may not use do not exist for it. Fallbacks are the operator's choice.

        Raises:
            InvalidField: no such entry, or the entry does not allow the fault or a script.
            ModelNotFound: the caller may not use the model.
            UnsupportedParameter: the entry lacks a parameter, and does not drop it.
            ProviderNotReady: the entry's own key is missing.
        """
        visible = None if caller.providers is None else caller.visible(self._entries)
        section = self._providers.check(
            name, fault=prompt.fault, has_script=bool(prompt.script), visible=visible
        )
        if not caller.may_use(prompt.model or section.model):
            raise ModelNotFound(caller.visible(self._entries))
        entry, *ready = self.usable(name)
        if lacked := fit_of(entry, prompt, requested=entry).lacked:
            raise _unsupported(entry, lacked)
        return (entry, *(other for other in ready if self._can_take(other, prompt, entry)))

    def _can_take(self, fallback: ProviderEntry, prompt: Prompt, requested: ProviderEntry) -> bool:
        """Return whether a fallback has all parameters of a prompt; the first time that it lacks one is logged."""
        lacked = fit_of(fallback, prompt, requested=requested).lacked
        for name in lacked:
            if (requested.name, fallback.name, name) not in self._logged:
                self._logged.add((requested.name, fallback.name, name))
                logger.warning(
                    "fallback.skipped provider=%s fallback=%s parameter=%s setting=providers.%s.params_unsupported",
                    requested.name, fallback.name, name, fallback.name,
                )  # fmt: skip
        return not lacked


def fit_of(entry: ProviderEntry, prompt: Prompt, *, requested: ProviderEntry) -> Fit:
    """Return what an entry makes of a prompt; the model that the client named is the requested entry's only."""
    if entry is not requested and prompt.model:
        prompt = msgspec.structs.replace(prompt, model="")
    return fit(prompt, entry.section, kind=requested.section.kind)


def _unsupported(entry: ProviderEntry, lacked: Sequence[ParameterName]) -> UnsupportedParameter:
    """Return the refusal of a prompt with parameters that its entry lacks and does not drop."""
    return UnsupportedParameter(
        entry.name,
        [_in_words(entry, name) for name in lacked],
        field="messages" if lacked[0] in IN_MESSAGES else lacked[0],
        may_drop=CONTENT.isdisjoint(lacked),
    )


def _in_words(entry: ProviderEntry, name: ParameterName) -> str:
    fate = fate_of(name, entry.section)
    why = f"accepted: {', '.join(fate.values)}" if fate.values else fate.how
    return f"{IN_WORDS.get(name, repr(name))}{why and f' ({why})'}"


class ProviderSlot(AbstractContextManager["ProviderSlot"]):
    """The provider slot of one generation: acquired on entering the context, released on leaving it.

    Entering acquires a slot on the first entry of the route that has a free one. With `hand_over`, a request
    acquires the slot and a task releases it. (`ExitStack.pop_all` can do that too, but costs 1.7 kB per
    stream.)

    Args:
        route: the entries that may answer, the requested one first.
        entry: of the route, to acquire a slot on this one even if it has no free one: for a generation that
            another process has admitted.

    Raises:
        Overloaded: on entering, if no entry of the route has a free slot.

    Attributes:
        route: as given.
        entry: the entry whose slot it is now.
    """

    __slots__ = ("_is_handed_over", "_wanted", "entry", "route")

    entry: ProviderEntry

    def __init__(
        self, route: tuple[ProviderEntry, ...], *, entry: ProviderEntry | None = None
    ) -> None:
        self.route = route
        self._wanted = entry
        self._is_handed_over = False

    @override
    def __enter__(self) -> Self:
        if self._is_handed_over:
            self._is_handed_over = False
            return self
        for entry in self.route if self._wanted is None else (self._wanted,):
            if entry.has_free_slot or entry is self._wanted:
                self.entry = entry
                entry.running += 1
                return self
        raise Overloaded(f"providers.{self.route[0].name}.max_generations")

    @override
    def __exit__(self, *exc: object) -> None:
        if not self._is_handed_over:
            self.entry.running -= 1

    def hand_over(self) -> None:
        """Keep the slot when this context is left; the next one that is entered releases it."""
        self._is_handed_over = True

    def move_to(self, entry: ProviderEntry) -> None:
        """Change to a slot of another entry, which must have a free one; for the same entry, do nothing."""
        self.entry.running -= 1
        entry.running += 1
        self.entry = entry
