"""streamsvc: language-model answers, streamed word by word over server-sent events.

Read it in this order: `events`, `providers.base`, `eventlog.base`, `engine.generation`,
`dialects.native`, `web.viewing`, `web.sse`, `web.routes`, `app`.
"""

__version__ = "0.1.0"
