"""streamsvc: language-model answers, streamed word by word over server-sent events.

Read it in this order: `events`, `providers.base`, `eventlog.base`, `engine.attempt`, `engine.generation`,
`dialects.native.frames`, `web.stream.viewer`, `web.stream.response`, `web.routes`, `app`.
"""

__version__ = "0.1.0"
