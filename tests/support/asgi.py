"""The service as an application for any ASGI server: `support.asgi:create`."""

import os
from pathlib import Path

from starlette.applications import Starlette

from streamsvc.app import create_app
from streamsvc.config.load import load


def create() -> Starlette:
    """Build the service from the environment and the working directory's `config.toml`."""
    return create_app(load(Path("config.toml"), os.environ), os.environ)
