"""The algorithm that limits a rate: GCRA, as a bucket that drains (ITU-T I.371, annex A, "continuous-state leaky bucket").

A limit of *n* per minute is a bucket that holds *n* and drains *n* per minute: an idle client may use a whole minute's
worth at once, and in *t* minutes at most *n* + *n* * *t*. The form in Redis is `store/lua/admission.lua`.
"""

from streamsvc.guard.limits.base import UNIT, Charge


class Bucket:
    """One bucket. Times are microseconds of any clock, and levels are in `UNIT` a request or token."""

    __slots__ = ("_at", "_level", "_per_minute")

    def __init__(self) -> None:
        self._at = 0
        self._level = 0
        self._per_minute = 0

    def level(self, at: int) -> int:
        """Return how full it is at a time. More than it holds is a debt."""
        return max(0, self._level - max(0, at - self._at) * self._per_minute)

    def wait(self, charge: Charge, at: int) -> int:
        """Return after how many microseconds there is room for a charge; 0: at once."""
        per_minute, cost = charge
        if not per_minute:
            return 0
        over = self.level(at) + (cost - per_minute) * UNIT
        return max(0, -(-over // per_minute))

    def add(self, charge: Charge, at: int) -> None:
        """Add a charge, whether or not there is room for it."""
        if charge.per_minute:
            self._level, self._at = self.level(at) + charge.cost * UNIT, at
            self._per_minute = charge.per_minute

    def correct(self, by: int, at: int) -> None:
        """Add requests or tokens to earlier charges, or take some back; it does not get emptier than empty."""
        self._level, self._at = max(0, self.level(at) + by * UNIT), at
