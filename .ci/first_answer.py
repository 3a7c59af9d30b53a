"""Ask a service that is starting for an answer, and read it to its `done`: the first minute of a new user."""

import os
import re
import sys
import time
import urllib.request
from pathlib import Path

START_SECONDS = 300
"""Bound of the start; the packages come over the network before it."""

ANSWER_SECONDS = 30


def address(log: Path, process: int) -> str:
    """Wait until the service has written where it listens, and return that; give up if its process ends."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            sys.exit("The service has ended.")
        if found := re.search(r"running on (http://\S+)", log.read_text(encoding="utf-8")):
            return found[1]
        time.sleep(0.1)
    sys.exit("The service has not started.")


def main() -> None:
    """Print the events of an answer, and fail where it is not complete."""
    url = f"{address(Path(sys.argv[1]), int(sys.argv[2]))}/stream-ai?prompt=hello"
    with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310  # ours
        body = answer.read().decode()
    print(body)
    if '"type":"done","status":"completed"' not in body:
        sys.exit("The answer is not complete.")


if __name__ == "__main__":
    main()
