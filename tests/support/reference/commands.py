"""The sections of `docs/reference/command-line.md`, from the parsers of the commands."""

import argparse
import re
from collections.abc import Iterator, Mapping

from streamsvc.arguments import parser_of_commands
from support.reference.markdown import anchor, sentences, table

_SETTING = re.compile(r"`(\w+\.\w+|provider)`")

Parsers = Mapping[str, argparse.ArgumentParser]


def overview() -> str:
    """Return a table of the commands."""
    parser, _ = parser_of_commands()
    rows = ((f"[`{name}`](#{anchor(name)})", f"{what}") for name, what in _helps(parser).items())
    return table(("command", "what it does"), rows)


def details() -> str:
    """Return a section for each command: what it does, how it is called, its arguments."""
    parser, commands = parser_of_commands()
    helps = _helps(parser)
    return "\n".join(
        _section(f"streamsvc {name}", command, helps[name], "##")
        for name, command in commands.items()
    )


def _section(name: str, command: argparse.ArgumentParser, help_: str, level: str) -> str:
    title = name.removeprefix("streamsvc ")
    text = sentences(command.description or f"{help_[:1].upper()}{help_[1:]}.")
    parts = [f"{level} `{title}`\n\n{text}\n"]
    actions, helps = _actions(command), _helps(command)
    if not actions:
        parts.append(f"```text\n{_usage(name, command)}\n```\n")
    if rows := [*_arguments(command)]:
        parts.append(table(("argument", "meaning"), rows))
    parts += [_section(f"{name} {it}", actions[it], helps[it], f"{level}#") for it in actions]
    return "\n".join(parts)


def _actions(command: argparse.ArgumentParser) -> Parsers:
    """Return the parsers of what a command is followed by, by name."""
    found = (it for it in command._actions if isinstance(it, argparse._SubParsersAction))
    return next((it.choices for it in found), {})


def _helps(command: argparse.ArgumentParser) -> Mapping[str, str]:
    """Return a sentence for each of them."""
    found = (it for it in command._actions if isinstance(it, argparse._SubParsersAction))
    subparsers = next(found, None)
    choices = subparsers._choices_actions if subparsers else ()
    return {str(it.dest): str(it.help) for it in choices}


def _usage(name: str, command: argparse.ArgumentParser) -> str:
    """Return how a command is called, in one line; argparse's own differs between versions of Python."""
    own = sorted(_own(command), key=lambda it: not it.option_strings)  # flags first
    parts = [f"[{_named(it)}]" if it.option_strings else _placed(it) for it in own]
    return " ".join([name, *parts])


def _arguments(command: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for it in _own(command):
        choices = f": {', '.join(f'`{choice}`' for choice in it.choices)}" if it.choices else ""
        text = f"{it.help}{choices}"
        yield f"`{_named(it)}`", _SETTING.sub(_to_setting, text)


def _own(command: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    skipped = (argparse._HelpAction, argparse._SubParsersAction)
    yield from (it for it in command._actions if not isinstance(it, skipped))


def _named(action: argparse.Action) -> str:
    if not action.option_strings:
        return str(action.metavar or action.dest.upper())
    flag = action.option_strings[-1]
    return flag if action.nargs == 0 else f"{flag} {action.metavar or action.dest.upper()}"


def _placed(action: argparse.Action) -> str:
    return f"[{_named(action)}]" if action.nargs == "?" else _named(action)


def _to_setting(found: re.Match[str]) -> str:
    return f"[{found[0]}](settings.md#{anchor(found[1])})"
