"""How many multiply-adds a device makes a second: as given, or as the finished trainings of the folder made them."""

from collections.abc import Container, Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from vreid.hardware import CPU, device_name
from vreid.plan.manifest import Job
from vreid.plan.pending import frozen_digest, read_record
from vreid.plan.work import Workload
from vreid.progress import Progress
from vreid.spec import Spec


class Speed(NamedTuple):
    """10⁹ multiply-adds a second, and where the number comes from."""

    gmac_per_second: float  # NaN where nothing says it
    source: str


def throughput(workload: Workload, pending: Iterable[Job] = ()) -> Speed:
    """As given; else the median of the finished trainings.

    Of this machine's device if it has trained any and is a GPU, or no GPU has; else of the one that trained most.

    Only trainings of the trunks and frame sizes that are still to run are asked: others have another speed.
    """
    if given := workload.manifest.throughput:
        return Speed(given, "Throughput: as given.")
    sizes = {_size(workload.manifest.spec(job)) for job in pending}
    trained = measured(workload, sizes)
    if trained.empty:
        return Speed(
            np.nan,
            "Throughput: not known, so there are no hours. Train one run, or give 10⁹ multiply-adds a second, "
            "`--config throughput=…`.",
        )
    runs = trained.groupby("device", sort=False).size()
    here = device_name()
    if here == CPU and len(gpus := runs[runs.index != CPU]):  # a login node, say
        device = gpus.idxmax()
    elif here in runs:
        device = here
    else:
        device = runs.idxmax()
    own = trained[trained.device == device]
    median, by_model = own.rate.median(), own.groupby("model").rate.median()
    others = ", ".join(f"{name} ({count} runs)" for name, count in runs.drop(device).items())
    return Speed(
        median,
        f"Throughput: {median:.4g} · 10⁹ multiply-adds a second, the median of {len(own)} finished "
        f"training{'s' * (len(own) != 1)} on {device}; by model {by_model.min():.4g} ({by_model.idxmin()}) to "
        f"{by_model.max():.4g} ({by_model.idxmax()}), so a single forecast may be as far off."
        + (f" Left aside: {others}." if others else ""),
    )


def measured(workload: Workload, sizes: Container[tuple] = ()) -> pd.DataFrame:
    """One row a finished training of the folder: device, model, rate (10⁹ multiply-adds a second).

    Of all, or of those whose trunk and frames have one of the `sizes`.
    """
    everything = Path(workload.manifest.run.format(train="*", model="*", seed="*"))
    base = next(parent for parent in everything.parents if "*" not in str(parent))
    records = sorted(base.glob(f"{everything.relative_to(base)}/train.json"))
    bar, rows = Progress("count the finished trainings", len(records)), []
    for path in records:
        bar.step()
        record = read_record(path)
        dataset, numbers = record.get("train_dataset"), [record.get(key) for key in ("people", "steps", "seconds")]
        if frozen_digest(path.parent) != record.get("spec_digest") or dataset not in workload.manifest.datasets:
            continue
        if not all(isinstance(number, int | float) and number > 0 for number in numbers):
            continue  # an untrained network among them
        people, steps, seconds = numbers
        spec = Spec.load(path.with_name("spec.json"))
        if sizes and _size(spec) not in sizes:
            continue
        work = workload.training(spec, people, steps, workload.counts(dataset))
        if not np.isnan(work.validated):
            rows.append((record.get("device", "an unknown device"), spec.model, work.gmac / seconds))
    return pd.DataFrame(rows, columns=["device", "model", "rate"])


def _size(spec: Spec) -> tuple:
    return spec.trunk.name, spec.trunk.width, spec.clips.height, spec.clips.width
