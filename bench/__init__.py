"""What a token costs: streamsvc beside others, on this machine, over the loopback only.

`python -m bench` starts a fake upstream and the targets as processes of their own, pins them to cores,
reads streams from them, and prints what it cost. `docs/performance.md` says what each figure means.
"""
