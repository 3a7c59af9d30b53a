"""Keys and tokens at once: each credential goes to the authenticator of its kind."""

from collections.abc import Callable, Mapping

import anyio
import pytest
from typing_extensions import override

from streamsvc.config.settings import Settings
from streamsvc.errors import Unauthorized
from streamsvc.guard.authentication import Authenticator
from streamsvc.guard.keys import new_key
from streamsvc.guard.schemes import KEY, TOKEN, CredentialSchemes
from streamsvc.principals import ANONYMOUS, Principal


class Stub(Authenticator):
    """Takes every credential, and remembers it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.is_running = False
        self.calls: list[Callable[[str], None]] = []
        self.used: Settings | None = None

    @override
    async def principal(self, credential: str) -> Principal:
        return Principal(name=credential, credential=f"{self.kind}:1")

    @override
    def is_revoked(self, principal: Principal) -> bool:
        return principal.name == "revoked"

    @override
    def on_revoked(self, call: Callable[[str], None]) -> None:
        self.calls.append(call)

    @override
    async def prepare(self, settings: Settings) -> Callable[[], None]:
        def use() -> None:
            self.used = settings

        return use

    @override
    async def run(self) -> None:
        self.is_running = True
        await anyio.sleep_forever()


def schemes(*kinds: str) -> tuple[CredentialSchemes, Mapping[str, Stub]]:
    stubs = {kind: Stub(kind) for kind in kinds}
    return CredentialSchemes(stubs), stubs


async def test_what_begins_like_a_key_is_a_key_and_nothing_else() -> None:
    both, _ = schemes(KEY, TOKEN)
    for credential, kind in ((new_key()[0], KEY), ("ssk_", KEY), ("a.b.c", TOKEN), ("x", TOKEN)):
        assert (await both.principal(credential)).credential == f"{kind}:1"


@pytest.mark.parametrize(("kind", "credential"), [(KEY, "a.b.c"), (TOKEN, "ssk_a_b")])
async def test_credential_of_a_kind_that_is_off_is_refused(kind: str, credential: str) -> None:
    one, _ = schemes(kind)
    with pytest.raises(Unauthorized):
        await one.principal(credential)


def test_revoked_is_what_its_kind_says_or_what_has_none() -> None:
    """A ticket may be older than the keys of the service."""
    both, _ = schemes(KEY, TOKEN)
    for kind in (KEY, TOKEN):
        assert not both.is_revoked(Principal(name="a", credential=f"{kind}:1"))
        assert both.is_revoked(Principal(name="revoked", credential=f"{kind}:1"))
    one, _ = schemes(KEY)
    assert one.is_revoked(Principal(name="a", credential=f"{TOKEN}:1"))
    assert one.is_revoked(ANONYMOUS)


async def test_all_kinds_run_and_report() -> None:
    both, stubs = schemes(KEY, TOKEN)
    reported: list[str] = []
    both.on_revoked(reported.append)
    for stub in stubs.values():
        stub.calls[0](stub.kind)
    assert reported == [KEY, TOKEN]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(both.run)
        await anyio.wait_all_tasks_blocked()
        assert all(stub.is_running for stub in stubs.values())
        tasks.cancel_scope.cancel()


async def test_other_settings_count_for_all_at_once() -> None:
    both, stubs = schemes(KEY, TOKEN)
    settings = Settings()
    use = await both.prepare(settings)
    assert [stub.used for stub in stubs.values()] == [None, None]
    use()
    assert [stub.used for stub in stubs.values()] == [settings, settings]
