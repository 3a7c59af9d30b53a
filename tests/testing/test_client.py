"""The client of a service in the same process: whole answers, streams, disconnects and mistakes."""

import anyio
import pytest

from streamsvc.errors import ConfigError
from streamsvc.testing import Script, client, read_answer, read_events

STREAM = {"Accept": "text/event-stream"}
CREATE = "/v1/generations"


async def test_script_is_answered_without_a_socket() -> None:
    script = Script().reasoning("Hm.").words("Let me look.").call("get_weather", city="Paris")
    async with client() as http, http.stream(
        "POST", CREATE, json={"prompt": "Weather?", "script": script.steps}, headers=STREAM
    ) as response:  # fmt: skip
        answer = await read_answer(response)
    assert (answer.text, answer.reasoning, answer.status) == ("Let me look.", "Hm.", "completed")
    [call] = answer.calls
    assert (call.name, call.arguments) == ("get_weather", {"city": "Paris"})


async def test_words_arrive_while_the_answer_is_written() -> None:
    """The second word would take an hour."""
    script = Script().words("one").pause(3600).words("two")
    with anyio.fail_after(20):
        async with client() as http, http.stream(
            "POST", CREATE, json={"prompt": "Hi", "script": script.steps}, headers=STREAM
        ) as response:  # fmt: skip
            async for event in read_events(response):
                if event.text == "one":
                    break


@pytest.mark.promise("cancel:disconnect")
async def test_closing_a_response_stops_the_generation() -> None:
    script = Script().words("one").pause(3600)
    with anyio.fail_after(20):
        async with client() as http:
            async with http.stream(
                "POST", CREATE, json={"prompt": "Hi", "script": script.steps}, headers=STREAM
            ) as response:
                own = response.headers["x-generation-id"]
                await anext(read_events(response))
            while (answer := (await http.get(f"{CREATE}/{own}")).json())["status"] == "running":
                await anyio.lowlevel.checkpoint()
            assert answer["outcome"] == "no_viewers"


async def test_response_that_is_closed_while_words_come_stops_too() -> None:
    settings = {"providers": {"fake": {"reply": "text", "text": "word " * 100_000}}}
    with anyio.fail_after(20):
        async with client(settings) as http:
            async with http.stream("GET", "/stream-ai?prompt=hi") as response:
                own = response.headers["x-generation-id"]
                await anext(response.aiter_bytes())
            while (answer := (await http.get(f"{CREATE}/{own}")).json())["status"] == "running":
                await anyio.lowlevel.checkpoint()
            assert answer["outcome"] == "no_viewers"


async def test_settings_are_those_of_the_test() -> None:
    settings = {
        "provider": "my_fake",
        "stream": {"retry_ms": 700},
        "providers": {"my_fake": {"kind": "fake", "script": Script().words("From an entry.")}},
    }
    async with client(settings) as http:
        body = {"model": "my_fake", "messages": [{"role": "user", "content": "Hi"}]}
        whole = (await http.post("/v1/chat/completions", json=body)).json()
        assert whole["choices"][0]["message"]["content"] == "From an entry."
        assert "retry: 700\n" in (await http.get("/stream-ai?prompt=hi")).text


async def test_requests_with_a_query_and_a_refusal_are_answered() -> None:
    async with client() as http:
        assert (await http.get("/stream-ai", params={"prompt": "Hällo & Co"})).status_code == 200
        refused = await http.get("/stream-ai", params={"prompt": ""})
        assert (refused.status_code, refused.json()["field"]) == (422, "prompt")
        assert (await http.head("/stream-ai?prompt=hi")).status_code == 200


async def test_settings_with_a_mistake_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="STREAMSVC_PROVIDERS__FAKE__WROD"):
        async with client({"providers": {"fake": {"wrod": 1}}}):
            pass
    with pytest.raises(ValueError, match="my-entry"):
        async with client({"providers": {"my-entry": {"kind": "fake"}}}):
            pass


async def test_own_settings_of_the_process_are_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STREAMSVC_PROVIDER", "nobody")
    async with client() as http:
        assert (await http.get("/readyz")).status_code == 200
