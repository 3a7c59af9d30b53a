"""The arguments of `streamsvc key`; apart from the command, so that other commands start without what it imports."""

import argparse
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from streamsvc.config.keys_file import NEVER

_DURATION = re.compile(r"(\d{1,5})([dh])")
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1)}


def add_key_arguments(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", config: argparse.ArgumentParser
) -> None:
    """Add the command and its actions.

    Args:
        commands: all commands.
        config: the parser of `--config`.
    """
    key = commands.add_parser("key", help="make, list and revoke the API keys of the service")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument(
        "--file", type=Path, metavar="FILE", help="the keys file (default: `auth.keys_file`)"
    )
    actions = key.add_subparsers(dest="action", required=True, metavar="action")
    new = actions.add_parser(
        "new",
        parents=[config, where],
        help="make a key for a principal and print it, once",
        description="Makes a key for a principal, which is a team, a service or a user, and prints it on standard "
        "output. It is not stored: the file gets its hash.",
    )
    new.add_argument("name", metavar="NAME", help="whose key it is")
    new.add_argument(
        "--expires",
        type=_expiry,
        metavar="WHEN",
        default=NEVER,
        help="after how many days or hours (90d, 12h), or when (2027-01-31) it expires",
    )
    actions.add_parser("list", parents=[config, where], help="list the keys, by their ids")
    revoke = actions.add_parser(
        "revoke", parents=[config, where], help="remove a key; its running streams are cut"
    )
    revoke.add_argument("id", metavar="ID", help="the id of the key, which is its second part")


def _expiry(text: str) -> datetime:
    """Return when a key expires: after some days or hours, or at a date or time; without an offset it is UTC."""
    try:
        if duration := _DURATION.fullmatch(text):
            when = datetime.now(UTC).replace(microsecond=0) + int(duration[1]) * _UNITS[duration[2]]
        else:
            when = datetime.fromisoformat(text)
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
        is_past = when <= datetime.now(UTC)
    except (ValueError, OverflowError):
        accepted = "90d, 12h, 2027-01-31 or 2027-01-31T12:00:00Z"
        raise argparse.ArgumentTypeError(f"found {text!r}; accepted: {accepted}") from None
    if is_past:
        raise argparse.ArgumentTypeError(f"{text} is in the past")
    return when
