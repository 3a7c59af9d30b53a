"""The size of a run in each mode: everything that bounds it."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Sizes:
    """The bounds of one run; times in seconds."""

    shares_targets: bool
    """Whether a process of a target serves several scenarios; otherwise each scenario starts new ones."""
    rounds: int
    """How often a scenario measures all targets; the result is the median of the rounds."""
    paced_streams: tuple[int, ...]
    steady_seconds: float
    ramp_seconds: float
    """The time in which the streams of a sample start."""
    settle_seconds: float
    """The time from then to the steady part."""
    unpaced_streams: int
    unpaced_tokens: int
    probes: int
    """Streams whose added times are measured, one after the other."""
    flowing: int
    """Streams that run beside the probes."""
    memory_streams: int
    release_seconds: float
    """The time from the end of the streams to the last reading of memory."""
    aborts: int
    aborts_among: int
    """Streams that run beside the aborted ones."""
    held_streams: int
    held_beyond: int
    """Streams beyond the bound, which have to be refused."""
    held_ping_seconds: float
    starts: int
    generations: int
    viewers: int
    """The viewers of each generation in `fan-out`."""
    shared_streams: tuple[int, ...]
    """How many answers are stored at a time; the first number also with other paces."""
    write_ms: tuple[int, ...]
    read_ms: tuple[int, ...]
    many_foreign: int
    """How many answers of another worker one worker reads."""
    request_rounds: int
    """How often `requests` measures all targets."""
    burst: int
    """How many requests are sent in one moment."""
    guard_rounds: int
    """How often the services with and without keys and limits take turns."""
    short_answers: int
    guarded: tuple[str, ...]
    """The targets that are measured with keys and limits as well."""


MODES: Mapping[str, Sizes] = {
    "full": Sizes(
        shares_targets=False,
        rounds=3,
        paced_streams=(100, 300),
        steady_seconds=10.0,
        ramp_seconds=1.0,
        settle_seconds=1.0,
        unpaced_streams=4,
        unpaced_tokens=10_000,
        probes=100,
        flowing=100,
        memory_streams=1000,
        release_seconds=5.0,
        aborts=100,
        aborts_among=300,
        held_streams=5000,
        held_beyond=1000,
        held_ping_seconds=5.0,
        starts=7,
        generations=10,
        viewers=20,
        shared_streams=(100, 10, 300),
        write_ms=(10, 25, 50, 100),
        read_ms=(5, 15, 50),
        many_foreign=500,
        request_rounds=15,
        burst=100,
        guard_rounds=30,
        short_answers=300,
        guarded=("streamsvc", "streamsvc-redis"),
    ),
    "quick": Sizes(
        shares_targets=True,
        rounds=1,
        paced_streams=(100,),
        steady_seconds=2.0,
        ramp_seconds=0.5,
        settle_seconds=0.3,
        unpaced_streams=4,
        unpaced_tokens=3000,
        probes=10,
        flowing=30,
        memory_streams=200,
        release_seconds=0.5,
        aborts=25,
        aborts_among=50,
        held_streams=300,
        held_beyond=50,
        held_ping_seconds=1.0,
        starts=2,
        generations=5,
        viewers=20,
        shared_streams=(100,),
        write_ms=(25, 50),
        read_ms=(15,),
        many_foreign=200,
        request_rounds=5,
        burst=100,
        guard_rounds=6,
        short_answers=300,
        guarded=("streamsvc", "streamsvc-redis"),
    ),
    "smoke": Sizes(
        shares_targets=True,
        rounds=1,
        paced_streams=(5,),
        steady_seconds=0.3,
        ramp_seconds=0.1,
        settle_seconds=0.1,
        unpaced_streams=2,
        unpaced_tokens=200,
        probes=2,
        flowing=2,
        memory_streams=5,
        release_seconds=0.1,
        aborts=3,
        aborts_among=2,
        held_streams=5,
        held_beyond=2,
        held_ping_seconds=0.2,
        starts=1,
        generations=1,
        viewers=3,
        shared_streams=(3,),
        write_ms=(25,),
        read_ms=(15,),
        many_foreign=4,
        request_rounds=1,
        burst=5,
        guard_rounds=1,
        short_answers=5,
        guarded=("streamsvc",),
    ),
}
