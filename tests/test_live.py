"""Work of seconds among many visitors: whose turn it is, who has left, and when it ends."""

from collections.abc import Iterator

import pytest

from core import live
from core.live import Job, Queue, advance


class Clock:
    """Time that passes when a test says so."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


def job(*parts: tuple[float, str]) -> Job:
    return Job(iter(parts))


def test_turns_go_round_in_the_order_in_which_visitors_came() -> None:
    queue, first, second, third = Queue(), job(), job(), job()
    assert queue.enter(first)
    assert not queue.enter(second)
    assert second.ahead == 1
    assert queue.leave(first, stays=True), "somebody waits"
    assert not queue.enter(third)
    assert third.ahead == 2
    assert queue.enter(second)
    assert not queue.enter(first)
    queue.leave(second)
    assert queue.enter(first)
    queue.leave(first)
    assert queue.enter(third)
    assert not queue.leave(third)


def test_who_cancels_holds_up_nobody() -> None:
    queue, first, second, third = Queue(), job(), job(), job()
    assert [queue.enter(each) for each in (first, second, third)] == [True, False, False]
    queue.leave(second)
    queue.leave(first)
    assert queue.enter(third)


def test_who_closes_the_page_holds_up_nobody_and_is_nobody_who_waits(clock: Clock) -> None:
    queue, first, second, third = Queue(), job(), job(), job()
    assert [queue.enter(each) for each in (first, second, third)] == [True, False, False]
    clock.now = live.GONE_S + 1
    assert not queue.leave(first), "the two have not asked again"
    assert queue.enter(third)


def test_a_slice_ends_in_time_and_goes_on_where_it_was(clock: Clock) -> None:
    def parts() -> Iterator[tuple[float, str]]:
        for number in range(1, 11):
            clock.now += 0.1
            yield number / 10, str(number)

    queue, mine = Queue(), Job(parts())
    found = []
    while (why := advance(queue, mine)) is None:
        found.append(mine.html)
    assert found == ["3", "6", "9"]
    assert (why, mine.html) == ("", "10")
    assert queue.enter(job()), "it has left"


@pytest.mark.parametrize(("crowded", "limit_s"), [(False, live.BUDGET_S), (True, live.CROWDED_S)])
def test_it_ends_at_its_budget_and_earlier_if_others_wait(clock: Clock, crowded: bool, limit_s: float) -> None:
    def endless() -> Iterator[tuple[float, str]]:
        while True:
            clock.now += 0.2
            yield 0.1, "so far"

    queue, mine, other = Queue(), Job(endless()), job()
    why = None
    while why is None:
        why = advance(queue, mine)
        if crowded and queue.enter(other):
            queue.leave(other, stays=True)
    assert "Stopped after" in why
    assert ("others are waiting" in why) == crowded
    assert limit_s < mine.spent_s < limit_s + 2 * live.SLICE_S
    assert mine.html == "so far"


def test_one_that_fails_leaves_the_queue(clock: Clock) -> None:
    def failing() -> Iterator[tuple[float, str]]:
        yield 0.1, "a part"
        raise ArithmeticError("no more")

    queue, mine = Queue(), Job(failing())
    with pytest.raises(ArithmeticError):
        advance(queue, mine)
    assert mine.html == "a part"
    assert queue.enter(job())
