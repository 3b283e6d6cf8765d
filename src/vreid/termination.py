"""What a training does when its process is told to end (SIGTERM), and how a job keeps what it writes to itself.

A cluster tells a job to end some seconds before it kills it: at its time limit, when it is preempted or cancelled.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from vreid.errors import InputError

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


@contextlib.contextmanager
def only_writer(folder: Path, lock: Path | None = None) -> Iterator[None]:
    """Keep `folder` to this process, on all machines that share the file system; the lock ends with the process.

    The `lock` is a file within it, or where it is said to be.

    Raises InputError, which names the holder, where another process has it. Where the file system knows no locks, it
    is said, and nothing is kept.
    """
    path, taken = lock or folder / ".writer", False
    path.parent.mkdir(parents=True, exist_ok=True)
    while not taken:
        with open(path, "a+") as file:
            if taken := _locked(file, folder):  # else it is that of one that has ended meanwhile
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_written_whole(folder: Path) -> Iterator[Path]:
    """Yield a folder beside `folder` to write to, as its only writer; if all goes well it takes that one's place."""
    aside = folder.with_name(f".{folder.name}.unfinished")
    with only_writer(folder, folder.with_name(f".{folder.name}.writer")):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        try:
            yield aside
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def _locked(file: TextIO, folder: Path) -> bool:
    """Whether the lock is ours; False if its file is no longer the folder's."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read().strip() or "another process"
        raise InputError(f"{folder}: {holder} is writing here; wait until it is done, or end it first") from None
    except OSError as error:
        print(f"{folder}: cannot be locked ({error.strerror}); start no second job on it", file=sys.stderr)
        return True
    try:
        if not os.path.samestat(os.fstat(file.fileno()), os.stat(file.name)):
            return False
    except FileNotFoundError:
        return False
    file.truncate(0)
    job = f", SLURM job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
    print(f"process {os.getpid()} on {socket.gethostname()}{job}", file=file, flush=True)
    return True
