"""When leases may run out: never within one lease length of an outage, whatever the outage was."""

from splitrail_trainer.queue.lease import LapseGuard


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def beat(guard: LapseGuard, clock: Clock, seconds: int) -> None:
    """The reaper's contact once a second."""
    for _ in range(seconds):
        clock.now += 1
        guard.heard()


def test_not_before_one_lease_length_after_the_start():
    clock = Clock()
    guard = LapseGuard(15, clock)
    assert not guard.may_lapse
    guard.heard()
    beat(guard, clock, 14)
    assert not guard.may_lapse
    beat(guard, clock, 1)
    assert guard.may_lapse


def test_an_error_and_a_long_silence_are_outages():
    for outage in ("error", "silence"):
        clock = Clock()
        guard = LapseGuard(15, clock)
        guard.heard()
        beat(guard, clock, 20)
        assert guard.may_lapse
        if outage == "error":
            guard.lost()
        else:
            clock.now += 40
        assert not guard.may_lapse, outage
        guard.heard()
        beat(guard, clock, 14)
        assert not guard.may_lapse, outage
        beat(guard, clock, 1)
        assert guard.may_lapse, outage


def test_an_outage_that_goes_on_delays_further():
    clock = Clock()
    guard = LapseGuard(15, clock)
    guard.heard()
    beat(guard, clock, 20)
    for _ in range(30):
        clock.now += 1
        guard.lost()
    guard.heard()
    assert not guard.may_lapse
    beat(guard, clock, 15)
    assert guard.may_lapse
