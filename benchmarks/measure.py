"""What the benchmarks share: commands with their time and memory, and the first lines of a page."""

import contextlib
import datetime
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from vreid.provenance import commit, cpu_name

HERE = Path(__file__).resolve().parent
CHANGED = ["git", "status", "--porcelain", "--", "src", "config", "workflow", "tests", "benchmarks/*.py"]
# A process counts as its own the memory of the one that it was forked from. So a small one starts it, and tells.
STARTER = """
import os, sys
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
told = os.fdopen(int(sys.argv[1]), "w")
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss, file=told)
"""


class Used(NamedTuple):
    """What a command took: seconds, and MiB at their highest; and what it said."""

    wall: float
    cpu: float
    peak: float  # of the largest of its processes, files that it maps among it
    own: float  # of all of them without mapped files, what they share counted once; looked at five times a second
    said: str


def command(
    *words: object, cores: set[int] | None = None, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> Used:
    """Run a command, on some cores alone if they are given; where it fails, this process ends with what it said."""
    read, write = os.pipe()
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or allowed)
    starter = [sys.executable, "-I", "-S", "-c", STARTER, str(write), *map(str, words)]
    with tempfile.TemporaryFile("w+") as output, os.fdopen(read) as told:
        began, own = time.perf_counter(), 0.0
        process = subprocess.Popen(starter, stdout=output, stderr=subprocess.STDOUT, pass_fds=[write], cwd=cwd, env=env)
        while not ended(process, 0.2):
            own = max(own, sum(map(own_memory, descendants(process.pid))))
        wall = time.perf_counter() - began
        os.close(write)
        os.sched_setaffinity(0, allowed)
        output.seek(0)
        said, found = output.read(), told.read().split()
    if not found or found[0] != "0":
        sys.exit(f"{said}\n{' '.join(map(str, words))} failed")
    return Used(wall, float(found[1]), float(found[2]) / 1024, own, said)


def ended(process: subprocess.Popen, seconds: float) -> bool:
    """Whether a process has ended, after so many seconds at most."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
    return process.returncode is not None


def descendants(pid: int) -> list[int]:
    found = []
    with contextlib.suppress(OSError):
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            found += [int(child) for child in path.read_text().split()]
    return found + [below for child in found for below in descendants(child)]


def own_memory(pid: int) -> float:
    """MiB of a process that no file stands behind, what it shares by its share (PSS); 0 of one that has ended."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith(("Pss_Anon:", "Pss_Shmem:"))) / 1024
    return 0.0


def verb(*words: object, cores: set[int] | None = None) -> Used:
    """The same of a verb of `python -m vreid`."""
    return command(sys.executable, "-m", "vreid", *words, cores=cores)


def write_page(name: str, title: str, call: str, lines: Sequence[str]) -> None:
    """Write a page beside the benchmarks: how, when and on what it was measured, and the lines."""
    code, _ = commit()
    changed = subprocess.run(CHANGED, cwd=HERE.parent, capture_output=True, text=True).stdout
    changes = " with changes" * bool(changed)
    said = f"`{call}`, {datetime.date.today()}, commit {code[:12]}{changes}, {cpu_name()}"
    (HERE / name).write_text("\n".join([f"# {title}", "", f"{said}.", "", *lines]) + "\n")
    print((HERE / name).read_text())


def aim(of: str, measured: float, *, at_most: float = math.inf, at_least: float = -math.inf) -> str:
    """A line that holds what was measured against what was asked for."""
    asked = f"at most {at_most:g}" if at_most < math.inf else f"at least {at_least:g}"
    return (
        f"Asked of {of}: {asked}. Measured: {measured:.3g}, {'met' if at_least <= measured <= at_most else 'MISSED'}."
    )


def forget_files() -> bool:
    """Empty the system's cache of files; False where that is not allowed."""
    try:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError:
        return False
    return True
