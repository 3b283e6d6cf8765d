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
    feature_length: int  # the numbers that stand for a tracklet, or for each of its clips
    headline: str  # the protocol whose numbers go into tables
    protocols: Mapping[str, Mapping[str, float]]  # fractions
    recognition: Mapping[str, float]  # mean accuracy and F1 over the attributes that are recognised; may be empty
    attributes: Mapping[str, Mapping[str, Mapping[str, float]]]  # group → attribute → its own; may be empty
    provenance: Mapping[str, Any]

    @property
    def scores(self) -> Mapping[str, float]:
        return {**self.protocols[self.headline], **self.recognition}

    def scored(self, protocol: str) -> Mapping[str, float]:
        """The scores under a protocol; empty if it was not scored."""
        return {**self.protocols[protocol], **self.recognition} if protocol in self.protocols else {}


@dataclass(frozen=True)
class Training:
    """One training: its history.csv (one row an epoch) and the train.json beside it."""

    path: Path
    model: str
    seed: int
    recipe: str
    train: str
    rendered: bool  # whether the pictures trained on are rendered, not filmed
    validation_clips: int  # at most so many clips of a tracklet were tested at the validations
    history: pd.DataFrame


def read_results(paths: Iterable[str | Path]) -> list[Result]:
    """Read metrics.json files.

    Raises InputError for a missing or torn file, a missing key, a number out of range, two files of one run.
    """
    results = [_read_result(Path(path)) for path in paths]
    seen: dict[tuple, Path] = {}
    for result in results:
        run = (result.model, result.train, result.test, result.seed)
        if run in seen:
            raise InputError(f"{result.path}: the same model, datasets and seed {run} as {seen[run]}; give one of them")
        seen[run] = result.path
    return results


def read_trainings(paths: Iterable[str | Path]) -> list[Training]:
    """Read history.csv files. Raises InputError for a missing or torn file, a missing key or column."""
    return [_read_training(Path(path)) for path in paths]


def read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run what writes it first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not valid JSON ({error}); remove it and run what writes it again") from None


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
            feature_length=content["feature_length"],
            headline=content["headline"],
            protocols=content["protocols"],
            recognition=content.get("recognition", {}),
            attributes=content.get("attributes", {}),
            provenance=provenance,
        )
        scores = dict(result.scores)
    except KeyError as error:
        raise InputError(f"{path}: the key {error} is missing; score the run again") from None
    except (TypeError, ValueError):
        raise InputError(f"{path}: not the metrics of a run; score the run again") from None
    for metric, value in scores.items():
        if not metric.startswith("num_") and not (isinstance(value, int | float) and 0 <= value <= 1):
            raise InputError(f"{path}: {metric} is {value!r}, not a fraction; score the run again")
    return result


def read_provenance(path: str | Path) -> Mapping[str, Any]:
    """A train.json: who was trained, by which code and machine, in how many seconds."""
    provenance = read_json(Path(path))
    for key in ("model", "seed", "recipe", "train_dataset", "rendered", "validation_clips"):
        if not isinstance(provenance, dict) or key not in provenance:
            raise InputError(f"{path}: the key {key!r} is missing; train the run again")
    return provenance


def _read_training(path: Path) -> Training:
    provenance = read_provenance(path.with_name("train.json"))
    try:
        history = pd.read_csv(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; train the run first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as CSV ({error}); train the run again") from None
    if missing := [name for name in ("epoch", "dvdp", "mAP") if name not in history]:
        raise InputError(f"{path}: no column {missing[0]!r}; train the run again")
    return Training(
        path=path,
        model=provenance["model"],
        seed=provenance["seed"],
        recipe=provenance["recipe"],
        train=provenance["train_dataset"],
        rendered=provenance["rendered"],
        validation_clips=provenance["validation_clips"],
        history=history,
    )


def read_cost(path: str | Path) -> Mapping[str, Any]:
    """What `vreid.cost` found of a model."""
    return _with_keys(
        path,
        ("model", "scale", "parameters", "clip_frames", "clip_gmac", "tracklet_frames", "tracklet_gmac"),
        "count the model's cost again",
    )


def machine(run: Mapping[str, Any]) -> str:
    """The machine of a run's record, in words."""
    threads = f"{run['threads']} thread{'s' * (run['threads'] != 1)}" if "threads" in run else ""
    torch = f"torch {run['torch']}" if "torch" in run else ""
    parts = [run.get("device", ""), run.get("precision", ""), threads, run.get("host_cpu", ""), torch]
    return ", ".join(part for part in parts if part) or "unknown machine"


def read_completion(path: str | Path) -> Mapping[str, Any]:
    """The record of a completion network's training."""
    return _with_keys(path, ("dataset", "seconds"), "train the completion again")


def read_premise(path: str | Path) -> Mapping[str, Any]:
    """What `vreid.premise` found of a run."""
    return _with_keys(path, (*WHO, "people", "gaps", "spread"), "measure the premise again")


def read_focus(path: str | Path) -> Mapping[str, Any]:
    """What `vreid.focus` found of a run."""
    return _with_keys(path, (*WHO, "streams"), "measure the attention again")


WHO = ("model", "seed", "train", "test")


def _with_keys(path: str | Path, keys: Iterable[str], mend: str) -> Mapping[str, Any]:
    """A JSON file that has these keys; InputError names the first that is missing, and the mend."""
    found = read_json(Path(path))
    for key in keys:
        if not isinstance(found, dict) or key not in found:
            raise InputError(f"{path}: the key {key!r} is missing; {mend}")
    return found


def mean_and_std(values: Iterable[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (ddof 1; NaN for fewer than two values)."""
    series = pd.Series(list(values), dtype=float)
    return float(series.mean()), float(series.std(ddof=1)) if len(series) > 1 else math.nan
