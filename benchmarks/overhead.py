"""What Snakemake adds to the work: `uv run python benchmarks/overhead.py`, written to overhead.md.

In a copy of the repository that is thrown away, on the few people of tests/workflow/tiny.yaml: dry runs of a growing
number of seeds; a run, and a call after it that has nothing to do; jobs that do next to nothing; and, where SLURM can
be started (root, and its packages), the same run on a cluster of this machine, and the tests of what happens there.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml
from measure import HERE, Used, command, write_page

sys.path.insert(0, str(HERE.parent / "tests" / "workflow"))

from conftest import TINY, Checkout, copied
from slurm import Slurm, missing
from test_slurm import Site

SEEDS = (2, 22, 222)
SPECS = [f"results/runs/synth-mars/{model}/seed{9 + i}/spec.json" for model in ("baseline", "aitl") for i in range(20)]


def timed(checkout: Checkout, *arguments: str) -> Used:
    return command(*checkout.command(*arguments), cwd=checkout.root, env=checkout.env)


def with_seeds(root: Path, seeds: int) -> Checkout:
    (root / "seeds.yaml").write_text(yaml.safe_dump({"seeds": list(range(seeds))}))
    return Checkout(root, f"{TINY} seeds.yaml")


def dry_runs(root: Path) -> list[str]:
    lines = ["| jobs | dry run, s | memory, MiB |", "|---:|---:|---:|"]
    timed(with_seeds(root, 1), "--dry-run")  # the first of all asks the methods what they accept
    for seeds in SEEDS:
        used = timed(with_seeds(root, seeds), "--dry-run")
        jobs = re.search(r"^total\s+(\d+)", used.said, re.M)[1]
        lines.append(f"| {jobs} | {used.wall:.1f} | {used.peak:.0f} |")
        print(lines[-1], flush=True)
    return lines


def here(root: Path) -> list[str]:
    checkout = Checkout(root)
    run = timed(checkout, "--cores", "all")
    jobs = int(re.findall(r"^(\d+) of \d+ steps", run.said, re.M)[-1])
    nothing = timed(checkout, "--cores", "all").wall
    many = timed(checkout, *SPECS, "--cores", "1").wall
    empty = timed(checkout, SPECS[0], "--cores", "1").wall
    python = command(sys.executable, "-m", "vreid", "--help", cwd=root, env=checkout.env).wall
    each = (many - empty) / len(SPECS)
    return [
        f"- all {jobs} jobs of tiny.yaml, from nothing: {run.wall:.0f} s; once more, with nothing to do: "
        f"{nothing:.1f} s",
        f"- a job that writes a file of settings: {each:.2f} s, one of {len(SPECS)}; "
        f"Python and the command line without any work: {python:.2f} s",
    ]


def on_slurm(folder: Path) -> list[str]:
    if reason := missing():
        return [f"- on SLURM: not measured ({reason})"]
    with Slurm(folder / "daemons") as slurm:
        site = Site(copied(folder / "cluster"), slurm, f"{TINY} tests/workflow/cluster.yaml")
        began = time.perf_counter()
        site.submit("--slurm-keep-successful-logs")
        run = time.perf_counter() - began
        nodes = {each.job: each.ended - each.began for each in sorted(slurm.allocations(), key=lambda each: each.ended)}
    work = [
        float(pd.read_csv(path, sep="\t").s.iloc[0]) for path in (site.root / "results/benchmarks/train").rglob("*.tsv")
    ]
    logs = sorted((site.root / "logs/slurm/rule_train").rglob("*.log"))
    trained = [nodes[path.stem] for path in logs]
    added = (sum(trained) - sum(work)) / len(work)
    events = "tests/workflow/test_slurm.py"
    tests = command(sys.executable, "-m", "pytest", "-q", events, cwd=HERE.parent)
    return [
        f"- on a SLURM of this machine, one seed of tiny.yaml: {run:.0f} s in all; a training's job holds its GPU "
        f"{added:.1f} s longer than the training's command runs ({len(work)} trainings): Snakemake starts twice on the "
        "node. Snakemake asks SLURM for finished jobs at growing intervals, which is most of the rest.",
        f"- what befalls jobs and Snakemake there, {events}: {tests.said.splitlines()[-1].strip('= ')}, the local run "
        "among it that all is compared with",
    ]


def main() -> None:
    with tempfile.TemporaryDirectory() as thrown_away:
        folder = Path(thrown_away)
        root = copied(folder / "copy")
        measured = [*dry_runs(root), "", *here(root), *on_slurm(folder)]
    write_page("overhead.md", "What Snakemake adds", "uv run python benchmarks/overhead.py", measured)


if __name__ == "__main__":
    main()
