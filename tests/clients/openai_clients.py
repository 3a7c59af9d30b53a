"""OpenAI's own clients, unmodified, with one interface: a question goes in, and a report comes out."""

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Literal, Protocol

import anyio
import anyio.to_thread
import msgspec
import openai
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from typing_extensions import override

from support.parts import find

HERE = Path(__file__).parent

How = Literal["stream", "helper", "whole", "list", "retrieve"]
"""A stream, a stream through the client's helper, an answer in one piece, all models, or one model."""


class Question(msgspec.Struct, kw_only=True):
    """A request of a program.

    Attributes:
        body: the fields of the request.
        leave_after: the number of text chunks after which the program leaves.
        retries: how often the client retries; None is its default.
    """

    url: str
    how: How
    body: dict[str, Any] = {}
    headers: dict[str, str] = {}
    leave_after: int | None = None
    retries: int | None = None


class Failure(msgspec.Struct):
    """The exception that the client raises."""

    kind: str
    status: int | None = None
    code: str | None = None
    type: str | None = None
    param: str | None = None
    message: str = ""


class Report(msgspec.Struct):
    """The result that a program gets."""

    id: str = ""
    generation: str | None = None
    model: str = ""
    role: str | None = None
    text: str = ""
    reasoning: str = ""
    pieces: int = 0
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    models: list[str] = []
    error: Failure | None = None


class Client(Protocol):
    """A client library."""

    async def ask(self, question: Question, *, abort: anyio.Event | None = None) -> Report:
        """Ask, and abort the request when *abort* is set."""
        ...


class PythonClient(Client):
    """openai-python, asynchronous."""

    @override
    async def ask(self, question: Question, *, abort: anyio.Event | None = None) -> Report:
        report = Report()
        async with anyio.create_task_group() as tasks:
            if abort is not None:

                async def give_up() -> None:
                    await abort.wait()
                    tasks.cancel_scope.cancel()

                tasks.start_soon(give_up)
            try:
                async with openai.AsyncOpenAI(**_options(question)) as client:
                    await _ask(client, question, report)
            except openai.OpenAIError as exc:
                report.error = _failure(exc)
            tasks.cancel_scope.cancel()
        return report


async def _ask(client: openai.AsyncOpenAI, question: Question, report: Report) -> None:
    match question.how:
        case "list":
            report.models = [model.id async for model in client.models.list()]
        case "retrieve":
            report.models = [(await client.models.retrieve(question.body["model"])).id]
        case "whole":
            completions = client.chat.completions.with_raw_response
            raw = await completions.create(**_known(question.body))
            report.generation = raw.headers["x-generation-id"]
            _take_whole(report, raw.parse())
        case "stream":
            await _follow(client, question, report)
        case "helper":
            await _follow_with_helper(client, question, report)


async def _follow(client: openai.AsyncOpenAI, question: Question, report: Report) -> None:
    completions = client.chat.completions.with_raw_response
    raw = await completions.create(**_known(question.body), stream=True)
    report.generation = raw.headers["x-generation-id"]
    async with raw.parse() as stream:
        async for chunk in stream:
            _take(report, chunk)
            if report.pieces == question.leave_after:
                return


async def _follow_with_helper(
    client: openai.AsyncOpenAI, question: Question, report: Report
) -> None:
    async with client.chat.completions.stream(**_known(question.body)) as events:
        async for event in events:
            if event.type == "chunk":
                _take(report, event.chunk)
            if report.pieces == question.leave_after:
                return
        final = await events.get_final_completion()
    assert final.choices[0].message.content == report.text


class SyncPythonClient(Client):
    """openai-python, synchronous; its requests cannot be aborted."""

    @override
    async def ask(self, question: Question, *, abort: anyio.Event | None = None) -> Report:
        return await anyio.to_thread.run_sync(self._ask, question)

    def _ask(self, question: Question) -> Report:
        report = Report()
        body = _known(question.body)
        with openai.OpenAI(**_options(question)) as client:
            try:
                if question.how == "whole":
                    _take_whole(report, client.chat.completions.create(**body))
                else:
                    for chunk in client.chat.completions.create(**body, stream=True):
                        _take(report, chunk)
            except openai.OpenAIError as exc:
                report.error = _failure(exc)
        return report


def _options(question: Question) -> dict[str, Any]:
    options: dict[str, Any] = {"api_key": "any", "base_url": f"{question.url}/v1"}
    if question.retries is not None:
        options["max_retries"] = question.retries
    return {**options, "default_headers": question.headers}


def _known(body: Mapping[str, Any]) -> Any:
    """Move fields that the client has no argument for into `extra_body`, as its users do."""
    beside = {name: body[name] for name in body if name in {"grace_seconds", "fault", "top_k"}}
    return {**{name: body[name] for name in body if name not in beside}, "extra_body": beside}


def _take(report: Report, chunk: ChatCompletionChunk) -> None:
    report.id, report.model = chunk.id, chunk.model
    report.usage = chunk.usage.model_dump(exclude_unset=True) if chunk.usage else report.usage
    for choice in chunk.choices:
        delta = choice.delta
        report.role = delta.role or report.role
        report.text += delta.content or ""
        report.reasoning += getattr(delta, "reasoning_content", "")
        report.pieces += bool(delta.content)
        report.finish_reason = choice.finish_reason or report.finish_reason


def _take_whole(report: Report, completion: ChatCompletion) -> None:
    message = completion.choices[0].message
    report.id, report.model, report.role = completion.id, completion.model, message.role
    report.text, report.pieces = message.content or "", bool(message.content)
    report.reasoning = getattr(message, "reasoning_content", "")
    report.finish_reason = completion.choices[0].finish_reason
    report.usage = completion.usage.model_dump(exclude_unset=True) if completion.usage else None


def _failure(exc: openai.OpenAIError) -> Failure:
    status = exc.status_code if isinstance(exc, openai.APIStatusError) else None
    if not isinstance(exc, openai.APIError):
        return Failure(type(exc).__name__, message=str(exc))
    return Failure(type(exc).__name__, status, exc.code, exc.type, exc.param, exc.message)


class NodeClient(Client):
    """openai-node, in a process that takes questions one after another.

    Args:
        process: runs `openai.js`.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._numbers = count()
        self._turn = anyio.Lock()

    @override
    async def ask(self, question: Question, *, abort: anyio.Event | None = None) -> Report:
        number = next(self._numbers)
        async with self._turn, anyio.create_task_group() as tasks:
            self._write({**msgspec.to_builtins(question), "number": number})
            if abort is not None:

                async def give_up() -> None:
                    await abort.wait()
                    self._write({"abort": number})

                tasks.start_soon(give_up)
            assert self._process.stdout is not None
            report = msgspec.json.decode(await self._process.stdout.readline(), type=Report)
            tasks.cancel_scope.cancel()
        return report

    def _write(self, value: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value).encode() + b"\n")


@asynccontextmanager
async def node_client(package: str) -> AsyncIterator[Client]:
    """Run a version of openai-node, by its name in `package.json`."""
    find("clients")
    process = await asyncio.create_subprocess_exec(
        find("node"), str(HERE / "openai.js"), package, stdin=PIPE, stdout=PIPE, limit=2**24
    )
    try:
        yield NodeClient(process)
    finally:
        process.kill()
        await process.wait()
