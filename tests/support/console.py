"""The commands of a document, typed as they stand, and compared with the output that the document shows."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

SECONDS = 60


@dataclass(frozen=True)
class Command:
    """A command of a document, and what the document says that it prints.

    `…` stands for anything but nothing, and an id of a key or a date for any other.
    """

    line: str
    output: str

    def matches(self, printed: str) -> bool:
        """Return whether a command printed what the document says."""
        pattern = ".+?".join(map(re.escape, _common(self.output.rstrip()).split("…")))
        return re.fullmatch(pattern, _common(printed.rstrip()), re.DOTALL) is not None


def _common(text: str) -> str:
    """Return a text with the same id in place of each id, and the same date in place of each date."""
    text = re.sub(
        r"^[a-z2-7]{8}(?=  )|(?<=ssk_)[a-z2-7]{8}|(?<= key )[a-z2-7]{8}",
        "ID",
        text,
        flags=re.MULTILINE,
    )
    return re.sub(r"\d{4}-\d\d-\d\d( \d\d:\d\d)?", "DATE", text)


def commands_of(text: str) -> Iterator[Command]:
    """Return the commands in the `console` blocks of a document: each begins with `$`, its output follows."""
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            line, _, output = part.partition("\n")
            yield Command(line, output)


def type_in(command: str, directory: Path, environ: Mapping[str, str]) -> str:
    """Run a command in a shell; return what it prints, on both streams in the order of a terminal."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command], cwd=directory, env={**os.environ, "PATH": path, **environ},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    return done.stdout
