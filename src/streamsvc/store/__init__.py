"""The store that all workers share: Redis or Valkey; the only package that knows it.

Imported only if `log.kind` is `redis`.
"""
