"""Progress of long work, with an estimate of the time left, one line on stderr every few seconds."""

import sys
import time


class Progress:
    """Call `step()` as work is done; it prints `label: done/total, note, time left`, and once at the end.

    At most every `every` seconds, and every hundredth of the time spent, so that the log of days can still be read.
    `done` is where the work starts (a resumed training), so that the estimate counts only what is done now.
    """

    def __init__(self, label: str, total: int, done: int = 0, every: float = 5.0):
        self.label, self.total, self.done, self.every = label, total, done, every
        self.started_at, self.started_with, self.printed_at = time.monotonic(), done, 0.0

    def step(self, count: int = 1, note: str = "") -> None:
        ends = self.done < self.total <= self.done + count
        self.done += count
        now = time.monotonic()
        if now - self.printed_at < max(self.every, (now - self.started_at) / 100) and not ends:
            return
        self.printed_at = now
        pace = (now - self.started_at) / max(1, self.done - self.started_with)
        left = pace * (self.total - self.done)
        note = f", {note}" if note else ""
        print(f"{self.label}: {self.done}/{self.total}{note}, {clock(left)} left", file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Seconds as `h:mm:ss`, hours only where there are some."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
