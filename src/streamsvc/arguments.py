"""The arguments of every command, and their help.

A flag that overrides a setting is a row of `config.paths.OPTIONS`. Its help names the setting and the default, and its
text is checked with the settings, so a mistake in it reads like one in the file.
"""

import argparse
import importlib
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from streamsvc import __version__
from streamsvc.config.file import KEY_VARIABLE
from streamsvc.config.paths import OPTIONS, default_of, dotted, setting_for
from streamsvc.keys.arguments import add_key_arguments

_EXAMPLES = """\
examples:
  streamsvc serve                          run the service on http://127.0.0.1:8000
  streamsvc serve --port 9000 --provider openai
  streamsvc ask "Write a function"         ask it, and print the answer as it streams
  streamsvc check-config                   check the settings
  streamsvc doctor                         check what they need: keys, providers, Redis, the machine

`streamsvc COMMAND --help` describes a command."""

_SERVE = """\
Runs the service in the foreground. SIGTERM and SIGINT drain it: running answers may
finish; a second signal cuts them. SIGHUP reads the settings again: new requests have
the new ones, running answers keep theirs. With several workers, SIGUSR2 replaces one
after another, without losing a connection."""

_SERVE_EXAMPLES = """\
Flags override environment variables, which override the file.

examples:
  streamsvc serve                               the defaults, or ./config.toml
  streamsvc serve --port 9000 --provider openai
  streamsvc serve --config prod.toml --workers 4 --log-format json
  streamsvc serve --reload --log-level debug    while you work on the settings
"""

_FLAGS: Mapping[str, tuple[str, str]] = {
    "--host": ("ADDRESS", "the address to listen on"),
    "--port": ("N", "the port to listen on; 0 takes a free one"),
    "--workers": ("N", "how many worker processes share the connections"),
    "--provider": ("NAME", "the provider entry that answers"),
    "--log-level": ("LEVEL", "the least important lines to log: debug, info, warning or error"),
    "--log-format": ("FORMAT", "text, or json: an object in each line"),
}
"""The flags with a value: its name in the help, and what it is."""

_FLAGS_OF: Mapping[str, Collection[str]] = {
    "serve": _FLAGS,
    "demo": ("--port", "--log-level", "--log-format"),
    "check-config": _FLAGS,
    "doctor": _FLAGS,
    "deploy": _FLAGS,
    "ask": ("--host", "--port"),
}
"""The flags of each command: what `serve` runs with can be checked, deployed and asked with the same ones."""


def parser_of_commands() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser of all commands, and that of each command by its name."""
    parser = argparse.ArgumentParser(
        prog="streamsvc",
        description="Streams language-model answers word by word over server-sent events.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"streamsvc {__version__}")
    return parser, _add_commands(parser)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; an unknown one ends the process with 2, and with a hint if it is a setting.

    Args:
        argv: the arguments; None means those of the process.

    Returns:
        `command`, its arguments, and the text of each of `OPTIONS` that was given, under the flag itself.
    """
    parser, commands = parser_of_commands()
    arguments, rest = parser.parse_known_args(argv)
    if rest:
        hints = [hint for text in rest if (hint := _hint(arguments.command, text))]
        hint = f" ({'; '.join(hints)})" if hints else ""
        commands[arguments.command].error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    return arguments


def _hint(command: str, argument: str) -> str:
    """Say what an unknown argument may mean; "" if that is not known."""
    if setting := setting_for(argument):
        key, variable = setting
        if (
            command == "demo"
            and variable in importlib.import_module("streamsvc.demo.command").SETTINGS
        ):
            return f"the demo sets {key} itself"
        return f"set {key} in config.toml, or {variable}"
    name = argument.partition("=")[0]
    close = get_close_matches(name, _FLAGS_OF.get(command, ()), n=1)
    return f"did you mean {close[0]}?" if close else ""


def options_of(arguments: argparse.Namespace) -> Mapping[str, str]:
    """Return the flags that override settings, with their text."""
    given = ((flag, getattr(arguments, flag, None)) for flag in OPTIONS)
    return {flag: text for flag, text in given if text is not None}


def _add_commands(parser: argparse.ArgumentParser) -> Mapping[str, argparse.ArgumentParser]:
    """Add the commands; return their parsers by name."""
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    config = argparse.ArgumentParser(add_help=False)
    config.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="the settings file (default: $STREAMSVC_CONFIG, or ./config.toml if it exists)",
    )
    _add_serve(commands, config)
    demo = commands.add_parser(
        "demo",
        parents=[config],
        help="show on this machine how an answer survives the death of its worker",
        description="Runs two workers with a Valkey server of their own, on the fake provider, and "
        "a page with a button that kills the worker that answers. Needs streamsvc[demo].",
    )
    _add_flags(demo, "demo")
    check = commands.add_parser(
        "check-config", parents=[config], help="check the settings and list the providers"
    )
    _add_flags(check, "check-config")
    _add_doctor(commands, config)
    _add_deploy(commands, config)
    add_key_arguments(commands, config)
    params = commands.add_parser(
        "params",
        parents=[config],
        help="print what a provider entry makes of each parameter of a request",
    )
    params.add_argument(
        "entry",
        nargs="?",
        metavar="ENTRY",
        help="a provider entry (default: `provider` in the settings)",
    )
    _add_ask(commands, config)
    return commands.choices


def _add_serve(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", config: argparse.ArgumentParser
) -> None:
    serve = commands.add_parser(
        "serve",
        parents=[config],
        help="run the service",
        description=_SERVE,
        epilog=_SERVE_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_flags(serve, "serve")
    serve.add_argument(
        "--reload",
        dest="--reload",
        action="store_const",
        const="true",
        help=f"apply changes of the settings file at once{_setting('--reload')}",
    )


def _add_doctor(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", config: argparse.ArgumentParser
) -> None:
    doctor = commands.add_parser(
        "doctor",
        parents=[config],
        help="check settings, keys, providers, Redis and this machine, without spending tokens",
        description="Checks what the service needs, and prints one line for each finding: ok, warn or fail, what was "
        "checked, what was found, and what to do. The exit code is 1 if a check failed.",
    )
    _add_flags(doctor, "doctor")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")


def _add_deploy(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", config: argparse.ArgumentParser
) -> None:
    deploy = commands.add_parser(
        "deploy",
        parents=[config],
        help="print a deployment file whose numbers come from the settings",
        description="Prints a file for an environment: Dockerfile, compose.yaml, Kubernetes manifests, systemd unit, "
        "nginx or Caddy configuration. Times, sizes and limits in it are computed from the settings. "
        "What a flag or a variable sets is set in the file as well.",
    )
    deploy.add_argument(
        "kind",
        choices=("docker", "compose", "k8s", "systemd", "nginx", "caddy"),
        help="the kind of file",
    )
    _add_flags(deploy, "deploy")


def _add_flags(parser: argparse.ArgumentParser, command: str) -> None:
    for flag in _FLAGS_OF[command]:
        metavar, what = _FLAGS[flag]
        parser.add_argument(flag, dest=flag, metavar=metavar, help=f"{what}{_setting(flag)}")


def _setting(flag: str) -> str:
    """Return the setting of a flag, and its default, for the help."""
    return f" (`{dotted(OPTIONS[flag])}`, default: {default_of(OPTIONS[flag])})"


def _add_ask(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", config: argparse.ArgumentParser
) -> None:
    ask = commands.add_parser(
        "ask",
        parents=[config],
        help="ask one question and print the answer as it streams",
        description=f"Asks a running service. If it asks for a key, set {KEY_VARIABLE}.",
    )
    ask.add_argument("prompt", type=_valid_text, metavar="PROMPT", help="the question")
    ask.add_argument(
        "--provider", metavar="NAME", help="a provider entry (default: `provider` in the settings)"
    )
    ask.add_argument(
        "--url", help="the URL of a running service (default: the host and port in the settings)"
    )
    _add_flags(ask, "ask")
    ask.add_argument(
        "--direct", action="store_true", help="ask the provider directly, without a service"
    )


def _valid_text(argument: str) -> str:
    """Return an argument as valid Unicode; bytes that are not UTF-8 are replaced."""
    return argument.encode(errors="surrogateescape").decode(errors="replace")
