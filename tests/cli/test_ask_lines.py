"""What `streamsvc ask` prints for each event, and which service it asks."""

from collections.abc import Iterator

import httpx2
import pytest

from streamsvc import ask
from streamsvc.config.addresses import url_for_this_machine
from streamsvc.events import Event, Reasoning, Refusal, Text, ToolCallReady
from support.events import RESTART, RETRYING, START, SWITCHING


@pytest.mark.parametrize(
    ("event", "out", "err"),
    [
        (START, "", ""),
        (Text("one "), "one ", ""),
        (Refusal("No."), "No.", ""),
        (Reasoning("hm "), "", "hm "),
        (RETRYING, "", "[provider_unavailable: retrying fake]\n"),
        (SWITCHING, "", "[upstream_cut: switching to other]\n"),
        (RESTART, "\n", "[upstream_cut: other starts over with a different answer]\n"),
        (
            ToolCallReady(index=0, id="call_1", name="clock", arguments='{"zone":"UTC"}'),
            "",
            '[the model calls the tool clock with {"zone":"UTC"}]\n',
        ),
    ],
    ids=["start", "text", "refusal", "reasoning", "retrying", "switching", "restart", "tool call"],
)
def test_text_is_output_and_the_rest_goes_to_standard_error(
    capsys: pytest.CaptureFixture[str], event: Event, out: str, err: str
) -> None:
    ask._print(event)
    assert capsys.readouterr() == (out, err)


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("localhost", "http://localhost:8000"),
    ],
)
def test_the_service_is_asked_where_it_can_be_reached(host: str, url: str) -> None:
    assert url_for_this_machine(host, 8000) == url


@pytest.mark.parametrize(("status", "is_confirmed"), [(204, True), (404, False), (500, False)])
def test_a_stop_counts_only_if_the_service_confirms_it(status: int, is_confirmed: bool) -> None:  # noqa: FBT001
    transport = httpx2.MockTransport(lambda _: httpx2.Response(status))
    with httpx2.Client(transport=transport, base_url="http://service") as client:
        assert ask._stop(client, ["gen_a"]) is is_confirmed
        assert ask._stop(client, [])


def interrupted(answer: httpx2.Response | None, status: int) -> httpx2.MockTransport:
    """Return a service where Ctrl-C comes after *answer*, and which answers a stop with *status*."""

    def handle(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/stop"):
            return httpx2.Response(status)
        if answer is None:
            raise KeyboardInterrupt
        return answer

    return httpx2.MockTransport(handle)


def one_word() -> Iterator[bytes]:
    yield b'data: {"type":"text","text":"one"}\n\n'
    raise KeyboardInterrupt


@pytest.mark.promise("cancel:stop")
@pytest.mark.parametrize(
    ("has_begun", "status", "out", "err"),
    [
        (False, 204, "", "\nStopped before the answer began.\n"),
        (True, 204, "one", "\nStopped: the service has closed the call to the provider.\n"),
        (True, 503, "one", "\nDisconnected, but the service did not confirm that it stopped.\n"),
    ],
    ids=["before", "confirmed", "unconfirmed"],
)
def test_ctrl_c_says_what_became_of_the_answer(
    capsys: pytest.CaptureFixture[str],
    has_begun: bool,  # noqa: FBT001  # a parameter of the test
    status: int,
    out: str,
    err: str,
) -> None:
    headers = {"X-Generation-Id": "gen_a", "Content-Type": "text/event-stream"}
    answer = httpx2.Response(200, headers=headers, content=one_word()) if has_begun else None
    transport = interrupted(answer, status)
    with (
        httpx2.Client(transport=transport, base_url="http://service") as client,
        pytest.raises(KeyboardInterrupt),
    ):
        ask._follow_or_stop(client, {"prompt": "hi"})
    assert capsys.readouterr() == (out, err)
