"""Seconds and memory of indexing and annotating MARS's real split: `uv run python benchmarks/indexing.py`.

Rebuilds the 1.19 M frame names of MARS from the split files and annotations in tests/data, runs the two verbs on one
core as a user would, and writes indexing.md beside this file.
"""

import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

import realdata  # noqa: E402
from vreid.data.tracklets import read_tracklets  # noqa: E402
from vreid.provenance import cpu_name  # noqa: E402

ROUNDS = 5


def measured(*arguments: object) -> tuple[float, float, float]:
    """(wall seconds, CPU seconds, peak MiB) of one verb on one core."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "vreid", *map(str, arguments)]
    core = {min(os.sched_getaffinity(0))}
    process = subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, core), stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        realdata.write_mars_info(root / "mars")
        index, annotated = root / "tracklets.csv.gz", root / "annotated.csv.gz"
        verbs = {
            "index --names-only": (
                "index",
                "--layout",
                "mars",
                "--root",
                root / "mars",
                "--names-only",
                "--out",
                index,
            ),
            "annotate": ("annotate", "--index", index, "--attributes", realdata.MARS_ATTRIBUTES, "--out", annotated),
        }
        rows = {name: [measured(*arguments) for _ in range(ROUNDS)] for name, arguments in verbs.items()}
        table = read_tracklets(annotated)
    lines = [
        "# Indexing MARS",
        "",
        f"`uv run python benchmarks/indexing.py`, {datetime.date.today()}, {cpu_name()}, one core; medians of "
        f"{ROUNDS} runs of the whole command, imports included.",
        "",
        f"{len(table):,} tracklets, {table['num_frames'].sum():,} frames, {table['pose'].notna().sum():,} annotated.",
        "",
        "| verb | wall s | CPU s | peak MiB |",
        "|---|---:|---:|---:|",
    ]
    for name, runs in rows.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        lines.append(f"| `{name}` | {wall:.2f} | {cpu:.2f} | {peak:.0f} |")
    (HERE / "indexing.md").write_text("\n".join(lines) + "\n")
    print((HERE / "indexing.md").read_text())


if __name__ == "__main__":
    main()
