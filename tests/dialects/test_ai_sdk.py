"""The UI message stream of the AI SDK: nothing but what versions 6 and 7 both accept."""

import itertools
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamsvc.dialects.ai_sdk.context import Context
from streamsvc.dialects.ai_sdk.frames import (
    DONE,
    FINISH_REASONS,
    RESTARTED,
    UNWATCHED,
    AISDKDialect,
)
from streamsvc.dialects.ai_sdk.replay import earlier_steps
from streamsvc.dialects.ai_sdk.shapes import UIMessage
from streamsvc.dialects.sse import KEEPALIVE
from streamsvc.errors import CursorLost
from streamsvc.events import (
    Done,
    Event,
    Outcome,
    Reasoning,
    Record,
    Refusal,
    Restart,
    Status,
    Text,
    ToolCallArguments,
    ToolCallBegun,
    ToolCallReady,
)
from support.ai_sdk import CLIENTS
from support.events import FAILED, GENERATION, RESTART, START, SWITCHING, done
from support.eventstream import parse
from support.parts import find

ENDS = (
    *(done(finish_reason=reason) for reason in FINISH_REASONS),
    *(done(Status.INCOMPLETE, reason) for reason in FINISH_REASONS),
    *(done(Status.STOPPED, "stopped", outcome) for outcome in Outcome),
    FAILED,
    done(Status.FAILED, "error", Outcome.DRAINED),
)


def encode(events: Sequence[Event], dialect: AISDKDialect | None = None) -> bytes:
    """Return the stream of a generation with these events."""
    encoder = (dialect or AISDKDialect()).encoder()
    return b"".join(encoder.encode(Record(GENERATION, seq, it)) for seq, it in enumerate(events))


def chunks(stream: bytes) -> list[dict[str, Any]]:
    """Return the chunks of a stream as the AI SDK reads it; its end is not JSON."""
    return [json.loads(event.data) for event in parse(stream) if event.data != "[DONE]"]


def types(*events: Event) -> list[str]:
    return [chunk["type"] for chunk in chunks(encode([START, *events]))]


BEGIN = ["start", "start-step"]
FINISH = ["finish-step", "finish"]


def test_message_id_is_the_generation_id() -> None:
    assert chunks(encode([START])) == [
        {"type": "start", "messageId": GENERATION},
        {"type": "start-step"},
    ]


def test_each_run_of_text_or_reasoning_is_its_own_part() -> None:
    said: list[Event] = [
        Reasoning("a"),
        Reasoning("b"),
        Text("c"),
        Text("d"),
        Reasoning("e"),
        done(),
    ]
    assert chunks(encode([START, *said]))[2:] == [
        {"type": "reasoning-start", "id": "1"},
        {"type": "reasoning-delta", "id": "1", "delta": "a"},
        {"type": "reasoning-delta", "id": "1", "delta": "b"},
        {"type": "reasoning-end", "id": "1"},
        {"type": "text-start", "id": "2"},
        {"type": "text-delta", "id": "2", "delta": "c"},
        {"type": "text-delta", "id": "2", "delta": "d"},
        {"type": "text-end", "id": "2"},
        {"type": "reasoning-start", "id": "3"},
        {"type": "reasoning-delta", "id": "3", "delta": "e"},
        {"type": "reasoning-end", "id": "3"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop"},
    ]


SIGNED = {"google": {"thought_signature": "a"}}
CALL: list[Event] = [
    ToolCallBegun(index=0, id="c1", name="weather"),
    ToolCallArguments(0, '{"city":\n'),
    ToolCallArguments(0, '"Paris\u2028"}'),
    ToolCallReady(
        index=0, id="c1", name="weather", arguments='{"city":\n"Paris\u2028"}', provider_data=SIGNED
    ),
]
MADE_CALL = [
    {"type": "tool-input-start", "toolCallId": "c1", "toolName": "weather"},
    {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '{"city":\n'},
    {"type": "tool-input-delta", "toolCallId": "c1", "inputTextDelta": '"Paris\u2028"}'},
    {
        "type": "tool-input-available",
        "toolCallId": "c1",
        "toolName": "weather",
        "input": {"city": "Paris\u2028"},
        "providerMetadata": SIGNED,
    },
]


def test_call_is_a_draft_and_then_available() -> None:
    stream = encode([START, Text("a"), *CALL, done(finish_reason="tool_calls")])
    assert chunks(stream)[5:] == [
        *MADE_CALL,
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "tool-calls"},
    ]
    assert chunks(stream)[4] == {"type": "text-end", "id": "1"}


def test_arguments_stay_as_the_model_wrote_them() -> None:
    call = ToolCallReady(index=0, id="c1", name="a", arguments='{"a":\r\n1.50, "b":1e999,"b":2}')
    assert b'"input":{"a":  1.50, "b":1e999,"b":2}}\n\n' in encode([START, call])


def test_refusal_is_shown_as_text() -> None:
    stream = encode([START, Refusal("No, "), Refusal("sorry."), done()])
    assert [it["delta"] for it in chunks(stream) if it["type"] == "text-delta"] == [
        "No, ",
        "sorry.",
    ]


@pytest.mark.promise("content:exact")
def test_provider_data_ends_the_last_part() -> None:
    end = msgspec.structs.replace(done(), provider_data={**SIGNED, "other": "no object"})
    assert chunks(encode([START, Reasoning("a"), Text("b"), end]))[7:-2] == [
        {"type": "text-end", "id": "2", "providerMetadata": SIGNED}
    ]
    assert chunks(encode([START, Reasoning("a"), end]))[4:-2] == [
        {"type": "reasoning-end", "id": "1", "providerMetadata": SIGNED}
    ]
    assert chunks(encode([START, Text("a"), *CALL, end]))[9:-2] == [
        {"type": "text-start", "id": "2"},
        {"type": "text-end", "id": "2", "providerMetadata": SIGNED},
    ]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: f"{end.status}-{end.outcome}-{end.finish_reason}")  # fmt: skip
def test_step_without_parts_has_an_empty_text_unless_it_fails(end: Done) -> None:
    """So that the hook knows of the step, and does not send the outputs of the step before again."""
    empty = ["text-start", "text-end"] if types(end)[-1] in ("finish", "abort") else []
    assert [it for it in types(end) if it.startswith("text-")] == empty
    assert [it for it in types(*CALL[:1], end) if it.startswith("text-")] == []


def test_next_step_has_the_id_of_its_message() -> None:
    context = Context("m2", b'data: {"type":"finish-step"}\n\n')
    start, step = {"type": "start", "messageId": "m2"}, {"type": "start-step"}
    assert chunks(encode([START], AISDKDialect(context))) == [start, step]
    replay = AISDKDialect(context, is_replay=True)
    assert chunks(encode([START], replay)) == [start, {"type": "finish-step"}, step]


def test_call_with_an_id_of_the_history_has_its_own_id() -> None:
    stream = encode([START, *CALL], AISDKDialect(Context(call_ids=frozenset(["c1"]))))
    assert {it.get("toolCallId", own := f"c1~{GENERATION}") for it in chunks(stream)} == {own}


def test_status_is_transient_and_does_not_end_a_part() -> None:
    stream = encode([START, Text("a"), SWITCHING, Text("b"), done()])
    data = {"state": "switching", "provider": "other", "reason": "upstream_cut"}
    assert chunks(stream)[4] == {"type": "data-status", "data": data, "transient": True}
    assert types(Text("a"), SWITCHING, Text("b"), done()).count("text-start") == 1


@pytest.mark.promise("end:exactly-one")
def test_restart_ends_the_stream_with_an_error() -> None:
    assert types(Text("a"), RESTART) == [
        *BEGIN, "text-start", "text-delta", "text-end", "data-restart", "error",
    ]  # fmt: skip
    assert chunks(encode([START, RESTART]))[-1] == {"type": "error", "errorText": RESTARTED}
    assert Restart in AISDKDialect.ends


def test_replay_after_a_restart_is_a_whole_message() -> None:
    encoder = AISDKDialect().encoder()
    said: list[Event] = [Text("b"), done()]
    stream = b"".join(
        encoder.encode(Record(GENERATION, 7 + seq, it)) for seq, it in enumerate(said)
    )
    assert stream == encode([START, Text("b"), done()])


@pytest.mark.promise("end:exactly-one")
@pytest.mark.parametrize("end", ENDS, ids=lambda end: f"{end.status}-{end.outcome}-{end.finish_reason}")  # fmt: skip
def test_only_an_end_by_the_model_looks_finished(end: Done) -> None:
    """A requested stop is an abort; any other stop is an error to a client that comes back."""
    last = chunks(encode([START, Text("a"), end]))[-1]
    match end.status, end.outcome:
        case ((Status.COMPLETED | Status.INCOMPLETE), _):
            reason = end.finish_reason.replace("_", "-")
            assert last == {"type": "finish", "finishReason": reason}
        case Status.STOPPED, Outcome.CLIENT_STOP:
            assert last == {"type": "abort", "reason": "client_stop"}
        case Status.STOPPED, _:
            assert last == {"type": "error", "errorText": UNWATCHED}
        case _:
            assert last["type"] == "error"
    assert encode([START, Text("a"), end]).endswith(DONE)


def test_lost_replay_is_an_error() -> None:
    lost = AISDKDialect().lost(GENERATION)
    assert chunks(lost) == [{"type": "error", "errorText": CursorLost.message}]
    assert lost.endswith(DONE)


texts = st.text(min_size=1) | st.text(
    st.sampled_from('\n\r\v\f\x1c\x85\u2028\u2029 :a"\\\0\ufeff\U0001f980'), min_size=1
)
pieces = st.builds(Text, texts) | st.builds(Reasoning, texts) | st.just(SWITCHING)


@pytest.mark.promise("stream:word-by-word")
@settings(deadline=None)
@given(said=st.lists(pieces), end=st.sampled_from([*ENDS, RESTART]))
@example(said=[Text("[DONE]"), Text("data: x\n\n")], end=done())
def test_deltas_stay_in_their_part_and_any_text_survives(
    said: list[Event], end: Done | Restart
) -> None:
    """Each part starts once and ends once, and nothing follows the end."""
    open_part: tuple[str, str] | None = None
    seen: dict[str, str] = {"text": "", "reasoning": ""}
    ids = set()
    stream = encode([START, *said, end])
    whole = chunks(stream)
    for chunk in whole:
        kind, _, what = chunk["type"].partition("-")
        if kind not in seen:
            continue
        part = (kind, chunk["id"])
        match what:
            case "start":
                assert open_part is None
                assert part not in ids
                ids.add(part)
                open_part = part
            case "delta":
                assert open_part == part
                seen[kind] += chunk["delta"]
            case _:
                assert open_part == part
                open_part = None
    assert open_part is None
    for kind, event_type in (("text", Text), ("reasoning", Reasoning)):
        assert seen[kind] == "".join(it.text for it in said if isinstance(it, event_type))
    assert [chunk["type"] for chunk in whole if chunk["type"] in {"finish", "abort", "error"}] == [
        whole[-1]["type"]
    ]
    assert stream.count(b"data: [DONE]\n\n") == 1


@settings(deadline=None)
@given(said=st.lists(pieces, max_size=5))
def test_each_line_is_json_however_a_client_splits(said: list[Event]) -> None:
    """No ids, names or comments, and LF is the only line end."""
    stream = encode([START, *said, done()])
    assert b"\r" not in stream
    lines = stream.decode().split("\n")
    assert lines[1::2] == [""] * (len(lines) // 2)
    for line in lines[0::2][:-1]:
        assert len(line.splitlines()) == 1
        assert line.startswith("data: ")
        if line != "data: [DONE]":
            assert isinstance(json.loads(line.removeprefix("data: ")), dict)


@pytest.mark.promise("alive:ping")
def test_keepalive_between_blocks_changes_nothing() -> None:
    blocks = encode([START, Text("a"), done()]).split(b"\n\n")
    assert chunks((b"\n\n" + KEEPALIVE * 2).join(blocks)) == chunks(b"\n\n".join(blocks))
    assert AISDKDialect.keepalive == KEEPALIVE


def repeated_parts() -> bytes:
    """Return the chunks that a replay repeats, of every part that both versions know."""
    call = {
        "type": "tool-a",
        "toolCallId": "c",
        "input": {},
        "title": "A",
        "toolMetadata": {"a": 1},
    }
    parts: list[dict[str, Any]] = [
        {"type": "step-start"},
        {"type": "text", "text": "a", "providerMetadata": SIGNED},
        {"type": "reasoning", "text": "a"},
        {"type": "file", "mediaType": "image/gif", "url": "data:,"},
        {"type": "source-url", "sourceId": "s", "url": "https://a.test"},
        {"type": "source-document", "sourceId": "s", "mediaType": "a/b", "title": "a"},
        {"type": "data-a", "id": "1", "data": 1},
        {**call, "state": "output-available", "output": 1, "resultProviderMetadata": SIGNED},
        {**call, "state": "output-error", "errorText": "No.", "callProviderMetadata": SIGNED},
        {**call, "state": "output-denied", "type": "dynamic-tool", "toolName": "a"},
    ]
    message = {"role": "assistant", "metadata": {"a": 1}, "parts": parts}
    return earlier_steps(msgspec.json.decode(json.dumps(message), type=UIMessage))


@pytest.mark.node
@pytest.mark.parametrize("library", ["ai6", "ai7"])
def test_schemas_of_both_versions_accept_every_chunk(library: str) -> None:
    """Chunks that are wrong are refused."""
    wrong = ['{"type": "nonsense"}', '{"type": "finish", "finishReason": "interrupted", "x": {}}']
    checked = subprocess.run(
        [find("node"), CLIENTS / "ai_sdk_chunks.js", library],
        input="\n".join([*all_chunks(), *wrong]),
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert json.loads(checked.stdout) == (wrong if library == "ai6" else wrong[:1])


@pytest.mark.node
@pytest.mark.parametrize("library", ["ai6", "ai7"])
def test_types_of_both_versions_know_every_chunk(library: str, tmp_path: Path) -> None:
    """With no field that they do not have; a chunk that is wrong is found."""
    (tmp_path / "node_modules").symlink_to(find("clients"))
    wrong = '{"type": "text-start", "id": "1", "delta": "a"}'
    lines = [*all_chunks(), wrong]
    typed = "".join(f"const c{at}: UIMessageChunk = {line};\n" for at, line in enumerate(lines))
    script = tmp_path / "chunks.ts"
    script.write_text(f'import type {{ UIMessageChunk }} from "{library}";\n{typed}')
    options = ["--noEmit", "--strict", "--skipLibCheck", "--target", "es2022", "--types", ""]
    checked = subprocess.run(
        [Path(find("clients")) / ".bin" / "tsc", *options, "--moduleResolution", "bundler", script],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    found = [line for line in checked.stdout.splitlines() if "error TS" in line]
    assert [re.sub(r".*chunks\.ts\((\d+),.*", r"\1", line) for line in found] == [
        str(len(lines) + 1)
    ]


def all_chunks() -> list[str]:
    """Return the chunks of every event after every other, of every end, and of a replay, as JSON."""
    said: list[Event] = [Text("a\u2028"), Reasoning("b"), SWITCHING]
    streams: list[list[Event]] = [[START, RESTART]]
    signed = msgspec.structs.replace(done(), provider_data=SIGNED)
    streams += [[START, *CALL, end] for end in (*ENDS, signed)]
    streams += [[START, *pair, end] for pair in itertools.permutations(said, 2) for end in ENDS]
    whole = b"".join(encode(stream) for stream in streams) + AISDKDialect().lost(GENERATION)
    whole += repeated_parts()
    return sorted({json.dumps(chunk) for chunk in chunks(whole)})
