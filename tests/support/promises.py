"""What the service promises, as ids with one sentence each. Tests cite ids: `@pytest.mark.promise(id)`."""

PROMISES = {
    "stream:word-by-word": "Every delta reaches the viewer as its own event, at once, in order, unchanged.",
    "provider:swap": "The same request gives the same event vocabulary from fake, OpenAI and Gemini.",
    "cancel:disconnect": "When the last viewer goes away, the upstream connection is closed.",
    "cancel:stop": "An explicit stop ends a generation at once, idempotently, and every viewer learns of it.",
    "cancel:clean": "After any number of aborts nothing is left behind.",
    "alive:ping": "A silent stream is kept alive, and a keepalive never disturbs a client.",
    "end:exactly-one": "Every generation ends with exactly one terminal event; a truncated answer never looks finished.",
    "resume:no-gap": "Reconnecting with a cursor gives every later event once.",
    "resume:never-regenerate": "No reconnect, reload or retry by a client ever starts a second generation.",
    "resume:honest": "A cursor that cannot be honoured is an error, never a shorter or a new stream.",
    "fan-out:shared": "Any number of viewers share one upstream call; a slow viewer hurts only itself.",
    "upstream:rescue": "Before the first token a failed provider is retried or replaced; after it, a rescue is exact or announced.",
    "upstream:bounded": "No upstream fault hangs a viewer: connect, first token, idle and total deadlines hold.",
    "input:clear-error": "Bad input, bad configuration and overload get a clear error that names the cause.",
    "secret:kept": "Keys, prompts and provider internals appear in no log, error or metric.",
    "content:exact": "What a provider needs back on the next turn survives the round trip through every dialect.",
    "drain:no-loss": "On SIGTERM: no new work, streams may finish up to a bound, the rest learn how to go on.",
    "content:whole": "A tool call, an image, a structured answer and every parameter mean the same everywhere, or are refused by name.",
    "scale:any-worker": "Attach, resume, stop, snapshot and idempotency work from any worker, with the same bytes.",
    "scale:one-writer": "No viewer ever sees two different events under one id.",
    "scale:told": "When a producer dies, every viewer has words again or a `done` within 5 seconds.",
    "door:closed": "With keys configured, nothing is created, read, stopped or listed without one; every route refuses by itself.",
    "door:own": "A principal reaches its own generations and nobody else's, by id, cursor, key or chat.",
    "door:browser": "A native EventSource can be let in without a long-lived secret in its address, and still reconnects.",
    "door:bounded": "Rate, tokens, answers and viewers of each principal are bounded, also when a worker is killed.",
    "seen:outside": "An operator sees who waits for what: metrics, one trace, one log line a generation.",
    "seen:never-secret": "No prompt, answer, key, ticket or address of a user is in a metric, span, log line or error.",
    "change:no-loss": "A new configuration or version is rolled out without losing a word of a running answer.",
}

PLANNED: dict[str, str] = {}
"""Promises of the design that are not kept yet; each moves up once code keeps it."""
