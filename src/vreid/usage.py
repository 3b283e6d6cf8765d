"""Table of what every run took: its model's cost, and seconds and peak memory of its jobs (CSV, Markdown, LaTeX).

Seconds and memory are those that Snakemake measured of a whole job, in its benchmark files. A run is plain data:

    {"record": "…/metrics.json", "training": "….tsv", "embedding": "….tsv"}

The record, a train.json where the run was not tested, says whose run it is. A run without `training` took the weights
of another model, and one without `embedding` was not tested. The completion of a dataset's frames (VRSTC) is

    {"record": "…/completion.json", "training": "….tsv", "scoring": "….tsv", "completing": "….tsv"}
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vreid import typeset
from vreid.errors import InputError
from vreid.results import machine, mean_and_std, read_completion, read_cost, read_json, read_provenance
from vreid.typeset import BLANK, Cell, Group, Shown

JOBS = ("training", "embedding")
COMPLETION = "completion of frames"  # as the name of a model that is none
MISSING = ("NA", "-", "")  # what Snakemake writes of a job that ended before it was looked at


@dataclass(frozen=True)
class Benchmark:
    """What one job took."""

    seconds: float
    max_rss: float  # MiB; the largest sum over the job's processes that was seen, NaN if none was looked at


def make(
    spec: Mapping[str, Any], runs: Iterable[Mapping[str, str]], costs: Iterable[str | Path], out_stem: Path
) -> None:
    """Write `out_stem`.csv, .md and .tex. `spec` has number, title and labels (model → label)."""
    frame = tabulate(spec, runs, [read_cost(path) for path in costs])
    typeset.write(shown(spec, frame), frame, out_stem)


def read(path: str | Path) -> pd.DataFrame:
    """A table's CSV as `tabulate` returned it."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in frame:
        if name.endswith(("_mean", "_std")) or name in ("parameters", "GMAC"):
            frame[name] = pd.to_numeric(frame[name].mask(frame[name] == ""))
    return frame.assign(num_seeds=frame.num_seeds.astype(int))


def read_benchmark(path: str | Path) -> Benchmark:
    """One of Snakemake's benchmark files (TSV, a header and one row).

    Raises InputError for a file that is missing or torn.
    """
    mend = "remove it and run its job again"
    try:
        frame = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run its job again") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as TSV ({error}); {mend}") from None
    if missing := [name for name in ("s", "max_rss") if name not in frame]:
        raise InputError(f"{path}: no column {missing[0]!r}; {mend}")
    if len(frame) != 1:
        raise InputError(f"{path}: {len(frame)} rows, not one; {mend}")
    seconds, max_rss = (_number(frame.loc[0, name], name, path, mend) for name in ("s", "max_rss"))
    if math.isnan(seconds):
        raise InputError(f"{path}, line 2: s is {frame.s[0]!r}, no time; {mend}")
    return Benchmark(seconds, max_rss)


def _number(text: str, name: str, path: str | Path, mend: str) -> float:
    if text in MISSING:
        return math.nan
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number < math.inf:
        raise InputError(f"{path}, line 2: {name} is {text!r}, not a number from 0; {mend}")
    return number


def tabulate(
    spec: Mapping[str, Any], runs: Iterable[Mapping[str, str]], costs: Iterable[Mapping[str, Any]]
) -> pd.DataFrame:
    """One row a model × training dataset × test dataset ("" if it was not tested).

    `parameters` and `GMAC` of a clip, in millions and thousands of millions, counted with `scale`, say ResNet-50 at
    256×128; of each job `_seconds` and `_max_rss` (MiB), `_mean` and `_std` over the seeds. A training that went on
    from a checkpoint has a benchmark of its last part only: its seed stands in `resumed`, and its seconds count in no
    mean.
    Raises InputError for a file that is missing or torn, a run that is given twice, a cost that is missing.
    """
    known = {cost["model"]: cost for cost in costs}
    found: dict[tuple[str, str, str], dict[int, dict[str, Any]]] = {}
    runs = list(runs)
    for run in (run for run in runs if "completing" not in run):
        record = _record(run["record"])
        who = (record["model"], record["train_dataset"], record.get("test_dataset", ""))
        seeds = found.setdefault(who, {})
        if record["seed"] in seeds:
            raise InputError(f"{run['record']}: the run {who}, seed {record['seed']}, is given twice; give it once")
        seeds[record["seed"]] = {"record": record} | {job: read_benchmark(run[job]) for job in JOBS if job in run}
    rows = []
    for (model, train, test), seeds in found.items():
        if model not in known:
            raise InputError(f"table {spec['number']}: no cost of the model {model!r} is given; count it")
        own = [seeds[seed] for seed in sorted(seeds)]
        rows.append(
            {
                "table": str(spec["number"]),
                "model": model,
                "label": spec["labels"].get(model, model),
                "trained_as": own[0]["record"].get("trained_as", model),
                "train": train,
                "test": test,
                "seeds": " ".join(map(str, sorted(seeds))),
                "num_seeds": len(seeds),
                "resumed": " ".join(str(run["record"]["seed"]) for run in own if _was_resumed(run)),
                "machines": "; ".join(dict.fromkeys(machine(run["record"]) for run in own)),
                "scale": known[model]["scale"],
                "parameters": round(known[model]["parameters"] / 1e6, 2),
                "GMAC": round(known[model]["clip_gmac"], 2),
                **_took("training", own),
                **_took("embedding", own),
            }
        )
    return pd.DataFrame([*rows, *(_completion(spec, run, known) for run in runs if "completing" in run)])


def _completion(spec: Mapping[str, Any], run: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a completion: what scores the regions and what completes the frames are one `embedding`."""
    record = read_completion(run["record"])
    scoring, completing = read_benchmark(run["scoring"]), read_benchmark(run["completing"])
    most = float(np.fmax(scoring.max_rss, completing.max_rss))
    whole = Benchmark(scoring.seconds + completing.seconds, most)
    own = [{"record": record | {"seed": 0}, "training": read_benchmark(run["training"]), "embedding": whole}]
    return {
        "table": str(spec["number"]),
        "model": COMPLETION,
        "label": COMPLETION.capitalize(),
        "trained_as": COMPLETION,
        "train": record["dataset"],
        "test": "",
        "seeds": "0",
        "num_seeds": 1,
        "resumed": "0" if _was_resumed(own[0]) else "",
        "machines": machine(record),
        "scale": next(iter(known.values()))["scale"],
        "parameters": math.nan,
        "GMAC": math.nan,
        **_took("training", own),
        **_took("embedding", own),
    }


def _record(path: str) -> Mapping[str, Any]:
    """The provenance of a metrics.json, or a train.json itself."""
    content = read_json(Path(path))
    if not isinstance(content, dict) or "provenance" not in content:
        return read_provenance(path)
    provenance = content["provenance"]
    for key in ("model", "seed", "train_dataset", "test_dataset"):
        if not isinstance(provenance, dict) or key not in provenance:
            raise InputError(f"{path}: the key {key!r} is missing; score the run again")
    return provenance


def _was_resumed(run: Mapping[str, Any]) -> bool:
    """Whether a training says that its epochs took longer than its job: the job began in their midst."""
    return "training" in run and run["record"].get("seconds", 0) > run["training"].seconds


def _took(job: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    own = [run for run in runs if job in run]
    whole = [run for run in own if not (job == "training" and _was_resumed(run))]
    seconds = mean_and_std(run[job].seconds for run in whole)
    memory = mean_and_std(run[job].max_rss for run in own if not math.isnan(run[job].max_rss))
    cells = zip(("seconds_mean", "seconds_std", "max_rss_mean", "max_rss_std"), (*seconds, *memory))
    return {f"{job}_{name}": round(value, 3) for name, value in cells}


def shown(spec: Mapping[str, Any], frame: pd.DataFrame) -> Shown:
    """The table from a frame made by `tabulate`."""
    rows = list(frame.itertuples(index=False))
    data = tuple((Cell(row.train), Cell(row.test or BLANK), Cell(str(row.num_seeds))) for row in rows)
    counted = tuple((_counted(row.parameters), _counted(row.GMAC)) for row in rows)
    groups = [
        Group("runs", True, ("trained on", "tested on", "seeds"), data),
        Group(typeset.cost_title(frame), True, ("parameters, M", "GMAC a clip"), counted),
    ]
    for job in JOBS:
        cells = tuple(
            tuple(
                typeset.averaged(row, f"{job}_{what}", (row.model, row.train, row.test), digits)
                for what, digits in (("seconds", 1), ("max_rss", 0))
            )
            for row in rows
        )
        groups.append(Group(job, True, ("s", "peak MiB"), cells))
    return Shown(spec["number"], spec["title"], "Model", frame.label.to_list(), groups, _notes(frame))


def _counted(value: float) -> Cell:
    return Cell(BLANK if math.isnan(value) else f"{value:.2f}")


def _notes(frame: pd.DataFrame) -> list[str]:
    machines = dict.fromkeys(name for names in frame.machines for name in names.split("; "))
    said = [
        f"Seconds and peak memory of a job, its start and its reading of data among them; mean ± sample standard "
        f"deviation over the seeds where there are two or more; measured on {'; '.join(machines)}.",
        "Memory is that of the processor (resident set, all processes of a job together), looked at from time to time: "
        f"{BLANK} where a job was over before.",
        "Jobs that ran side by side slowed each other down; parameters and GMAC are counted, not timed, and a GMAC is "
        "10⁹ multiply-adds of one test clip.",
    ]
    resumed = frame[(frame.resumed != "") & ~frame.duplicated(["model", "train"])]
    said += [
        f"{row.label}, {row.train}: the training with seed {row.resumed.replace(' ', ', ')} went on from a checkpoint; "
        "its job's seconds are those of the last part only and do not count."
        for row in resumed.itertuples()
    ]
    taken = frame[(frame.trained_as != frame.model)].drop_duplicates(["label", "trained_as"])
    names = dict(zip(frame.model, frame.label))
    if COMPLETION in frame.model.to_numpy():
        said.append(
            f"{COMPLETION.capitalize()} is what VRSTC needs before its training: that of the completion network, and, "
            "as embedding, the scoring of all regions and the completion of the frames together."
        )
    said += [
        f"{row.label}: the trainings of {names.get(row.trained_as, row.trained_as)}." for row in taken.itertuples()
    ]
    return said
