"""The provider entries as the engine uses them: each with its slots, its circuit and its fallbacks."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Self
from weakref import WeakValueDictionary

import msgspec
from typing_extensions import override

from streamsvc.config.provider_settings import ParameterName, ProviderSettings
from streamsvc.config.settings import Settings
from streamsvc.engine.circuit import Circuit
from streamsvc.errors import ModelNotFound, Overloaded, UnsupportedParameter
from streamsvc.hooks import Hooks
from streamsvc.log_line import log
from streamsvc.messages import Prompt
from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.providers.base import Provider
from streamsvc.providers.fitting import IN_MESSAGES, Fit, fit
from streamsvc.providers.parameters import CONTENT, IN_WORDS, fate_of
from streamsvc.providers.registry import Lack, ProviderRegistry

logger = logging.getLogger(__name__)


class ProviderEntry:
    """One provider entry.

    Args:
        name: its name in the settings.
        providers: opens its provider.
        hooks: of its circuit.
        slots: counts those in use.

    Attributes:
        section: its settings.
        client: opens and closes its provider.
        circuit: decides whether it may be called now.
        slots: as given; see `ProviderSlot`.
    """

    def __init__(
        self, name: str, providers: ProviderRegistry, hooks: Hooks, slots: "SlotCount"
    ) -> None:
        self.name = name
        self.client = providers.client(name)
        self.section: ProviderSettings = self.client.section
        self.circuit = Circuit(
            name,
            failures=self.section.circuit_failures,
            seconds=self.section.circuit_seconds,
            hooks=hooks,
        )
        self.slots = slots

    @property
    def running(self) -> int:
        """How many of its slots are in use, also by answers that began before its settings changed."""
        return self.slots.used

    @property
    def lacks(self) -> Lack | None:
        """What is missing; None if it is ready."""
        return self.client.lacks

    @property
    def is_ready(self) -> bool:
        """Whether it has the API key and the SDK that it needs."""
        return self.lacks is None

    @property
    def has_free_slot(self) -> bool:
        """Whether one more generation may use it (`max_generations`)."""
        return self.running < self.section.max_generations

    async def provider(self) -> Provider:
        """Return its provider, which is opened on first use."""
        return await self.client.get()


class SlotCount:
    """How many slots of the entries with one name are in use: of the current one, and of those before it."""

    def __init__(self) -> None:
        self.used = 0


class ProviderEntries:
    """All provider entries of one state of the settings. Their providers stay open until `retire` is called.

    Args:
        providers: their settings and their providers.
        hooks: of their circuits.
        known: entries to use again if their providers are the same.
        counts: of the slots in use, by name.
    """

    def __init__(
        self,
        providers: ProviderRegistry,
        hooks: Hooks,
        *,
        known: Mapping[str, ProviderEntry] = {},
        counts: WeakValueDictionary[str, SlotCount] | None = None,
    ) -> None:
        self._providers = providers
        self._hooks = hooks
        self._counts = WeakValueDictionary[str, SlotCount]() if counts is None else counts
        self._entries = {
            name: entry
            if (entry := known.get(name)) is not None and entry.client is providers.client(name)
            else self._new(name)
            for name in providers.entries
        }
        for entry in self:
            entry.client.hold()
        self._logged: set[tuple[str, str, str]] = set()

    def _new(self, name: str) -> ProviderEntry:
        slots = self._counts.setdefault(name, SlotCount())
        return ProviderEntry(name, self._providers, self._hooks, slots)

    def successor(self, providers: ProviderRegistry) -> "ProviderEntries":
        """Return the entries for other settings.

        One that has not changed is the same object, with its circuit. One that has changed begins with a closed circuit,
        and its slots count those still in use.

        Args:
            providers: of the other settings, a successor of these.
        """
        return ProviderEntries(providers, self._hooks, known=self._entries, counts=self._counts)

    def retire(self) -> None:
        """Let the providers be closed once no answer holds them: other entries are used from now on."""
        for entry in self:
            entry.client.release()

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
                log(
                    logger,
                    logging.WARNING,
                    "fallback.skipped",
                    provider=requested.name,
                    fallback=fallback.name,
                    parameter=name,
                    setting=f"providers.{fallback.name}.params_unsupported",
                )
        return not lacked


@dataclass(frozen=True)
class Terms:
    """What answers are made with. A reload replaces it as a whole; an answer keeps the terms that it began with.

    Attributes:
        settings: the whole configuration.
        entries: the provider entries.
    """

    settings: Settings
    entries: ProviderEntries


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

    As long as it is held, the providers of its whole route stay open, even if the settings change.

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
                entry.slots.used += 1
                for other in self.route:
                    other.client.hold()
                return self
        raise Overloaded(f"providers.{self.route[0].name}.max_generations")

    @override
    def __exit__(self, *exc: object) -> None:
        if not self._is_handed_over:
            self.entry.slots.used -= 1
            for entry in self.route:
                entry.client.release()

    def hand_over(self) -> None:
        """Keep the slot when this context is left; the next one that is entered releases it."""
        self._is_handed_over = True

    def move_to(self, entry: ProviderEntry) -> None:
        """Change to a slot of another entry, which must have a free one; for the same entry, do nothing."""
        self.entry.slots.used -= 1
        entry.slots.used += 1
        self.entry = entry
