"""What the comparison systems cost and score: `uv run python benchmarks/systems.py [FOLDER]`.

Reads a finished checkout (by default this one): Snakemake's measurements of its jobs, features, and Table 3. Writes
systems.md beside this file. Jobs ran side by side, so the clock showed about their sum divided by the number of cores.
"""

import datetime
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tabulate import tabulate

from vreid.distances import cosine_distance
from vreid.metrics import evaluate_features
from vreid.models import method as methods
from vreid.provenance import cpu_name
from vreid.score import read_features
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


def streams(results: Path) -> pd.DataFrame:
    """How much the streams of a feature differ, by model with several and by dataset, over its seeds.

    `correlation` is that of two streams' cosine distances between queries and gallery, the mean over pairs of streams;
    `alone` the mean over streams of the mAP with one of them, `all` that with the whole feature, in percent.
    """
    rows = []
    for path in sorted((results / "runs").glob("*/*/seed*/*/features.npz")):
        count = len(Spec.load(path.parents[1] / "spec.json").options.get("streams", []))
        if count > 1 and path.parents[3].name == path.parent.name:
            rows.append({"dataset": path.parent.name, "model": path.parents[2].name, **alike(path, count)})
    return pd.DataFrame(rows).groupby(["dataset", "model"], sort=False).agg("mean").round(3).reset_index()


def alike(path: Path, count: int) -> dict[str, float]:
    """See `streams`, of one run."""
    arrays, _ = read_features(path)
    is_query, headline = arrays["splits"] == "query", json.loads(path.with_name("metrics.json").read_text())["headline"]

    def mean_ap(features: np.ndarray) -> float:
        return 100 * evaluate_features(features, arrays["pids"], arrays["camids"], is_query)[headline]["mAP"]

    parts = np.split(arrays["features"], count, axis=1)
    distances = [cosine_distance(part[is_query], part[~is_query]).ravel() for part in parts]
    correlations = np.corrcoef(distances)[np.triu_indices(count, 1)]
    alone = np.mean([mean_ap(part) for part in parts])
    return {"correlation": correlations.mean(), "alone": alone, "all": mean_ap(arrays["features"])}


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
        "## Streams",
        "How much the streams of a model differ: the correlation of two streams' distances between queries and gallery "
        "(the mean over pairs), the mAP by one stream alone (the mean over streams), and by all.",
        tabulate(
            streams(results),
            ["dataset", "model", "correlation", "mAP of one alone", "mAP of all"],
            "pipe",
            showindex=False,
            floatfmt=("", "", ".3f", ".1f", ".1f"),
        ),
        "## Table 3",
        (results / "tables/table3.md").read_text(),
    ]
    (HERE / "systems.md").write_text("\n\n".join(parts).rstrip() + "\n")


if __name__ == "__main__":
    main()
