"""Native streams become events, and events become what a page shows."""

import pytest

from streamsvc.testing import Event, client, parse_events, read_answer
from streamsvc.testing.answers import answer_of

STREAM = {"Accept": "text/event-stream"}


def test_lines_become_events() -> None:
    text = (
        'retry: 2000\nid: gen_a.0\nevent: start\ndata: {"type":"start"}\n\n'
        ": ka\n"
        'id: gen_a.1\r\ndata:{"type":"text","text":"é: "}\r\n\r\n'
        'data: {"type":"text"'
    )  # fmt: skip
    first, second = parse_events(text)
    assert first == Event("start", "gen_a.0", {"type": "start"})
    assert (second.id, second.text, first.text) == ("gen_a.1", "é: ", "")


@pytest.mark.parametrize(
    ("fault", "text", "status", "error"),
    [
        ("none", "One two three four.", "completed", ""),
        ("cut_once", "One two three four.", "completed", ""),
        ("restart", "In other words: One two three four.", "completed", ""),
        ("cut", "One two three ", "failed", "upstream_cut"),
        ("auth", "", "failed", "provider_auth"),
        ("content_filter", "One two three ", "incomplete", ""),
    ],
)
async def test_answer_is_what_a_page_shows(fault: str, text: str, status: str, error: str) -> None:
    async with client({"providers": {"fake": {"text": "One two three four."}}}) as http:
        response = await http.post(
            "/v1/generations", json={"prompt": "Hi", "fault": fault}, headers=STREAM
        )
        answer = await read_answer(response)
    assert (answer.text, answer.status, answer.error) == (text, status, error)
    assert [answer.events[0].type, answer.events[-1].type] == ["start", "done"]


async def test_refusal_is_apart_from_the_text() -> None:
    async with client() as http:
        response = await http.post(
            "/v1/generations",
            json={"prompt": "Hi", "script": [{"refusal": "I cannot."}]},
            headers=STREAM,
        )
        answer = await read_answer(response)
    assert (answer.text, answer.refusal) == ("", "I cannot.")


def test_stream_that_broke_off_has_no_status() -> None:
    answer = answer_of([Event("text", "", {"text": "a"})])
    assert (answer.text, answer.status, answer.error) == ("a", "", "")
