"""Reading what runs leave behind: metrics.json, and history.csv with the train.json beside it.

Who ran what is read from the files' contents, never from their paths.
"""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from vreid.errors import InputError


@dataclass(frozen=True)
class Result:
    """One metrics.json: a model trained on one dataset with one seed, tested on one dataset."""

    path: Path
    model: str
    seed: int
    recipe: str
    train: str
    test: str
    rendered: bool  # whether the test pictures are rendered, not filmed
    headline: str  # the protocol whose numbers go into tables
    protocols: Mapping[str, Mapping[str, float]]  # fractions
    provenance: Mapping[str, Any]

    @property
    def scores(self) -> Mapping[str, float]:
        return self.protocols[self.headline]


@dataclass(frozen=True)
class Training:
    """One training: its history.csv (one row an epoch) and the train.json beside it."""

    path: Path
    model: str
    seed: int
    recipe: str
    train: str
    history: pd.DataFrame
    provenance: Mapping[str, Any]


def read_results(paths: Iterable[str | Path]) -> list[Result]:
    """Read metrics.json files.

    Raises InputError for a missing or torn file, a missing key, a number out of range, two files of one run.
    """
    results = [_read_result(Path(path)) for path in paths]
    seen: dict[tuple, Path] = {}
    for result in results:
        run = (result.model, result.train, result.test, result.seed)
        if run in seen:
            raise InputError(
                f"{result.path}: the same model, datasets and seed {run} as {seen[run]}; give one of them"
            )
        seen[run] = result.path
    return results


def read_trainings(paths: Iterable[str | Path]) -> list[Training]:
    """Histories of trainings. Raises InputError for a missing or torn file, a missing key or column."""
    return [_read_training(Path(path)) for path in paths]


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run what writes it first") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not valid JSON ({error}); remove it and run what writes it again"
        ) from None


def _read_result(path: Path) -> Result:
    content = read_json(path)
    try:
        provenance = content["provenance"]
        result = Result(
            path=path,
            model=provenance["model"],
            seed=provenance["seed"],
            recipe=provenance["recipe"],
            train=provenance["train_dataset"],
            test=provenance["test_dataset"],
            rendered=provenance["rendered"],
            headline=content["headline"],
            protocols=content["protocols"],
            provenance=provenance,
        )
        scores = result.scores
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: the key {error} is missing; score the run again") from None
    for metric, value in scores.items():
        if not metric.startswith("num_") and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise InputError(f"{path}: {metric} is {value!r}, not a fraction; score the run again")
    return result


def _read_training(path: Path) -> Training:
    provenance = read_json(path.with_name("train.json"))
    try:
        history = pd.read_csv(path)
        if missing := {"epoch", "dvdp", "mAP"} - set(history):
            raise ValueError(f"no column {sorted(missing)[0]}")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a history ({error}); train the run again") from None
    try:
        who = {"model": provenance["model"], "seed": provenance["seed"], "recipe": provenance["recipe"]}
        return Training(
            path=path, **who, train=provenance["train_dataset"], history=history, provenance=provenance
        )
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path.with_name('train.json')}: the key {error} is missing; train the run again"
        ) from None


def mean_and_std(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof 1; NaN for fewer than two values)."""
    series = pd.Series(list(values), dtype=float)
    return float(series.mean()), float(series.std(ddof=1)) if len(series) > 1 else math.nan
