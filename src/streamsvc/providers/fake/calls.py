"""Which tools the fake provider calls, and with what arguments: the same prompt always gives the same calls.

It calls a tool whenever a prompt has some, unless the last messages are results. Which one:

* the one that `tool_choice` names;
* else those whose names have a word in common with the question: all of them, or the first if
  `parallel_tool_calls` is false;
* else the first. If the question has an "and" or a "both", and names several things ("Paris and London"), it
  is called for each of them.

Arguments are made from the tool's schema. A string that may have any content is a name or a quotation from the
question, one after another.
"""

import json
import re
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from streamsvc.messages import (
    NamedTool,
    Prompt,
    Tool,
    ToolMessage,
    UserMessage,
    words_of,
)
from streamsvc.providers.fake.schemas import NoValue, Work
from streamsvc.providers.fake.values import value_for

MAX_CALLS = 8
"""How many calls one answer has at most."""

MAX_CHARS = 2000
"""How much of a question is looked at."""

_WORD_IN_NAME = re.compile(r"[A-Z]?[a-z]{3,}|[A-Z]{3,}")
_LETTERS = re.compile(r"[^\W\d_]+")
_TOO_COMMON = frozenset(("get", "set", "the", "for", "and", "use", "make", "with", "tool"))
_ASKS_FOR_SEVERAL = re.compile(r"\b(and|both|each)\b|,", re.IGNORECASE)
_NAME = re.compile(
    r"\"([^\"\n]{1,80})\"|(?<![.!?]\s)(?<!^)\b(?!I\b)([A-ZÀ-ÖØ-Þ][\w'\u2019-]*(?: [A-ZÀ-ÖØ-Þ][\w'\u2019-]*)*)"
)


def question_of(prompt: Prompt) -> str:
    """Return the words of the last user message."""
    asked = (turn for turn in reversed(prompt.messages) if isinstance(turn, UserMessage))
    return next((words_of(turn.content) for turn in asked), "")


def results_of(prompt: Prompt) -> Sequence[ToolMessage]:
    """Return the tool results that the prompt ends with, in their order."""
    results: list[ToolMessage] = []
    for turn in prompt.messages:
        if isinstance(turn, ToolMessage):
            results.append(turn)
        else:
            results.clear()
    return results


def calls_for(prompt: Prompt) -> Sequence[tuple[str, dict[str, Any]]]:
    """Return the name and the arguments of each tool call with which a prompt is answered; none if it gets words.

    Raises:
        NoValue: no arguments fit a tool's schema.
    """
    tools = _chosen(prompt)
    question = question_of(prompt)[:MAX_CHARS]
    names = deque(found[1] or found[2] for found in _NAME.finditer(question))
    may_repeat = prompt.parallel_tool_calls is not False and _ASKS_FOR_SEVERAL.search(question)
    if len(tools) == 1 and may_repeat and not isinstance(prompt.tool_choice, NamedTool):
        tools = [*tools] * max(1, min(len(names), MAX_CALLS))
    made: list[tuple[str, dict[str, Any]]] = []
    work = Work()
    for tool in tools:
        words = iter([*names])
        arguments = value_for(tool.parameters, words=words, work=work) if tool.parameters else {}
        if not isinstance(arguments, dict):
            raise NoValue  # a tool's arguments are an object
        names.rotate(
            len([*words]) - len(names)
        )  # the next call begins with the names that are left
        if (tool.name, arguments) not in made:
            made.append((tool.name, arguments))
    return made


def as_json(value: object) -> str:
    """Return a value as the text that the provider writes."""
    return json.dumps(msgspec.to_builtins(value), ensure_ascii=False)  # a date of TOML is text


def _chosen(prompt: Prompt) -> Sequence[Tool]:
    """Return the tools to call, in the order of the prompt."""
    if isinstance(prompt.tool_choice, NamedTool):
        return [tool for tool in prompt.tools if tool.name == prompt.tool_choice.name]
    choice = prompt.tool_choice
    if choice == "none" or (choice != "required" and results_of(prompt)):
        return ()
    asked = {word.lower() for word in _LETTERS.findall(question_of(prompt)[:MAX_CHARS])}
    suitable = [tool for tool in prompt.tools if _is_named(tool, asked)]
    if prompt.parallel_tool_calls is False:
        suitable = suitable[:1]
    return suitable[:MAX_CALLS] or prompt.tools[:1]


def _is_named(tool: Tool, asked: Collection[str]) -> bool:
    """Return whether one of the words of a question is one of the tool's name, maybe with an ending."""
    own = {word.lower() for word in _WORD_IN_NAME.findall(tool.name)} - _TOO_COMMON
    return any(word.startswith(name) for word in asked for name in own)
