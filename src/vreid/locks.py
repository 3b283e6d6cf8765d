"""How a job keeps what it writes to itself: no second one writes to the same folder, on any machine of a cluster."""

import contextlib
import fcntl
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from vreid.errors import InputError


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
