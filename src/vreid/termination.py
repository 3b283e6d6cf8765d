"""What a training does when its process is told to end (SIGTERM).

A cluster tells a job to end some seconds before it kills it: at its time limit, when it is preempted or cancelled.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

EXIT_STATUS = 128 + signal.SIGTERM  # as a shell says of a process that the signal has ended


class Told(BaseException):
    """The process was told to end; what there is can be saved."""


class Termination:
    """Within `with`, SIGTERM is heard and waits: for `check`, which raises Told, or for the block `at_once`.

    So it never ends a step in its middle.
    """

    def __init__(self):
        self.told, self._raises, self._process = False, False, os.getpid()

    def __enter__(self) -> "Termination":
        self._main = threading.current_thread() is threading.main_thread()  # no other thread can hear signals
        if self._main:
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(self, *_) -> None:
        if self._main:
            signal.signal(signal.SIGTERM, self._before)

    def _hear(self, *_) -> None:
        if os.getpid() == self._process:
            self.told = True
            if self._raises:
                raise Told

    def check(self) -> None:
        """Raise Told if the process has been told to end."""
        if self.told:
            raise Told

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """A block that changes nothing, so that SIGTERM may end it anywhere."""
        self._raises = True
        try:
            self.check()
            yield
        finally:
            self._raises = False


class Saving(Termination):
    """Within `with`, `save` is called when it is due, and once more before the process ends as it was told."""

    def __init__(self, save: Callable[[], None]):
        super().__init__()
        self._save, self._saved, self._took = save, time.monotonic(), 0.0

    def unless_within(self, seconds: float) -> None:
        """Save, unless that was done within so many seconds (0: always), or would take over a fiftieth of the time."""
        least = max(seconds, 50 * self._took) if seconds else 0
        if (began := time.monotonic()) - self._saved > least:
            self._save()
            self._saved = time.monotonic()
            self._took = self._saved - began

    def __exit__(self, kind: type[BaseException] | None, *more) -> None:
        if kind is Told:
            self._save()
        super().__exit__(kind, *more)
        if kind is Told:
            raise SystemExit(EXIT_STATUS) from None
