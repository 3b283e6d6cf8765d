"""Tables: results of runs become means over seeds beside the published values (CSV, Markdown, LaTeX).

A table's spec is plain data from the configuration:

    {"number": 1, "title": "Ablation study", "metrics": ["R1", "R5", "R10", "mAP"], "published": "1",
     "rows": [{"model": "baseline", "label": "Baseline"}, …],
     "columns": [{"train": "synth-mars", "test": "synth-mars",
                  "published_train": "mars", "published_test": "mars"}]}

A column with `models` is filled in the rows of these models alone; its `datasets` names, by model, what is trained
and tested on instead (VRSTC's completed frames); its `protocol` is one of the scored
ones, by default the headline. With `costs` the table says what a model costs, and with
`decline`, a metric, by which share of it a model does worse where it was not trained. `published` names the
table in the file of published values; a row may name its row there with `published`, or its model does. A column
without `published_test` gets no published values beside it. `seeds`, of the table or of a row, are the seeds that must
be there; by default every row must have all the seeds that any row has.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from vreid import typeset
from vreid.errors import InputError
from vreid.published import UNCHECKED, read_published
from vreid.results import Result, mean_and_std, read_cost, read_results
from vreid.typeset import columns

Spec = Mapping[str, Any]


class Place(NamedTuple):
    """A cell of a table: a row's model in a column, and what it is trained and tested on there."""

    row: Spec
    column: Spec
    train: str
    test: str

    @property
    def who(self) -> tuple[str, str, str]:
        return self.row["model"], self.train, self.test


def places(spec: Spec) -> list[Place]:
    """All cells of a table that are measured, column by column."""
    found = []
    for column in spec["columns"]:
        instead = column.get("datasets", {})
        for row in spec["rows"]:
            model = row["model"]
            if model in column.get("models", [model]):
                train, test = (instead.get(model, column[side]) for side in ("train", "test"))
                found.append(Place(row, column, train, test))
    return found


def make(
    spec: Spec,
    metrics: Iterable[str | Path],
    published: str | Path,
    out_stem: str | Path,
    costs: Iterable[str | Path] = (),
) -> None:
    """Write `out_stem`.csv, .md and .tex from metrics.json files, the CSV of published values, and costs of models."""
    frame = tabulate(spec, read_results(metrics), read_published(published), [read_cost(path) for path in costs])
    typeset.write(typeset.shown(spec, frame), frame, out_stem)


def read(path: str | Path) -> pd.DataFrame:
    """A table's CSV as `tabulate` returned it: published values are text, as printed."""
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    for name in frame:
        if name.endswith(("_mean", "_std")) or name in ("parameters", "GMAC", "frames", "length"):
            frame[name] = pd.to_numeric(frame[name].mask(frame[name] == ""))
    return frame.assign(rendered=frame.rendered == "True", num_seeds=frame.num_seeds.astype(int))


def tabulate(
    spec: Spec, results: Sequence[Result], published: pd.DataFrame, costs: Iterable[Mapping[str, Any]] = ()
) -> pd.DataFrame:
    """One row a column × model.

    Columns of each metric: `_mean` and `_std` over the seeds, in percent (sample standard deviation; NaN for
    one seed), and `_published`, text as printed, which was measured on `published_train`, `published_test` under
    `published_protocol`; `published_unchecked` names the metrics whose value is recollected. With costs, `parameters`
    and `GMAC` of a model, in millions and thousands of millions, for a clip of `frames`, counted with `scale` (say
    ResNet-50 at 256×128); `seconds_mean` of its trainings, and `length`, the numbers of a feature as it was tested.
    With `decline`, `decline_mean` and `_std` of the columns that test on another dataset, in percent of what the same
    runs score on their own.
    Raises InputError for a run that is missing, or does not belong in this table.
    """
    known = {cost["model"]: cost for cost in costs}
    rows = []
    for place, runs in measured(spec, results):
        beside = _beside(spec, place.row, place.column, published)
        cost = _cost(spec, place.row["model"], runs, known) if spec.get("costs") else {}
        lost = _decline(spec, place, runs, results) if "decline" in spec else {}
        known_by = identity(spec, place, runs) | {"protocol": _protocol(place, runs)}
        rows.append(known_by | _means(spec, place, runs) | lost | cost | beside)
    return pd.DataFrame(rows)


def measured(spec: Spec, results: Sequence[Result]) -> Iterator[tuple[Place, list[Result]]]:
    """Each cell of a table and the runs behind it, one of each seed; InputError as in `tabulate`."""
    _check_belonging(spec, results)
    everyone = sorted({result.seed for result in results})
    for place in places(spec):
        yield place, _runs(spec, place, spec.get("seeds", everyone), results)


def _cost(spec: Spec, model: str, runs: Sequence[Result], known: Mapping[str, Mapping]) -> dict[str, float]:
    if model not in known:
        raise InputError(f"table {spec['number']}: no cost of the model {model!r} is given; count it")
    seconds, _ = mean_and_std(run.provenance.get("seconds", math.nan) for run in runs)
    return {
        "scale": known[model]["scale"],
        "parameters": round(known[model]["parameters"] / 1e6, 2),
        "GMAC": round(known[model]["clip_gmac"], 2),
        "frames": known[model]["clip_frames"],
        "seconds_mean": round(seconds, 1),
        "length": runs[0].feature_length,
    }


def identity(spec: Spec, place: Place, runs: Sequence[Result]) -> dict[str, Any]:
    """What a row of a table's CSV says of the runs behind it."""
    run = runs[0]
    return {
        "table": str(spec["number"]),
        "model": run.model,
        "label": place.row.get("label", run.model),
        "column_train": place.column["train"],
        "column_test": place.column["test"],
        "train": run.train,
        "test": run.test,
        "rendered": run.rendered,
        "recipe": run.recipe,
        "seeds": " ".join(str(run.seed) for run in runs),
        "num_seeds": len(runs),
        "unit": "percent",
    }


def _means(spec: Spec, place: Place, runs: Sequence[Result]) -> dict[str, float]:
    cells = {}
    protocol = _protocol(place, runs)
    for metric in spec["metrics"]:
        for run in runs:
            if metric not in run.scored(protocol):
                raise InputError(f"{run.path}: no {metric} under {protocol!r}; score the run again")
        mean, std = mean_and_std(100 * run.scored(protocol)[metric] for run in runs)
        cells |= {f"{metric}_mean": round(mean, 6), f"{metric}_std": round(std, 6)}
    return cells


def _protocol(place: Place, runs: Sequence[Result]) -> str:
    return place.column.get("protocol", runs[0].headline)


def _decline(spec: Spec, place: Place, runs: Sequence[Result], results: Sequence[Result]) -> dict[str, float]:
    """The share of a metric that runs lose on another dataset than their own, in percent; NaN on their own."""
    metric = spec["decline"]
    if place.train == place.test:
        return {"decline_mean": math.nan, "decline_std": math.nan}

    def score(run: Result) -> float:
        return run.scored(_protocol(place, [run]))[metric]

    own = {(run.model, run.seed): score(run) for run in results if run.train == run.test == place.train}
    if missing := [run for run in runs if (run.model, run.seed) not in own]:
        raise InputError(
            f"{missing[0].path}: table {spec['number']} shows the decline, and none of the metrics.json files is of "
            f"this run tested on {place.train}, its own data; add that column"
        )
    shares = [1 - score(run) / own[run.model, run.seed] for run in runs]
    mean, std = mean_and_std(100 * share for share in shares)
    return {"decline_mean": round(mean, 6), "decline_std": round(std, 6)}


def _beside(spec: Spec, row: Spec, column: Spec, published: pd.DataFrame) -> dict[str, str]:
    test = column.get("published_test", "")
    train = column.get("published_train", test)
    keys = {
        metric: (str(spec.get("published", "")), row.get("published", row["model"]), train, test, metric)
        for metric in spec["metrics"]
    }
    values = {metric: published.value.get(key, "") for metric, key in keys.items()}
    printed = [keys[metric] for metric, value in values.items() if value]
    sources = sorted({published.source[key] for key in printed})
    protocols = sorted({published.protocol[key] for key in printed} - {""})
    return {
        **{f"{metric}_published": value for metric, value in values.items()},
        "published_train": train,
        "published_test": test,
        "published_protocol": "; ".join(protocols),
        "published_source": "; ".join(sources),
        "published_unchecked": " ".join(key[-1] for key in printed if published.source[key].endswith(UNCHECKED)),
    }


def _runs(spec: Spec, place: Place, seeds: Sequence[int], results: Sequence[Result]) -> list:
    """The runs behind one row in one column: just one of each seed."""
    number = f"table {spec['number']}"
    who = place.who
    runs = {run.seed: run for run in results if (run.model, run.train, run.test) == who}
    for seed, run in runs.items():
        if seed not in seeds:
            raise InputError(f"{run.path}: {number} takes the seeds {list(seeds)}, not {seed}; leave it out")
    if missing := [seed for seed in seeds if seed not in runs] or (not runs and ["any"]):
        raise InputError(
            f"{number}: none of the {len(results)} metrics.json files given is of model {who[0]!r}, seed "
            f"{missing[0]}, trained on {who[1]}, tested on {who[2]}; score that run or take the row out"
        )
    return [runs[seed] for seed in sorted(runs)]


def _check_belonging(spec: Spec, results: Sequence[Result]) -> None:
    """Every result fills a cell of this table, and the results of a column were made and scored alike."""
    number = f"table {spec['number']}"
    cells = places(spec)
    models = {place.row["model"] for place in cells}
    pairs = {place.who for place in cells}
    first: dict[tuple, Result] = {}
    for run in results:
        pair = (run.train, run.test)
        if run.model not in models:
            raise InputError(f"{run.path}: {number} has no row for the model {run.model!r}")
        if (run.model, *pair) not in pairs:
            raise InputError(f"{run.path}: {number} has no column for training on {pair[0]}, testing on {pair[1]}")
        for scope, key in (run.model, "recipe"), (pair, "headline"), (run.test, "rendered"):
            other = first.setdefault((scope, key), run)
            ours, theirs = getattr(run, key), getattr(other, key)
            if ours != theirs:
                raise InputError(
                    f"{run.path}: {key} {ours!r}, but {theirs!r} in {other.path}; one table does not mix them"
                )


def gains(spec: Spec, frame: pd.DataFrame, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Each row minus the row of the model `spec["reference"]`, in points of mAP, ours and published.

    Ours over the seeds that the table takes of both, runs with the same seed paired; not of the `floor`, which is far
    below all. Empty without a reference.
    """
    reference, found = spec.get("reference"), []
    for _, part in columns(frame) if reference else ():
        printed = dict(zip(part.model, pd.to_numeric(part.mAP_published)))
        whose = {model: (model, train, test) for model, train, test in zip(part.model, part.train, part.test)}
        taken = {model: set(map(int, seeds.split())) for model, seeds in zip(part.model, part.seeds)}
        scores = {model: {} for model in whose}
        for run in results:
            if whose.get(run.model) == (run.model, run.train, run.test) and run.seed in taken[run.model]:
                scores[run.model][run.seed] = 100 * run.scored(part.protocol.iloc[0])["mAP"]
        for model in part.model[~part.model.isin([reference, spec.get("floor")])] if reference in whose else ():
            seeds = sorted(scores[model].keys() & scores[reference].keys())
            differences = [scores[model][seed] - scores[reference][seed] for seed in seeds]
            mean, std = mean_and_std(differences)
            gain = {"who": whose[model], "differences": differences, "mean": mean, "std": std}
            found.append(gain | {"published": printed[model] - printed[reference]})
    return found
