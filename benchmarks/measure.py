"""What the benchmarks share: commands with their time and memory, and the first lines of a page."""

import datetime
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from vreid.provenance import commit, cpu_name

HERE = Path(__file__).resolve().parent


class Used(NamedTuple):
    """What a command took: seconds, and MiB of the largest of its processes at its highest."""

    wall: float
    cpu: float
    peak: float


def command(*words: object, cores: set[int] | None = None, quiet: bool = False) -> Used:
    """Run a command, on some cores alone if they are given; ends this process where it fails."""
    began = time.perf_counter()
    process = subprocess.Popen(
        list(map(str, words)),
        preexec_fn=(lambda: os.sched_setaffinity(0, cores)) if cores else None,
        stderr=subprocess.DEVNULL if quiet else None,
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(map(str, words))} failed")
    return Used(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def verb(*words: object, cores: set[int] | None = None, quiet: bool = False) -> Used:
    """The same of a verb of `python -m vreid`."""
    return command(sys.executable, "-m", "vreid", *words, cores=cores, quiet=quiet)


def write_page(name: str, title: str, call: str, lines: Sequence[str]) -> None:
    """Write a page beside the benchmarks: how, when and on what it was measured, and the lines."""
    said = f"`{call}`, {datetime.date.today()}, commit {commit()[0][:12]}, {cpu_name()}"
    (HERE / name).write_text("\n".join([f"# {title}", "", f"{said}.", "", *lines]) + "\n")
    print((HERE / name).read_text())


def forget_files() -> bool:
    """Empty the system's cache of files; False where that is not allowed."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True
