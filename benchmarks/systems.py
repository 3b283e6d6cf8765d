"""What the comparison systems cost and score: `uv run python benchmarks/systems.py [FOLDER]`.

Reads a finished checkout (by default this one): Snakemake's measurements of its jobs, and Table 3. Writes systems.md
beside this file. Jobs ran side by side, so the clock showed about their sum divided by the number of cores.
"""

import datetime
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from vreid.provenance import cpu_name

HERE = Path(__file__).resolve().parent


def seconds_by_rule(results: Path) -> pd.DataFrame:
    """Wall seconds of the jobs that Snakemake measured, by rule."""
    rows = [
        {
            "job": path.relative_to(results / "benchmarks").parts[0].removesuffix(".tsv"),
            "seconds": pd.read_csv(path, sep="\t")["s"].item(),
        }
        for path in sorted((results / "benchmarks").rglob("*.tsv"))
    ]
    return pd.DataFrame(rows).groupby("job")["seconds"].agg(["count", "mean", "sum"]).round(0).astype(int)


def trainings(results: Path) -> pd.DataFrame:
    """Seconds, steps, parameters and last softmax loss of each model's trainings, by dataset.

    The loss is in shares of ln(people), that of who guesses: how far from its end a short training stops.
    """
    paths = sorted((results / "runs").glob("*/*/seed*/train.json"))
    frame = pd.DataFrame([json.loads(path.read_text()) | {"softmax": last_softmax(path.parent)} for path in paths])
    frame["softmax"] /= np.log(frame["people"])
    grouped = frame.groupby(["train_dataset", "model"], sort=False)
    return grouped.agg(
        seeds=("seed", "count"),
        seconds=("seconds", "mean"),
        steps=("steps", "first"),
        parameters=("parameters", "first"),
        softmax=("softmax", "mean"),
    ).round({"seconds": 1, "softmax": 2})


def last_softmax(run: Path) -> float:
    """The softmax loss of the last epoch; NaN without training or without this loss."""
    history = pd.read_csv(run / "history.csv")
    return history["softmax"].iloc[-1] if "softmax" in history and len(history) else np.nan


def main() -> None:
    results = (Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent) / "results"
    records = [json.loads(path.read_text()) for path in sorted((results / "runs").glob("*/*/seed*/train.json"))]
    commits = ", ".join(sorted({record["commit"][:12] for record in records}))
    jobs, models = seconds_by_rule(results), trainings(results).reset_index()
    parts = [
        "# The comparison systems",
        f"`uv run python benchmarks/systems.py`, {datetime.date.today()}, runs of commit {commits}, {cpu_name()}, a "
        "training on one thread, two jobs side by side.",
        "## Jobs",
        tabulate(jobs.reset_index(), ["job", "jobs", "seconds each", "seconds in all"], "pipe", showindex=False),
        f"All of them together: {jobs['sum'].sum() / 60:.0f} minutes of jobs, of which two ran at a time.",
        "## Trainings",
        tabulate(
            models,
            [
                "dataset",
                "model",
                "seeds",
                "seconds",
                "steps",
                "parameters (small trunk)",
                "last softmax loss / ln(people)",
            ],
            "pipe",
            showindex=False,
        ),
        "## Table 3",
        (results / "tables/table3.md").read_text(),
    ]
    (HERE / "systems.md").write_text("\n\n".join(parts).rstrip() + "\n")


if __name__ == "__main__":
    main()
