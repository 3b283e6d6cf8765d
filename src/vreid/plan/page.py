"""The forecast as a table by table and figure, a list of jobs, and a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vreid.files import written_whole
from vreid.plan.manifest import Job, Manifest
from vreid.plan.pending import Pending
from vreid.plan.speed import Speed, throughput
from vreid.plan.work import Work, Workload
from vreid.progress import Progress

KINDS = ("training", "embedding", "completion")
JOBS = ["job", *Job._fields, "why", "first_needed_by", *Work._fields, "hours"]


def forecast(manifest: Mapping[str, Any], stem: Path) -> str:
    """Write `stem`.csv and .md (hours by table and figure) and `stem`-jobs.csv (every job to run); returns the page.

    Raises InputError where the manifest does not hold together.
    """
    checked = Manifest.from_mapping(manifest)
    pending, workload = Pending(checked), Workload(checked)
    speed = throughput(workload, pending.to_run)
    jobs = listed(pending, workload, speed.gmac_per_second)
    table = by_need(pending, jobs)
    page = shown(speed, jobs, table)
    for ending, text in {
        "-jobs.csv": jobs.to_csv(index=False),
        ".csv": table.to_csv(index=False),
        ".md": page + "\n",
    }.items():
        with written_whole(stem.with_name(stem.name + ending)) as aside:
            aside.write_text(text)
    return page


def listed(pending: Pending, workload: Workload, gmac_per_second: float) -> pd.DataFrame:
    """One row a job of `pending.to_run`, with the columns JOBS; hours and counts that are not known are NaN."""
    first = {job: name for name, jobs in reversed(pending.needs.items()) for job in jobs}
    bar, rows = Progress("count the multiply-adds", len(pending.to_run)), []
    for job in pending.to_run:
        work = workload.of(job)
        rows.append([job.kind, *job, pending.why(job), first[job], *work, work.gmac / gmac_per_second / 3600])
        bar.step(note=job.model)
    return pd.DataFrame(rows, columns=JOBS)


def by_need(pending: Pending, jobs: pd.DataFrame) -> pd.DataFrame:
    """One row a table or figure: jobs and hours that it adds to those before it, and all of its own; then all.

    Multiply-adds (10⁹) and hours are those of the jobs of which they are known; `unknown` counts the others.
    """
    rows = []
    for name, needed in pending.needs.items():
        alone = jobs.iloc[[place for place, job in enumerate(pending.to_run) if job in set(needed)]]
        rows.append({"needed_by": name} | _sums(jobs[jobs.first_needed_by == name]) | _sums(alone, "alone_"))
    return pd.DataFrame([*rows, {"needed_by": "all"} | _sums(jobs) | _sums(jobs, "alone_")])


def _sums(jobs: pd.DataFrame, prefix: str = "") -> dict[str, float]:
    kinds = {f"{kind}s": int((jobs.job == kind).sum()) for kind in KINDS}
    gmac, hours = (float(jobs[name].sum(min_count=min(1, len(jobs)))) for name in ("gmac", "hours"))
    sums = kinds | {"gmac": gmac, "hours": hours}
    return {f"{prefix}{key}": value for key, value in sums.items()} | {f"{prefix}unknown": int(jobs.gmac.isna().sum())}


def shown(speed: Speed, jobs: pd.DataFrame, table: pd.DataFrame) -> str:
    """The page, in Markdown."""
    rows = [
        {
            "needed by": row.needed_by,
            "trainings": row.trainings,
            "embeddings": row.embeddings,
            "completions": row.completions,
            "10¹⁵ multiply-adds": _number(row.gmac / 1e6),
            "hours": _hours(row.hours, row.unknown),
            "alone: trainings": row.alone_trainings,
            "alone: embeddings": row.alone_embeddings,
            "alone: completions": row.alone_completions,
            "alone: hours": _hours(row.alone_hours, row.alone_unknown),
        }
        for row in table.itertuples()
    ]
    page = [
        "# What is still to run",
        _markdown(rows),
        "Hours of one device. A job counts where it is first needed; `alone` is what a table or figure needs if "
        "nothing else is made.",
        speed.source,
        *_longest(jobs),
        *_unknown(jobs),
        "A completion is the scoring of all regions and the training of the completion network. Not counted: jobs on "
        "processors, attention maps (a clip of each test tracklet), the frames that are completed in the end, the "
        "train split that KISSME and XQDA embed to learn their metric, losses, and waiting. Interrupted trainings "
        "count whole, and other jobs are taken to be as fast as trainings. Images, annotations and other files that "
        "Snakemake knows by their time are not looked at: `snakemake -n` has the last word on what runs.",
    ]
    return "\n\n".join([*page, "## Jobs", _markdown(_grouped(jobs))] if len(jobs) else page)


def _longest(jobs: pd.DataFrame) -> list[str]:
    lines = []
    for kind, rule in {"training": "train", "completion": "train_completion"}.items():
        own = jobs[(jobs.job == kind) & jobs.hours.notna()]
        if len(own):
            longest = own.loc[own.hours.idxmax()]
            lines.append(
                f"Longest single {kind}: {longest.model} on {longest.train}, {_number(longest.hours)} hours; each "
                f"attempt may take the `runtime` of the rule `{rule}`, and goes on from where the last one was."
            )
    return lines


def _unknown(jobs: pd.DataFrame) -> list[str]:
    """What the sums leave out because the data is not there to be counted."""
    lines = []
    if count := int(jobs.gmac.isna().sum()):
        lines.append(
            f"Unknown: {count} job{'s' * (count > 1)}, whose data is not indexed yet and whose `expect` does not say "
            "enough. `snakemake --cores 1 results/index/<dataset>/annotated.csv.gz` indexes it."
        )
    if count := int((jobs.gmac.notna() & jobs.validated.isna()).sum()):
        lines.append(
            f"Left out: the validations of {count} training{'s' * (count > 1)}, whose test frames are not known yet."
        )
    return lines


def _grouped(jobs: pd.DataFrame) -> list[dict[str, str]]:
    """A row for jobs that differ in their seed alone."""
    rows = []
    names = ["job", "train", "model", "test", "completes", "why"]
    for (job, train, model, test, completes, why), own in jobs.groupby(names, sort=False):
        sums = _sums(own)
        rows.append(
            {
                "job": job,
                "trained on": train,
                "model": model,
                "tested on, or completed": test or completes,
                "seeds": " ".join(map(str, own.seed)),
                "hours": _hours(sums["hours"], sums["unknown"]),
                "why": why,
            }
        )
    return rows


def _number(value: float) -> str:
    if np.isnan(value):
        return ""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def _hours(hours: float, unknown: int) -> str:
    """Hours, and the number of jobs of which they are not known."""
    return " + ".join(filter(None, [_number(hours), f"{unknown} unknown" if unknown else ""]))


def _markdown(rows: list[dict[str, Any]]) -> str:
    return pd.DataFrame(rows).astype(str).to_markdown(index=False, disable_numparse=True)
