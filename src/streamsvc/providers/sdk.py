"""Keeps SDKs from logging prompts."""

import logging


def quiet_libraries() -> None:
    """Raise the level of libraries that log prompts, whatever `OPENAI_LOG` and the like say."""
    for library in ("google_genai", "httpcore2", "httpx2", "openai"):
        logging.getLogger(library).setLevel(logging.WARNING)
