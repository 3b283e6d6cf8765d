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

from vreid.models import method as methods
from vreid.provenance import cpu_name
from vreid.spec import Spec

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
    """Seconds, steps, parameters and last losses of each model's trainings, by dataset.

    The softmax loss is in shares of ln(people), that of who guesses: how far from its end a short training stops. The
    metric loss is in shares of its value for equal features: a training that has collapsed stands at 1.
    """
    paths = sorted((results / "runs").glob("*/*/seed*/train.json"))
    frame = pd.DataFrame([json.loads(path.read_text()) | last_losses(path.parent) for path in paths])
    frame["softmax"] /= np.log(frame["people"])
    grouped = frame.groupby(["train_dataset", "model"], sort=False)
    return grouped.agg(
        seeds=("seed", "count"),
        seconds=("seconds", "mean"),
        steps=("steps", "first"),
        parameters=("parameters", "first"),
        softmax=("softmax", "mean"),
        metric=("metric", "mean"),
    ).round({"seconds": 1, "softmax": 2, "metric": 2})


def last_losses(run: Path) -> dict[str, float]:
    """The softmax loss and the metric loss of the last epoch; NaN without training or without such a loss."""
    history, spec = pd.read_csv(run / "history.csv"), Spec.load(run / "spec.json")
    method = methods.load(spec.method)
    alike = {term: value for term, value in method.collapsed(method.settings(spec)).items() if value}
    last = history.iloc[-1] if len(history) else {}
    metric = [last[term] / value for term, value in alike.items() if term in last]
    return {"softmax": last.get("softmax", np.nan), "metric": metric[0] if metric else np.nan}


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
                "last metric loss / its value for equal features",
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
