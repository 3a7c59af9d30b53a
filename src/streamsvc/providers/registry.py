"""From the name of a provider entry to an open provider.

An SDK takes about a second to import, so an adapter is imported when an entry of its kind is first used, and in a
worker thread, so that running streams do not stall. A service process opens all entries whose key is set
before its first request (`open_ready`): a later import fails when no file descriptor is left.
"""

import importlib
import logging
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from typing import Literal, Self, cast, get_args

import anyio
import anyio.abc
import anyio.to_thread

from streamsvc import extras
from streamsvc.config.provider_settings import FakeSettings, FaultName, ProviderSettings
from streamsvc.errors import InvalidField, ProviderNotReady
from streamsvc.log_line import log
from streamsvc.providers.base import OpenProvider, Provider
from streamsvc.traces import fields_of

logger = logging.getLogger(__name__)


Lack = Literal["sdk", "key"]
"""What an entry may lack: the SDK of its kind is not installed, or its key is not set."""


class ProviderClient:
    """The provider of one entry: opened on first use, and closed when nobody holds it.

    Args:
        section: the settings of the entry.
        environ: has its key.
        closer: closes it.
    """

    def __init__(
        self, section: ProviderSettings, environ: Mapping[str, str], closer: "_Closer"
    ) -> None:
        self.section = section
        self.is_open = False
        self._environ = environ
        self._closer = closer
        self._has_sdk = section.has_sdk
        self._stack = AsyncExitStack()
        self._opening = anyio.Lock()
        self._provider: Provider
        self._holders = 0

    @property
    def lacks(self) -> "Lack | None":
        """What the entry is missing; None if it is ready."""
        if not self._has_sdk:
            return "sdk"
        return "key" if self.section.key(self._environ) is None else None

    async def get(self) -> Provider:
        """Return the provider.

        Raises:
            ProviderError: it cannot be opened.
        """
        if self.is_open:
            return self._provider
        async with self._opening:
            if not self.is_open:
                open_provider = await anyio.to_thread.run_sync(load_adapter, self.section)
                opened = open_provider(self.section, self.section.key(self._environ) or "")
                self.use(await self._stack.enter_async_context(opened))
                self._closer.opened(self)
        return self._provider

    def use(self, provider: Provider) -> None:
        """Use a provider that is open already."""
        self._provider, self.is_open = provider, True

    def hold(self) -> None:
        """Keep it open until `release` is called as often."""
        self._holders += 1

    def release(self) -> None:
        """Let it be closed if nobody else holds it. It opens again on its next use."""
        self._holders -= 1
        if not self._holders and self.is_open:
            self._closer.close_soon(self)

    async def close_unless_held(self) -> None:
        """Close it, unless somebody has begun to hold it."""
        async with self._opening:
            if not self._holders:
                await self.close()

    async def close(self) -> None:
        """Close it and its connections."""
        self.is_open = False
        self._closer.closed(self)
        await self._stack.aclose()


class _Closer:
    """Closes providers while the service goes on, and the rest at its end."""

    def __init__(self) -> None:
        self._open: set[ProviderClient] = set()
        self._tasks: anyio.abc.TaskGroup | None = None

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        tasks, self._tasks = self._tasks, None
        if tasks is not None:
            await tasks.__aexit__(None, None, None)
        async with AsyncExitStack() as stack:
            for client in self._open:
                stack.push_async_callback(client.close)

    def opened(self, client: ProviderClient) -> None:
        self._open.add(client)

    def closed(self, client: ProviderClient) -> None:
        self._open.discard(client)

    def close_soon(self, client: ProviderClient) -> None:
        if self._tasks is not None:
            self._tasks.start_soon(self._close, client)

    async def _close(self, client: ProviderClient) -> None:
        try:
            await client.close_unless_held()
        except Exception as exc:  # noqa: BLE001  # whatever an SDK raises
            kind = client.section.kind
            log(logger, logging.ERROR, "provider.unclosed", kind=kind, **fields_of(exc))


class ProviderRegistry:
    """The configured provider entries. Held as an async context manager; leaving closes them all.

    Args:
        entries: the settings by entry name.
        environ: holds the keys.
        known: clients to use for the entries that have the same settings.
        closer: closes the providers; None: they are closed with this registry.
    """

    def __init__(
        self,
        entries: Mapping[str, ProviderSettings],
        environ: Mapping[str, str],
        *,
        known: Mapping[str, ProviderClient] = {},
        closer: _Closer | None = None,
    ) -> None:
        self._entries = entries
        self._environ = environ
        self._closer = closer or _Closer()
        self._clients = {
            name: client
            if (client := known.get(name)) is not None and client.section == section
            else ProviderClient(section, environ, self._closer)
            for name, section in entries.items()
        }

    def successor(self, entries: Mapping[str, ProviderSettings]) -> "ProviderRegistry":
        """Return the registry for other settings. It shares the providers of the entries that have not changed.

        Its providers are closed with this registry.
        """
        return ProviderRegistry(entries, self._environ, known=self._clients, closer=self._closer)

    async def __aenter__(self) -> Self:
        """Open nothing yet."""
        await self._closer.__aenter__()
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close every provider that was opened, and its connections."""
        await self._closer.__aexit__(*exc)

    @property
    def entries(self) -> Mapping[str, ProviderSettings]:
        """The settings by entry name."""
        return self._entries

    def client(self, name: str) -> ProviderClient:
        """Return what opens and closes the provider of an entry."""
        return self._clients[name]

    def is_ready(self, name: str) -> bool:
        """Return whether the entry has the key and the SDK that it needs."""
        return self._clients[name].lacks is None

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
            ProviderNotReady: its key or its SDK is missing.
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
        entry = self._entries[name]
        match self._clients[name].lacks:
            case "sdk":
                lacks = f"its SDK is not installed: {extras.install(entry.extra)}"
                raise ProviderNotReady(name, lacks=lacks)
            case "key":
                raise ProviderNotReady(name)
            case None:
                return entry

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
            ProviderNotReady: its key or its SDK is missing.
            ProviderError: it cannot be opened.
        """
        self.check(name)
        return await self._clients[name].get()

    async def open_ready(self) -> None:
        """Open every entry that has its key and its SDK, so that no answer waits for an import or fails because of one.

        An entry that cannot be opened does not affect the others; its own requests report why. If only the SDK is
        missing, that is logged: an entry whose key is set is meant to be used.
        """
        for name, entry in self._entries.items():
            if self.is_ready(name):
                try:
                    await self.get(name)
                except Exception as exc:  # noqa: BLE001  # whatever an SDK raises
                    log(logger, logging.ERROR, "provider.unopened", provider=name, **fields_of(exc))
            elif entry.key(self._environ) is not None:
                note = extras.install(entry.extra)
                log(logger, logging.WARNING, "provider.uninstalled", note, provider=name)


def load_adapter(entry: ProviderSettings) -> OpenProvider[ProviderSettings]:
    """Import the adapter of an entry: `provider` in the package with the name of the entry's kind."""
    module = importlib.import_module(f"{__package__}.{entry.kind}.provider")
    return cast("OpenProvider[ProviderSettings]", module.open_provider)
