"""The running requests of a credential, on a server that offers no connection to cut."""

import anyio
import pytest
from starlette.types import Scope

from streamsvc.principals import ANONYMOUS, Principal
from streamsvc.web.running import RunningRequests, belongs_to
from support.log_lines import logged

CALLER = Principal(name="a", credential="key:one")
OTHER = Principal(name="a", credential="key:two")


def scope() -> Scope:
    return {"type": "http"}


@pytest.mark.promise("door:closed")
async def test_cut_cancels_the_requests_of_one_credential() -> None:
    running, ended = RunningRequests(), list[str]()

    async def answer(caller: Principal, name: str) -> None:
        with running.request(caller, scope()):
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(name)
        ended.append(f"{name} returned")

    async with anyio.create_task_group() as tasks:
        for caller, name in ((CALLER, "one"), (OTHER, "two"), (ANONYMOUS, "three")):
            tasks.start_soon(answer, caller, name)
        await anyio.wait_all_tasks_blocked()
        with logged() as log:
            running.cut("key:one")
            running.cut("key:unknown")
            await anyio.wait_all_tasks_blocked()
        assert ended == ["one", "one returned"]
        assert log.lines == ["requests.cut credential=key:one count=1"]
        tasks.cancel_scope.cancel()


async def test_request_that_has_ended_is_forgotten() -> None:
    running = RunningRequests()
    for caller in (CALLER, CALLER, ANONYMOUS):
        with running.request(caller, scope()), running.request(caller, scope()):
            pass
        with pytest.raises(ValueError, match="mistake"), running.request(caller, scope()):
            raise ValueError("mistake")
    with logged() as log:
        running.cut("key:one")
    assert log.lines == []


@pytest.mark.promise("door:closed")
async def test_request_is_cut_once_its_endpoint_knows_whose_it_is() -> None:
    running, asked = RunningRequests(), scope()
    with running.unknown(asked):
        pass  # a refusal
    with running.unknown(asked):
        running.cut("key:one")
        await anyio.lowlevel.checkpoint()
        belongs_to(asked, CALLER)
        running.cut("key:one")
        await anyio.lowlevel.checkpoint()
        pytest.fail("it goes on")


async def test_caller_of_an_open_service_is_not_remembered() -> None:
    belongs_to(scope(), ANONYMOUS)
