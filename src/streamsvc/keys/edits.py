"""Edits the text of a keys file; comments and order stay as they are.

What comes out is read again and compared with what was meant: a key that stays valid after it was revoked, or an entry
that is lost, is worse than a refusal.
"""

import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, InlineTable

from streamsvc.config.file import refuse
from streamsvc.config.keys_file import NEVER, KeyEntry

_OPENING = """\
# Who may use the service: the principals and the hashes of their keys. `streamsvc key new | list | revoke` change it;
# a running service reads it again.

"""


def added(text: str, name: str, key: KeyEntry) -> str:
    """Return the text with one more key.

    Args:
        text: of the file; "" if it does not exist.
        name: of the principal, which is added if it is not there.
        key: its new key.

    Raises:
        ConfigError: the file has a layout that cannot be edited.
    """
    fields = {"id": key.id, "hash": key.hash, "created": key.created}
    if key.expires != NEVER:
        fields["expires"] = key.expires
    expected = tomllib.loads(text)
    entry = expected.setdefault("principals", {}).setdefault(name, {})
    entry["keys"] = [*entry.get("keys", ()), fields]
    return _edited(text or _OPENING, expected, lambda document: _add(document, name, fields))


def removed(text: str, name: str, key_id: str) -> str:
    """Return the text without one key.

    Args:
        text: of the file.
        name: of the principal, which stays.
        key_id: of its key.

    Raises:
        ConfigError: the file has a layout that cannot be edited.
    """
    expected = tomllib.loads(text)
    entry = expected["principals"][name]
    entry["keys"] = [key for key in entry["keys"] if key["id"] != key_id]
    return _edited(text, expected, lambda document: _remove(document, name, key_id))


def _edited(
    text: str, expected: dict[str, Any], edit: Callable[[tomlkit.TOMLDocument], None]
) -> str:
    """Return the text after an edit, if it says what is expected."""
    result = ""
    with suppress(TOMLKitError, ValueError, LookupError):
        document = tomlkit.parse(text)
        edit(document)
        result = f"{tomlkit.dumps(document).rstrip()}\n"
    if not _says(result, expected):
        accepted = "keys as tables of their own, [[principals.NAME.keys]]; or edit it by hand"
        refuse("The keys file", "a layout that this command cannot change", accepted)
    return result


def _says(text: str, expected: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == expected
    except ValueError:
        return False


def _add(document: tomlkit.TOMLDocument, name: str, fields: Mapping[str, Any]) -> None:
    principals: Any = document.setdefault("principals", tomlkit.table(is_super_table=True))
    if name not in principals:
        is_inline = isinstance(principals, InlineTable)
        principals[name] = (
            tomlkit.inline_table() if is_inline else tomlkit.table(is_super_table=False)
        )
    principal: Any = principals[name]
    if not principal.get("keys"):
        principal["keys"] = tomlkit.array() if isinstance(principal, InlineTable) else tomlkit.aot()
    keys: Any = principal["keys"]
    key = tomlkit.table() if isinstance(keys, AoT) else tomlkit.inline_table()
    key.update(fields)
    keys.append(key)


def _remove(document: tomlkit.TOMLDocument, name: str, key_id: str) -> None:
    principal: Any = document["principals"][name]
    keys: Any = principal["keys"]
    if len(keys) == 1:  # the principal stays, even if nothing else is known of it
        principal["keys"] = tomlkit.array()
    else:
        del keys[[key["id"] for key in keys].index(key_id)]
