"""Table of recognition by attribute: one row an attribute, the models side by side (CSV, Markdown, LaTeX).

Its spec is that of `tables` with `per_attribute`; `metrics` are any of accuracy and F1.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from vreid import typeset
from vreid.data.attributes import QUALITY
from vreid.errors import InputError
from vreid.results import Result, mean_and_std, read_results
from vreid.tables import Place, Spec, identity, measured
from vreid.typeset import BLANK, Cell, Group, Shown

METRICS = ("accuracy", "F1")
ANNOTATED = ("tracklets", "majority")  # what is of the annotations, and the same for every model
STREAMS = {"irrelevant": "ID-irrelevant", "relevant": "ID-relevant"}
MARK = "†"


def make(spec: Spec, metrics: Iterable[str | Path], out_stem: str | Path) -> None:
    """Write `out_stem`.csv, .md and .tex from metrics.json files."""
    frame = tabulate(spec, read_results(metrics))
    typeset.write(shown(spec, frame), frame, out_stem)


def read(path: str | Path) -> pd.DataFrame:
    """A table's CSV as `tabulate` returned it."""
    blank = {f"{metric}_std": [""] for metric in METRICS}
    return pd.read_csv(path, dtype={"table": str, "seeds": str}, keep_default_na=False, na_values=blank)


def tabulate(spec: Spec, results: Sequence[Result]) -> pd.DataFrame:
    """One row a column × model × attribute that the model recognises, the attributes in their vocabulary's order.

    Of each metric `_mean` and `_std` over the seeds, in percent (sample standard deviation; NaN for one seed). Beside
    them `tracklets`, how many are annotated, and `majority`, the share of the commonest class in percent.
    Raises InputError for a run that is missing, does not belong in this table, or recognises no attribute.
    """
    if unknown := [metric for metric in spec["metrics"] if metric not in METRICS]:
        raise InputError(f"table {spec['number']}: {unknown[0]!r} is not of an attribute; show {' or '.join(METRICS)}")
    frame = pd.DataFrame(
        _row(spec, place, runs, group, name)
        for place, runs in measured(spec, results)
        for group, attributes in _recognised(runs).items()
        for name in attributes
    )
    for (test, name), part in frame.groupby(["test", "attribute"]):
        if len(part[list(ANNOTATED)].drop_duplicates()) > 1:
            raise InputError(
                f"table {spec['number']}: on {test}, {name!r} is not annotated alike for {', '.join(part.model)}; "
                "embed and score them again"
            )
    return frame


def _recognised(runs: Sequence[Result]) -> Mapping[str, Mapping[str, Any]]:
    """Group → attributes, the same for all of the runs."""
    first = runs[0]
    if not first.attributes:
        raise InputError(f"{first.path}: {first.model!r} recognises no attribute; take its row out")
    known = {group: list(scores) for group, scores in first.attributes.items()}
    for run in runs:
        if {group: list(scores) for group, scores in run.attributes.items()} != known:
            raise InputError(f"{run.path}: not the attributes of {first.path}; embed and score the runs again")
    return known


def _row(spec: Spec, place: Place, runs: Sequence[Result], group: str, name: str) -> dict[str, Any]:
    scores = [_checked(run, group, name, spec["metrics"]) for run in runs]
    cells = {
        **identity(spec, place, runs),
        "attribute": name,
        "stream": STREAMS.get(group, group),
        "quality": name in QUALITY,
        "tracklets": scores[0]["tracklets"],
        "majority": round(100 * scores[0]["majority"], 6),
    }
    for metric in spec["metrics"]:
        mean, std = mean_and_std(100 * score[metric] for score in scores)
        cells |= {f"{metric}_mean": round(mean, 6), f"{metric}_std": round(std, 6)}
    return cells


def _checked(run: Result, group: str, name: str, metrics: Sequence[str]) -> Mapping[str, float]:
    score = run.attributes[group][name]
    for key in (*ANNOTATED, *metrics):
        if not isinstance(score, Mapping) or key not in score:
            raise InputError(f"{run.path}: no {key} of the attribute {name!r}; score the run again")
    for key in ("majority", *metrics):
        if not (isinstance(score[key], int | float) and 0 <= score[key] <= 1):
            raise InputError(f"{run.path}: {key} of {name!r} is {score[key]!r}, not a fraction; score the run again")
    return score


def shown(spec: Spec, frame: pd.DataFrame) -> Shown:
    """The table from a frame made by `tabulate`; attributes of a tracklet's quality bear a mark."""
    named = frame.drop_duplicates(["stream", "attribute"])
    keys = list(zip(named.stream, named.attribute))
    labels = [f"{name} {MARK}" if quality else name for name, quality in zip(named.attribute, named.quality)]
    return Shown(spec["number"], spec["title"], "Attribute", labels, _groups(spec, frame, keys), _notes(spec, frame))


def _groups(spec: Spec, frame: pd.DataFrame, keys: Sequence[tuple[str, str]]) -> list[Group]:
    """For each pair of datasets what is annotated there, then a group a model."""
    found = []
    for _, part in _columns(frame):
        first = part.iloc[0]
        where = typeset.pair(first.column_train, first.column_test)
        title = f"{where}, {'rendered' if first.rendered else 'measured here'}"
        annotated = {
            (row.stream, row.attribute): (Cell(row.stream), Cell(str(row.tracklets)), Cell(f"{row.majority:.1f}"))
            for row in part.itertuples()
        }
        found.append(_group(title, ("stream", *ANNOTATED), annotated, keys))
        for model, own in part.groupby("model", sort=False):
            cells = {
                (row.stream, row.attribute): tuple(
                    typeset.averaged(row, metric, (model, row.train, row.test)) for metric in spec["metrics"]
                )
                for row in own.itertuples()
            }
            label = own.label.iloc[0]
            title = label if len(_columns(frame)) == 1 else f"{label}, {where}"
            found.append(_group(title, tuple(spec["metrics"]), cells, keys))
    return found


def _group(title: str, heads: tuple[str, ...], cells: Mapping[tuple[str, str], tuple[Cell, ...]], keys) -> Group:
    blank = tuple(Cell(BLANK) for _ in heads)
    return Group(title, True, heads, tuple(cells.get(key, blank) for key in keys))


def _columns(frame: pd.DataFrame):
    return frame.groupby(["column_train", "column_test"], sort=False)


def _notes(spec: Spec, frame: pd.DataFrame) -> list[str]:
    said = [typeset.how_measured(part.drop_duplicates("model")) for _, part in _columns(frame)]
    said.append(
        "F1 is the mean over an attribute's classes; majority is the accuracy of always saying its commonest class; "
        f"{BLANK} where a model does not recognise it."
    )
    if frame.quality.any():
        said.append(f"{MARK} How well a tracklet was cut out of its video; left out where means over attributes stand.")
    return [*said, *(f"{row['label']}: {row['note']}" for row in spec["rows"] if "note" in row)]
