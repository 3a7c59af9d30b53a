"""Importing any module of the package changes nothing in the process, except what app.py names."""

import json
import subprocess
import sys

IMPORT_ALL = r"""
import gc, importlib, json, logging, os, pkgutil, signal, sys, threading, warnings
import uvicorn

ACTS = ("socket.", "subprocess.", "os.", "_thread.start", "shutil.", "tempfile.")
READS = ("os.listdir", "os.scandir")
done = []

def watch(event, arguments):
    if event == "open":
        path, _, flags = arguments
        is_write = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
        if is_write and ".pyc" not in str(path):
            done.append(f"{event} {path}")
    elif event.startswith(ACTS) and event not in READS:
        done.append(event)

def state():
    return {
        "collector": (gc.get_threshold(), gc.get_freeze_count()),
        "descriptors": len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0,
        "environment": sorted(os.environ.items()),
        "hooks": [str(hook) for hook in (sys.excepthook, sys.unraisablehook, threading.excepthook)],
        "logging": (str(logging.root.handlers), logging.root.level),
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "threads": threading.active_count(),
        "warnings": len(warnings.filters),
        **{f"uvicorn.Server.{name}": str(value) for name, value in vars(uvicorn.Server).items()},
    }

before = state()
sys.addaudithook(watch)
package = importlib.import_module("streamsvc")
modules = [found.name for found in pkgutil.walk_packages(package.__path__, "streamsvc.")]
for name in modules:
    importlib.import_module(name)
acts = done.copy()
after = state()
changed = [name for name in after if after[name] != before[name]]
print(json.dumps({"modules": len(modules), "acts": acts, "changed": changed}))
"""


def test_importing_changes_nothing_but_the_signal_handler_of_uvicorn() -> None:
    """sse-starlette replaces that handler, and `Server.handle_exit` never calls it."""
    process = subprocess.run(
        [sys.executable, "-B", "-c", IMPORT_ALL],  # writing bytecode would be an act
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert (process.returncode, process.stderr) == (0, "")
    report = json.loads(process.stdout)
    assert report["modules"] > 80
    assert report["acts"] == []
    assert report["changed"] == ["uvicorn.Server.handle_exit"]
