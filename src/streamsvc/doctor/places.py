"""Where a server is, in a form that may be printed."""

from urllib.parse import urlsplit


def place_of(url: str, default_port: int | None = None) -> str:
    """Return host and port of a URL, or its path if it is a Unix socket's; never user and password."""
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return parts.path
    host = parts.hostname or ""
    port = parts.port or default_port
    return f"{f'[{host}]' if ':' in host else host}{f':{port}' if port else ''}"
