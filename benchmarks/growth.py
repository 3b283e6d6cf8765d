"""How cost grows: `uv run python benchmarks/growth.py`, written to growth.md.

Each cost at three sizes, on one core, and the exponent e of cost ~ size^e between the first and the last: indexing over
frames (a share of MARS's tracklets, by their real lists), scoring over queries × gallery, planning over models × seeds
(less what Snakemake takes to start, which is the time of planning one job).
"""

import math
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # read once, when numpy is imported

import numpy as np  # noqa: E402
import yaml  # noqa: E402
from measure import HERE, write_page  # noqa: E402
from scipy.io import loadmat, savemat  # noqa: E402

from vreid.data.layouts import index  # noqa: E402
from vreid.data.tracklets import read_tracklets  # noqa: E402
from vreid.metrics import evaluate_features  # noqa: E402

sys.path[:0] = [str(HERE.parent / "tests"), str(HERE.parent / "tests/workflow")]

from conftest import TINY, Checkout, copied  # noqa: E402

import realdata  # noqa: E402

ROUNDS, CHANNELS, SEEDS = 3, 2048, (2, 20, 200)
SHARES, MULTIPLES = (1 / 16, 1 / 4, 1), (1 / 4, 1, 4)  # of MARS's tracklets; of its queries and of its gallery


def seconds(work: Callable[[], object]) -> float:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def row(name: str, unit: str, sizes: Sequence[float], costs: Sequence[float], start: float = 0.0) -> str:
    exponent = math.log((costs[-1] - start) / (costs[0] - start)) / math.log(sizes[-1] / sizes[0])
    steps = ", ".join(f"{size:,.0f}: {cost:.2f}" for size, cost in zip(sizes, costs, strict=True))
    return f"| {name} | {unit} | {steps} | {exponent:.2f} |"


def shortened(whole: Path, root: Path, share: float) -> None:
    """A part of MARS's lists: every so-manieth track of each side, and the queries among them."""
    (root / "info").mkdir(parents=True)
    for side in ("train", "test"):
        tracks = loadmat(whole / f"info/tracks_{side}_info.mat")[f"track_{side}_info"].astype(int)
        names = (whole / f"info/{side}_name.txt").read_text().splitlines()
        kept = np.arange(0, len(tracks), round(1 / share))
        lengths = tracks[kept, 1] - tracks[kept, 0] + 1
        last = lengths.cumsum()
        renumbered = np.column_stack([last - lengths + 1, last, tracks[kept, 2:]])
        savemat(root / f"info/tracks_{side}_info.mat", {f"track_{side}_info": renumbered})
        lines = [name for first, end, *_ in tracks[kept] for name in names[first - 1 : end]]
        (root / f"info/{side}_name.txt").write_text("\n".join(lines) + "\n")
    queries = loadmat(whole / "info/query_IDX.mat")["query_IDX"].ravel().astype(int)
    place = {track + 1: number for number, track in enumerate(kept, start=1)}  # of the test side
    savemat(root / "info/query_IDX.mat", {"query_IDX": np.array([[place[q] for q in queries if q in place]])})


def of_frames(folder: Path) -> list[str]:
    realdata.write_mars_info(folder / "whole")
    frames, costs = [], []
    for number, share in enumerate(SHARES):
        root, listed = folder / f"mars{number}", folder / f"tracklets{number}.csv.gz"
        shortened(folder / "whole", root, share)
        costs.append(seconds(lambda root=root, listed=listed: index("mars", root, True, None, listed)))
        frames.append(int(read_tracklets(listed)["num_frames"].sum()))
    return [row("index, names trusted", "frames", frames, costs)]


def of_pairs() -> list[str]:
    pairs, costs = [], []
    for multiple in MULTIPLES:
        rng, queries, gallery = np.random.default_rng(0), int(1980 * multiple), int(10200 * multiple)
        pids, camids = rng.integers(1, 627, queries + gallery), rng.integers(1, 7, queries + gallery)
        features = rng.standard_normal((queries + gallery, CHANNELS), np.float32)
        is_query = np.arange(queries + gallery) < queries
        costs.append(seconds(lambda f=features, p=pids, c=camids, q=is_query: evaluate_features(f, p, c, q)))
        pairs.append(queries * gallery)
    return [row("score, three protocols, 2,048 channels", "queries × gallery", pairs, costs)]


def of_runs(folder: Path) -> list[str]:
    root, runs, costs = copied(folder / "copy"), [], []
    Checkout(root).snakemake("--dry-run")  # the first of all asks the methods what they accept, with torch
    start = seconds(lambda: Checkout(root).snakemake("--dry-run", "results/runs/synth-mars/baseline/seed0/spec.json"))
    for seeds in SEEDS:
        (root / "seeds.yaml").write_text(yaml.safe_dump({"seeds": list(range(seeds))}))
        checkout = Checkout(root, f"{TINY} seeds.yaml")
        began = time.perf_counter()
        said = checkout.snakemake("--dry-run")
        costs.append(time.perf_counter() - began)
        runs.append(int(re.search(r"^train\s+(\d+)", said, re.M)[1]))
    return [row(f"plan (a dry run; {start:.2f} s of it to start)", "trainings", runs, costs, start)]


def main() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = Path(thrown_away)
        rows = [*of_frames(folder), *of_pairs(), *of_runs(folder)]
    lines = [
        f"On one core, medians of {ROUNDS} calls, imports aside; planning once, with all of Snakemake's start. "
        "Packing, embedding and training are not measured here: full_scale.md has them at one size.",
        "",
        "| what | over | seconds at each size | exponent |",
        "|---|---|---|---:|",
        *rows,
    ]
    write_page("growth.md", "Growth", "uv run python benchmarks/growth.py", lines)


if __name__ == "__main__":
    main()
