"""How much of an attempt's way was the way there, where the two ends have clocks of their own."""

from typing import Final

DRIFT: Final = 1e-4  # seconds that two clocks may run apart in one


class Skew:
    """What the other end's clock says more than ours, as NTP learns it.

    Whatever went there and back took a time that is known by our clock alone; had both ways taken as long, the
    difference of the clocks would be known, and it is off by half of that time at most. So the quickest one is
    believed, for as long as the clocks cannot have run apart by more.
    """

    def __init__(self) -> None:
        self._ahead = self._at = 0.0
        self._way_s = float("inf")

    def before(self, sent: float, got: float, way_s: float) -> float:
        """Seconds of a way that passed before the other end had got what we sent; never more than all of it.

        Args:
            sent: When we sent it, by our clock.
            got: When it came there, by the other one.
            way_s: There and back, without what was done there.
        """
        off = self._way_s / 2 + DRIFT * (sent - self._at)
        there = got - sent - self._ahead
        if way_s / 2 <= off or not -off <= there <= way_s + off:  # outside: one of the clocks was set
            self._ahead, self._at, self._way_s = got - sent - way_s / 2, sent, way_s
            return way_s / 2
        return min(max(there, 0.0), way_s)
