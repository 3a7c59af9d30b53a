"""HTTP; the only room that knows Starlette."""
