"""What the benchmarks share: commands with their time and memory, and the first lines of a page."""

import datetime
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
# A process counts as its own the memory of the one that it was forked from. So a small one starts it, and tells.
STARTER = """
import os, sys
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, used = os.wait4(child, 0)
told = os.fdopen(int(sys.argv[1]), "w")
print(os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss, file=told)
"""


class Used(NamedTuple):
    """What a command took: seconds, and MiB of the largest of its processes at its highest; and what it said."""

    wall: float
    cpu: float
    peak: float
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
        began = time.perf_counter()
        subprocess.run(starter, stdout=output, stderr=subprocess.STDOUT, pass_fds=[write], cwd=cwd, env=env)
        wall = time.perf_counter() - began
        os.close(write)
        os.sched_setaffinity(0, allowed)
        output.seek(0)
        said, found = output.read(), told.read().split()
    if not found or found[0] != "0":
        sys.exit(f"{said}\n{' '.join(map(str, words))} failed")
    return Used(wall, float(found[1]), float(found[2]) / 1024, said)


def verb(*words: object, cores: set[int] | None = None) -> Used:
    """The same of a verb of `python -m vreid`."""
    return command(sys.executable, "-m", "vreid", *words, cores=cores)


def write_page(name: str, title: str, call: str, lines: Sequence[str]) -> None:
    """Write a page beside the benchmarks: how, when and on what it was measured, and the lines."""
    code, dirty = commit()
    changes = " with changes" * dirty
    said = f"`{call}`, {datetime.date.today()}, commit {code[:12]}{changes}, {cpu_name()}"
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
