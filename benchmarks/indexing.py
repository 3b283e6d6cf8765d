"""Seconds and memory of indexing and annotating MARS's real split: `uv run python benchmarks/indexing.py`.

Rebuilds the 1.19 M frame names of MARS from the split files and annotations in tests/data, runs the two verbs on one
core as a user would, and writes indexing.md beside this file.
"""

import os
import statistics
import sys
import tempfile
from pathlib import Path

from measure import HERE, aim, command, verb, write_page

sys.path.insert(0, str(HERE.parent / "tests"))

import realdata
from vreid.data.tracklets import read_tracklets

ROUNDS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        realdata.write_mars_info(root / "mars")
        index, annotated = root / "tracklets.csv.gz", root / "annotated.csv.gz"
        mars = ("--layout", "mars", "--root", root / "mars")
        verbs = {
            "index --names-only": ("index", *mars, "--names-only", "--out", index),
            "annotate": ("annotate", "--index", index, "--attributes", realdata.MARS_ATTRIBUTES, "--out", annotated),
        }
        core = {min(os.sched_getaffinity(0))}
        rows = {name: [verb(*arguments, cores=core) for _ in range(ROUNDS)] for name, arguments in verbs.items()}
        start = [command(sys.executable, "-c", "import pandas, scipy.io", cores=core) for _ in range(ROUNDS)]
        table = read_tracklets(annotated)
    lines = [
        "MARS's split files and annotations, and a list of frame names that is rebuilt from them: "
        f"{len(table):,} tracklets, {table['num_frames'].sum():,} frames, {table['pose'].notna().sum():,} annotated.",
        f"On one core, medians of {ROUNDS} runs of the whole command, imports included.",
        "",
        "| verb | wall s | CPU s | peak MiB |",
        "|---|---:|---:|---:|",
    ]
    both, imports = 0.0, statistics.median(run.wall for run in start)
    for name, runs in rows.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*(run[:3] for run in runs), strict=True))
        lines.append(f"| `{name}` | {wall:.2f} | {cpu:.2f} | {peak:.0f} |")
        both += wall
    lines += [
        "",
        f"To start Python and import pandas and scipy, without more, takes {imports:.2f} s, and twice that of both. "
        "The workflow also looks for every frame, of which full_scale.md has the time.",
        "",
        aim("index and annotate together, seconds", both, at_most=1),
    ]
    write_page("indexing.md", "Indexing MARS", "uv run python benchmarks/indexing.py", lines)


if __name__ == "__main__":
    main()
