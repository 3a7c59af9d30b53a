"""Several kinds of credentials at once: API keys, and tokens beside them."""

from collections.abc import Callable, Mapping

import anyio
from typing_extensions import override

from streamsvc.config.guard_settings import KEY_PREFIX
from streamsvc.config.settings import Settings
from streamsvc.errors import Unauthorized
from streamsvc.guard.authentication import Authenticator
from streamsvc.principals import Principal

KEY, TOKEN = "key", "jwt"
"""The kinds. `Principal.credential` begins with one of them and a colon."""


class CredentialSchemes(Authenticator):
    """Asks the authenticator of each kind of credential.

    What begins like a key is a key and nothing else.

    Args:
        authenticators: by `KEY` and `TOKEN`; at least one.
    """

    def __init__(self, authenticators: Mapping[str, Authenticator]) -> None:
        self._authenticators = authenticators

    @override
    async def principal(self, credential: str) -> Principal:
        kind = KEY if credential.startswith(KEY_PREFIX) else TOKEN
        if authenticator := self._authenticators.get(kind):
            return await authenticator.principal(credential)
        raise Unauthorized(was_given=True)

    @override
    def is_revoked(self, principal: Principal) -> bool:
        kind = principal.credential.partition(":")[0]
        authenticator = self._authenticators.get(kind)
        return authenticator is None or authenticator.is_revoked(principal)

    @override
    def on_revoked(self, call: Callable[[str], None]) -> None:
        for authenticator in self._authenticators.values():
            authenticator.on_revoked(call)

    @override
    async def prepare(self, settings: Settings) -> Callable[[], None]:
        prepared = [await it.prepare(settings) for it in self._authenticators.values()]

        def use() -> None:
            for each in prepared:
                each()

        return use

    @override
    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            for authenticator in self._authenticators.values():
                tasks.start_soon(authenticator.run)
