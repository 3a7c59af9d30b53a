"""The files that `docs/frontend.md` is made of."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "frontend.md"
_BLOCK = re.compile(r"^```\w*\n((?:<!--|//|#) (\S+).*?)^```$", re.MULTILINE | re.DOTALL)

FENCES = _PAGE.read_text(encoding="utf-8").count("\n```") // 2
FILES = {block[2]: block[1] for block in _BLOCK.finditer(_PAGE.read_text(encoding="utf-8"))}
"""Their text, by the name in their first line."""


def save(directory: Path, *names: str, service: str) -> None:
    """Write files as a reader would who fills in where the service is."""
    for name in names:
        text = FILES[name].replace('const service = "";', f'const service = "{service}";')
        (directory / name).write_text(text, encoding="utf-8")
