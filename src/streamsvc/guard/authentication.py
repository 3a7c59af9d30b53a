"""The port of everything that knows who a caller is."""

from collections.abc import Callable
from typing import Protocol

from streamsvc.config.settings import Settings
from streamsvc.principals import Principal


class Authenticator(Protocol):
    """Turns a credential into a principal.

    Concurrency: any method may be called while others are waiting. `run` is a task of the application's lifespan.
    """

    async def principal(self, credential: str) -> Principal:
        """Return whose credential this is; may wait for a network, within a time limit.

        Args:
            credential: an API key or a token, as the client sent it; any text.

        Raises:
            Unauthorized: it is unknown, malformed, expired or revoked; the answer does not say which.
            Overloaded: it cannot be checked at the moment.
        """
        ...

    def is_revoked(self, principal: Principal) -> bool:
        """Return whether the credential that a principal came with does not count any more."""
        ...

    def on_revoked(self, call: Callable[[str], None]) -> None:
        """Have something called with each `Principal.credential` that stops being valid while `run` runs."""
        ...

    async def prepare(self, settings: Settings) -> Callable[[], None]:
        """Check that other settings fit what it knows; return what makes them count.

        Raises:
            ConfigError: they do not fit.
        """
        ...

    async def run(self) -> None:
        """Keep what it knows up to date; runs until it is cancelled."""
        ...
