"""Tool calls as an OpenAI-compatible server sends them, and what the tests of them ask for."""

from typing import Any

from support.upstreams import OPENAI, Step

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CLOCK: dict[str, Any] = {"type": "function", "function": {"name": "get_time"}}


def begun(index: int, call_id: str, name: str, arguments: str = "") -> bytes:
    """Return the chunk that begins a call."""
    function = {"name": name, "arguments": arguments}
    call = {"index": index, "id": call_id, "type": "function", "function": function}
    return OPENAI.choice({"tool_calls": [call]})


def piece(index: int, arguments: str) -> bytes:
    """Return a chunk with a piece of a call's arguments."""
    return OPENAI.choice({"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})


def calls(*asked: tuple[str, str, str]) -> Step:
    """Send calls one after the other, each as id, name and arguments, with the arguments in two pieces."""
    chunks: list[bytes] = []
    for index, (call_id, name, arguments) in enumerate(asked):
        half = len(arguments) // 2
        chunks.append(begun(index, call_id, name))
        chunks += [piece(index, it) for it in (arguments[:half], arguments[half:]) if it]
    return lambda to: to.send(b"".join(chunks))
