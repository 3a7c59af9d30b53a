"""Other clocks, compared with this machine's: a wrong one makes tokens expire early and tickets live long."""

from streamsvc.doctor.findings import Finding, ok, warn

MOST_SECONDS = 2.0
"""The largest difference that is not worth a warning."""


class Clocks:
    """How far other clocks are ahead of ours, as checks find out."""

    def __init__(self) -> None:
        self._ahead: dict[str, float] = {}

    def note(self, whose: str, seconds: float) -> None:
        """Note one of them."""
        self._ahead[whose] = seconds

    def finding(self) -> Finding:
        """Return what they say together."""
        if not self._ahead:
            return ok("clock", "not compared: no provider and no Redis has sent its time")
        whose, seconds = max(self._ahead.items(), key=lambda it: abs(it[1]))
        if abs(seconds) <= MOST_SECONDS:
            return ok("clock", f"agrees with {', '.join(self._ahead)}")
        how = "ahead of" if seconds > 0 else "behind"
        found = f"the clock of {whose} is {abs(seconds):.0f} s {how} ours"
        return warn("clock", found, "synchronize this machine's clock (timedatectl, chrony)")
