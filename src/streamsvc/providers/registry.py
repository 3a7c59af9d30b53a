"""From the name of a provider entry to an open provider.

An SDK takes about a second to import, so an adapter is imported when an entry of its kind is first used, and in a
worker thread, so that running streams do not stall. A service process opens all entries whose key is set
before its first request (`open_ready`): a later import fails when no file descriptor is left.
"""

import importlib
import logging
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from typing import Self, cast, get_args

import anyio
import anyio.to_thread

from streamsvc.config.provider_settings import FakeSettings, FaultName, ProviderSettings
from streamsvc.errors import InvalidField, ProviderNotReady
from streamsvc.providers.base import OpenProvider, Provider
from streamsvc.traces import describe

logger = logging.getLogger(__name__)


class ProviderRegistry:
    """The configured provider entries. Held as an async context manager; leaving closes them all.

    Args:
        entries: the settings by entry name.
        environ: holds the keys.
    """

    def __init__(self, entries: Mapping[str, ProviderSettings], environ: Mapping[str, str]) -> None:
        self._entries = entries
        self._environ = environ
        self._stack = AsyncExitStack()
        self._open: dict[str, Provider] = {}
        self._opening = anyio.Lock()

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every provider that was opened, and its connections."""
        await self._stack.aclose()

    @property
    def entries(self) -> Mapping[str, ProviderSettings]:
        """The settings by entry name."""
        return self._entries

    def is_ready(self, name: str) -> bool:
        """Return whether the entry has the key it needs."""
        return self._entries[name].key(self._environ) is not None

    def check(
        self,
        name: str,
        *,
        fault: str = "",
        has_script: bool = False,
        visible: Collection[str] | None = None,
    ) -> ProviderSettings:
        """Return the settings of a usable entry, which also allows the fault or the script, if there is one.

        Args:
            name: of the entry.
            fault: of the fake provider, that a request asks for.
            has_script: whether a request brings a script.
            visible: the entries that exist for the caller; None means all.

        Raises:
            InvalidField: no such entry, no such fault, or the entry allows neither faults nor scripts.
            ProviderNotReady: its key is missing.
        """
        if name not in (known_here := self._entries if visible is None else visible):
            known = ", ".join(sorted(known_here)) or "none"
            sentence = f"Unknown 'provider' {name[:80]!r}; configured: {known}."
            raise InvalidField(sentence, field="provider")
        if fault:
            self._check_is_allowed(name, "fault")
            if fault not in get_args(FaultName):
                sentence = f"Unknown 'fault'; accepted: {', '.join(get_args(FaultName))}."
                raise InvalidField(sentence, field="fault")
        if has_script:
            self._check_is_allowed(name, "script")
        if not self.is_ready(name):
            raise ProviderNotReady(name)
        return self._entries[name]

    def _check_is_allowed(self, name: str, field: str) -> None:
        """Check that a request may say how the entry answers."""
        entry = self._entries[name]
        if not isinstance(entry, FakeSettings):
            why = f"A {field!r} needs an entry of kind fake with allow_faults; {name} is of another kind."
        elif not entry.allow_faults:
            why = f"A {field!r} is not allowed here; to allow it, set providers.{name}.allow_faults in the settings."
        else:
            return
        raise InvalidField(why, field=field)

    async def get(self, name: str) -> Provider:
        """Return the provider of an entry, opened on its first use.

        Raises:
            InvalidField: there is no such entry.
            ProviderNotReady: its key is missing.
            ProviderError: it cannot be opened.
        """
        if provider := self._open.get(name):
            return provider
        entry = self.check(name)
        async with self._opening:
            if name not in self._open:
                open_provider = await anyio.to_thread.run_sync(load_adapter, entry)
                opened = open_provider(entry, entry.key(self._environ) or "")
                self._open[name] = await self._stack.enter_async_context(opened)
        return self._open[name]

    async def open_ready(self) -> None:
        """Open every entry whose key is set, so that no answer waits for an import or fails because of one.

        An entry that cannot be opened does not affect the others; its own requests report why.
        """
        for name in self._entries:
            if self.is_ready(name):
                try:
                    await self.get(name)
                except Exception as exc:  # noqa: BLE001  # whatever an SDK raises
                    logger.error("provider.unopened provider=%s %s", name, describe(exc))  # noqa: TRY400


def load_adapter(entry: ProviderSettings) -> OpenProvider[ProviderSettings]:
    """Import the adapter of an entry: `provider` in the package with the name of the entry's kind."""
    module = importlib.import_module(f"{__package__}.{entry.kind}.provider")
    return cast("OpenProvider[ProviderSettings]", module.open_provider)
