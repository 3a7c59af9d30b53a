"""A chat of the AI SDK in Node.js, driven from a test: the real state machine of `useChat`."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import msgspec

from support.parts import find

CLIENTS = Path(__file__).parents[1] / "clients"


class Seen(msgspec.Struct, rename="camel"):
    """The state of a chat after a command.

    Attributes:
        grown: the length of the answer's text at each change.
        notes: the data parts that `onData` received.
        finishes: the arguments that `onFinish` received.
        tool_calls: what `onToolCall` received.
    """

    status: Literal["submitted", "streaming", "ready", "error"]
    error: str | None
    messages: list[dict[str, Any]]
    grown: list[int]
    notes: list[dict[str, Any]]
    finishes: list[dict[str, Any]]
    tool_calls: list[dict[str, Any]]

    @property
    def answers(self) -> list[dict[str, Any]]:
        """The assistant's messages."""
        return [message for message in self.messages if message["role"] == "assistant"]

    def tools(self) -> list[tuple[object, ...]]:
        """Return the tool parts of the last answer: the id, the state, the input, and the output or the error."""
        parts = [part for part in self.answers[-1]["parts"] if "toolCallId" in part]
        return [
            (it["toolCallId"], it["state"], it.get("input"), it.get("output", it.get("errorText")))
            for it in parts
        ]

    def texts(self, kind: str = "text") -> list[str]:
        """Return the joined parts of one kind, for each answer."""
        return [
            "".join(part["text"] for part in answer["parts"] if part["type"] == kind)
            for answer in self.answers
        ]


class Chat:
    """A chat in its own process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, command: str, argument: object = None) -> Seen:
        """Run a command of `ai_sdk_chat.js`, and return the chat's state after it."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps([command, argument]).encode() + b"\n")
        with anyio.fail_after(20):
            line = await self._process.stdout.readline()
        return msgspec.json.decode(line, type=Seen)


@asynccontextmanager
async def ai_sdk_chat(
    library: str, port: int, chat: str = "chat-1", *, transport: str = "default"
) -> AsyncIterator[Chat]:
    """Open a chat with the service on a loopback port."""
    process = await asyncio.create_subprocess_exec(
        find("node"),
        str(CLIENTS / "ai_sdk_chat.js"),
        library,
        f"http://127.0.0.1:{port}/api/chat",
        chat,
        transport,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield Chat(process)
    finally:
        assert process.stdin
        process.stdin.close()
        with anyio.move_on_after(5, shield=True) as scope:
            await process.wait()
        if scope.cancelled_caught:
            process.kill()
            await process.wait()
