"""Client APIs as pure functions: records become frames, bodies become requests; no I/O."""
