"""Parameters that an entry lacks, in each dialect of `python -m streamsvc serve` in its own process."""

import json

import pytest

from support.asking import CLIENTS, answered, refusal_of
from support.eventstream import parse
from support.process import FAKE, Running
from support.shared import quiet_service, shared_process

POSTS = [name for name, client in CLIENTS.items() if client.wraps is not None]
STATUS = {"problem": 422, "openai": 400, "sentence": 422}
LACKS = {"params_lacked": ["temperature", "image_url"]}

process = shared_process(
    {
        "providers.fake": {**FAKE, **LACKS},
        "providers.drops": {**FAKE, **LACKS, "params_unsupported": "drop"},
        "providers.fails": {
            **FAKE,
            "fault": "auth",
            "fallbacks": ["fake", "drops"],
            "circuit_failures": 0,
        },
    }
)
service = quiet_service()


@pytest.mark.promise("content:whole")
@pytest.mark.promise("input:clear-error")
@pytest.mark.parametrize("name", POSTS)
async def test_a_lacked_parameter_is_refused_by_name(service: Running, name: str) -> None:
    client = CLIENTS[name]
    answer = await answered(service.port, client.request(temperature=0.5))
    code = None if client.shape == "sentence" else "unsupported_parameter"
    assert refusal_of(answer, client.shape) == (STATUS[client.shape], code)
    body = bytes(answer.raw).decode()
    assert "'temperature'" in body
    assert "providers.fake.params_unsupported" in body
    if client.shape != "sentence":
        refusal = json.loads(body)
        field = refusal["field"] if client.shape == "problem" else refusal["error"]["param"]
        assert field == "temperature"
    await service.logged(r"request\.refused .*code=unsupported_parameter .*field=temperature")


@pytest.mark.parametrize("name", POSTS)
async def test_a_dropped_parameter_is_not_refused(service: Running, name: str) -> None:
    answer = await answered(service.port, CLIENTS[name].request("drops", temperature=0.5))
    assert answer.status == 200
    assert b"Fine." in answer.raw


@pytest.mark.promise("content:whole")
async def test_the_start_and_the_snapshot_name_what_is_dropped(service: Running) -> None:
    request = CLIENTS["native"].request("drops", temperature=0.5, seed=1)
    answer = await answered(service.port, request)
    start = json.loads(parse(bytes(answer.raw))[0].data)
    assert start["dropped_parameters"] == ["temperature"]
    snapshot = (await service.client.get(f"/v1/generations/{start['generation']}")).json()
    assert snapshot["dropped_parameters"] == ["temperature"]


async def test_an_image_is_refused_even_where_parameters_are_dropped(service: Running) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://a.test/cat.png"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    request = CLIENTS["openai"].request("drops", messages=messages)
    answer = await answered(service.port, request)
    assert refusal_of(answer, "openai") == (400, "unsupported_parameter")
    error = json.loads(bytes(answer.raw))["error"]
    assert error["param"] == "messages"
    assert "'image_url' with an https address" in error["message"]


async def test_a_fallback_without_the_parameter_is_skipped(process: Running) -> None:
    """The next one drops it, and the `status` says so; the log says why the first one was skipped."""
    answer = await answered(process.port, CLIENTS["native"].request("fails", temperature=0.5))
    events = [json.loads(event.data) for event in parse(bytes(answer.raw))]
    assert [event["type"] for event in events] == ["start", "status", "text", "done"]
    assert events[1] == {
        "type": "status",
        "state": "switching",
        "provider": "drops",
        "reason": "provider_auth",
        "dropped_parameters": ["temperature"],
    }
    await process.logged(r"fallback\.skipped provider=fails fallback=fake parameter=temperature")
