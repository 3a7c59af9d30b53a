"""Tool calls with a quirk: written as a server with it writes them, and read by the adapter for such servers."""

from collections.abc import Iterable, Iterator

import msgspec

from streamsvc.events import Delta, ToolCallArguments, ToolCallBegun
from streamsvc.providers.answer import AnswerSoFar
from streamsvc.providers.base import Finish
from streamsvc.providers.fake.steps import Step
from streamsvc.providers.fake.text import words
from streamsvc.providers.openai.chunks import ChunkReader
from streamsvc.providers.openai.quirks import Style, WrittenCall, chunks


def quirky(steps: Iterable[Step], style: Style) -> Iterator[Step]:
    """Yield the steps of an answer; its tool calls have gone over OpenAI's wire format in a server's *style*."""
    for step in steps:
        if isinstance(step, Finish) and step.tool_calls:
            yield from _rewritten(step, style)
        elif not isinstance(step, ToolCallBegun | ToolCallArguments):
            yield step


def _rewritten(finish: Finish, style: Style) -> Iterator[Step]:
    """Yield the drafts of an answer's calls as the adapter reads them, and the end that it finds."""
    read: list[Delta | Finish] = []
    answer = AnswerSoFar(read.append)
    reader = ChunkReader(answer)
    calls = [
        WrittenCall(id=call.id, name=call.name, pieces=[*words(call.arguments)])
        for call in finish.tool_calls
    ]
    for chunk in chunks(calls, style):
        reader.take(msgspec.json.encode(chunk))
        yield from (piece for piece in read if not isinstance(piece, Finish))
        read.clear()
    found = answer.finish()
    originals = zip(found.tool_calls, finish.tool_calls, strict=True)
    is_cut = finish.reason != "tool_calls"
    yield msgspec.structs.replace(
        finish,
        provider_reason=finish.provider_reason if is_cut else found.provider_reason,
        tool_calls=tuple(
            msgspec.structs.replace(call, provider_data=original.provider_data)
            for call, original in originals
        ),
    )
