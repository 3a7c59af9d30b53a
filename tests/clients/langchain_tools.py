"""Conversations with tools and structured answers, through LangChain.

Usage: `python langchain_tools.py URL`. Prints one JSON object: what a program saw, by conversation.
"""

import json
import sys
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel, SecretStr

PARALLEL = "What is the weather in Paris and London?"


@tool
def get_weather(city: str) -> str:
    """Return the weather in a city."""
    return f"20 degrees in {city}"


class Event(BaseModel):
    """Something that happens."""

    name: str
    people: list[str]


def _calls(message: AIMessage) -> list[Any]:
    return [[call["name"], call["args"]] for call in message.tool_calls]


def _round_trip(model: Any) -> Any:
    messages: list[AnyMessage] = [HumanMessage(PARALLEL)]
    asked = model.invoke(messages)
    messages += [asked, *(get_weather.invoke(call) for call in asked.tool_calls)]
    return {"calls": _calls(asked), "text": model.invoke(messages).content}


def _streamed(model: Any) -> Any:
    whole = AIMessageChunk(content="")
    for chunk in model.stream([HumanMessage(PARALLEL)]):
        whole += chunk
    return _calls(whole)


def main(url: str) -> None:
    """Hold each conversation, and print what came of it."""
    model = ChatOpenAI(model="fake", base_url=f"{url}/v1", api_key=SecretStr("none"), max_retries=0)
    with_tools = model.bind_tools([get_weather])
    report: dict[str, Any] = {
        "round_trip": _round_trip(with_tools),
        "streamed": _streamed(with_tools),
        "text": "".join(str(chunk.content) for chunk in model.stream("Hello")),
    }
    for method in ("json_schema", "function_calling"):
        structured: Any = model.with_structured_output(Event, method=method)
        report[method] = structured.invoke("An event").model_dump()
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1])
