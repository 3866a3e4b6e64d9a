"""Work of seconds on a page with many visitors: each computes for a slice, then it is the next one's turn."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

BUDGET_S, CROWDED_S = 10.0, 3.0  # of computing that a run gets, alone and with others waiting
SLICE_S = 0.25  # so long a run computes in one go
GONE_S = 5.0  # whoever has not come for his turn for so long has left


@dataclass(eq=False)
class Job:
    """A run of one visitor.

    parts    what is still to come, each computed in much less than SLICE_S: the share that is done, 0 to 1, and the
             HTML of what was reached
    share, html  of the last part
    spent_s  of computing, the first slice left out: it may have to load libraries
    ahead    how many come before it; the one that computes just now is one of them
    """

    parts: Iterator[tuple[float, str]]
    share: float = 0.0
    html: str = ""
    spent_s: float = 0.0
    ahead: int = 0
    began: bool = False


class Queue:
    """Jobs in the order of their turns. Only one computes at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: dict[Job, float] = {}  # in the order of their turns: when each last asked
        self._computing: Job | None = None

    def enter(self, job: Job) -> bool:
        """Is it this one's turn? Then `leave` has to follow."""
        with self._lock:
            self._seen[job] = time.monotonic()
            job.ahead = self._present().index(job)
            mine = job.ahead == 0 and self._computing is None
            if mine:
                self._computing = job
            return mine

    def leave(self, job: Job, *, stays: bool = False) -> bool:
        """Its slice is over, or its visitor has cancelled it; is anybody else there? What stays goes to the end."""
        with self._lock:
            if self._computing is job:
                self._computing = None
            self._seen.pop(job, None)
            crowded = bool(self._present())
            if stays:
                self._seen[job] = time.monotonic()
            return crowded

    def _present(self) -> list[Job]:
        """Who has not left; the others are forgotten."""
        now = time.monotonic()
        self._seen = {job: seen for job, seen in self._seen.items() if now - seen < GONE_S or job is self._computing}
        return list(self._seen)


def advance(queue: Queue, job: Job) -> str | None:
    """Compute one slice of a job if it is its turn.

    returns None while there is more to come; else why it ended: "" if all was computed
    raises  what the job raises; it has left the queue then
    """
    if not queue.enter(job):
        return None
    begun, over, stays = time.monotonic(), False, False
    try:
        while not over and time.monotonic() - begun < SLICE_S:
            job.share, job.html = next(job.parts, (1.0, job.html))
            over = job.share >= 1
        stays = not over
    finally:
        job.spent_s += time.monotonic() - begun if job.began else 0.0
        job.began = True
        crowded = queue.leave(job, stays=stays)
    if over:
        return ""
    if job.spent_s <= (CROWDED_S if crowded else BUDGET_S):
        return None
    queue.leave(job)
    why = ", since others are waiting" if crowded else ""
    return f"Stopped after {job.spent_s:.0f} seconds{why}; what was reached so far is shown."
