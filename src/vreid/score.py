"""From the features of a test set, `features.npz`, to its `metrics.json` and `per_query.csv.gz`."""

import gzip
import json
import time
import zipfile
import zlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from vreid import provenance
from vreid.data.attributes import QUALITY
from vreid.distances import DISTANCES
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.metrics import JUNK, PROTOCOLS, attribute_scores, evaluate_features

LABELS = ("pids", "camids", "tracklets", "splits")
SPLITS = ("query", "gallery", "junk")
OPTIONAL = ("distance_", "recognised_", "annotated_")  # beginnings of the names of arrays that need not be there
MEND = "embed the test set again"


def score(features_path: str | Path, headline: str, out_json: str | Path, out_per_query: str | Path) -> None:
    """Score the features under every protocol, by the distance that their provenance names.

    `headline` names the protocol that tables show.

    `out_json` gets `headline`, `feature_length` (the numbers that stand for a tracklet, or for each of its clips),
    `protocols` (mAP and R1 to R20 as fractions, the numbers of queries, of
    queries with a match, and of ranked gallery tracklets), `attributes` (group → attribute → accuracy and macro F1,
    of features that hold recognised classes), `recognition` (their means over the `attributes` that do not speak of a
    tracklet's quality, as in Chen et al. 2019), and `provenance`, that of the features with `score_seconds`.
    `out_per_query` (CSV.gz) gets protocol, pid, camid, tracklet, average_precision and
    first_match_rank, the last two blank where a query has no match. Bad input: InputError, nothing written.
    """
    names = [protocol.name for protocol in PROTOCOLS]
    if headline not in names:
        raise InputError(f"no protocol is called {headline!r}: the headline is one of {', '.join(names)}")
    started = time.perf_counter()
    arrays, origin = read_features(features_path)
    is_query = arrays["splits"] == "query"
    try:
        distance = partial(DISTANCES[origin["distance"]], **_named(arrays, "distance_"))
        results = evaluate_features(arrays["features"], arrays["pids"], arrays["camids"], is_query, distance=distance)
    except ValueError as error:
        raise InputError(f"{features_path}: {error}; check the splits of the dataset") from error
    seconds = time.perf_counter() - started
    queries = {column: arrays[f"{column}s"][is_query] for column in ("pid", "camid", "tracklet")}
    table = pd.concat([_per_query(name, queries, result) for name, result in results.items()])
    metrics = {
        "headline": headline,
        "feature_length": arrays["features"].shape[-1],
        "protocols": {name: _scalars(result) for name, result in results.items()},
        **_attributes(arrays, origin),
        "provenance": origin | {"scored": provenance.here("vreid.score"), "score_seconds": round(seconds, 3)},
    }
    with written_whole(out_json) as metrics_file, written_whole(out_per_query) as table_file:
        # Without a time stamp the same scores are the same bytes.
        table_file.write_bytes(gzip.compress(table.to_csv(index=False).encode(), mtime=0))
        metrics_file.write_text(json.dumps(metrics, indent=2) + "\n")


def read_features(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """The arrays of a `features.npz` (features, their labels (N,), and what belongs to them) and its provenance.

    Features are (N, D), or (N, clips, D) where a tracklet may lack clips, but the first; those are NaN throughout.

    Raises InputError, naming the file and the mend, where the file or anything in it is missing or unsound.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            optional = [name for name in stored.files if name.startswith(OPTIONAL)]
            arrays = {name: stored[name] for name in ("features", *LABELS, *optional)}
            provenance = json.loads(str(stored["provenance"][()]))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; embed the test set first") from None
    except KeyError as error:
        raise InputError(f"{path}: an array is missing ({error.args[0]}); {MEND}") from error
    except (OSError, EOFError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a whole file of features ({error}); {MEND}") from error
    if fault := _fault(arrays, provenance):
        raise InputError(f"{path}: {fault}; {MEND}")
    return arrays, provenance


def _fault(arrays: Mapping[str, np.ndarray], provenance: object) -> str | None:
    features, splits = arrays["features"], arrays["splits"]
    if features.ndim not in (2, 3) or not np.issubdtype(features.dtype, np.floating):
        shapes = "(tracklets, channels) or (tracklets, clips, channels)"
        return f"features are {features.shape} {features.dtype}, not floating-point {shapes}"
    if not features.size:
        return f"features are {features.shape}, which is nothing"
    for name in LABELS:
        if arrays[name].shape != (len(features),):
            return f"{name} are {arrays[name].shape}, not one for each of the {len(features)} features"
    if not isinstance(provenance, dict):
        return "the provenance is not a JSON object"
    if provenance.get("distance") not in DISTANCES:
        return f"the provenance names the distance {provenance.get('distance')!r}, none of {', '.join(DISTANCES)}"
    if unknown := set(splits.tolist()) - set(SPLITS):
        return f"unknown split {min(unknown, key=str)!r} (there are {', '.join(SPLITS)})"
    for split in ("query", "gallery"):
        if split not in splits:
            return f"no tracklet is of the split {split!r}"
    misplaced = np.where(splits == "query", arrays["pids"] < 1, (splits == "junk") != (arrays["pids"] == JUNK))
    if misplaced.any():
        row = misplaced.argmax()
        where = f"row {row} has pid {arrays['pids'][row]} in the split {str(splits[row])!r}"
        return f"{where} (junk, and junk alone, has pid -1; queries have a pid from 1)"
    if (row := _first_unsound(features)) is not None:
        who = f"pid {arrays['pids'][row]}, tracklet {arrays['tracklets'][row]}"
        return f"the feature in row {row} ({who}) is not finite"
    misfit = _misfit(provenance["distance"], features[:1], _named(arrays, "distance_"))
    return misfit or _attribute_fault(arrays, provenance.get("attributes"), len(features))


def _attribute_fault(arrays: Mapping[str, np.ndarray], known: object, rows: int) -> str | None:
    """What is wrong with the recognised and the annotated classes; `known` is group → attribute → number of classes."""
    recognised, annotated = _named(arrays, "recognised_"), _named(arrays, "annotated_")
    if torn := recognised.keys() ^ annotated.keys():
        return f"of the attributes {min(torn)!r} only the recognised or only the annotated classes are there"
    for group in recognised:
        if not isinstance(known, dict) or not isinstance(known.get(group), dict):
            return f"the provenance does not say what the attributes {group!r} are"
        most = np.array(list(known[group].values())) - 1
        for name, classes in {f"recognised_{group}": recognised[group], f"annotated_{group}": annotated[group]}.items():
            if classes.shape != (rows, len(most)) or not np.issubdtype(classes.dtype, np.integer):
                return f"{name} are {classes.shape} {classes.dtype}, not integers ({rows}, {len(most)})"
            if ((classes < -1) | (classes > most)).any():
                return f"{name} hold a class that its attribute has not"
        if ((recognised[group] < 0).any(axis=0) != (recognised[group] < 0).all(axis=0)).any():
            return f"recognised_{group} lack the classes of some tracklets, but not of all"
    return None


def _first_unsound(features: np.ndarray) -> int | None:
    """The first row with a value that is not finite, other than those of clips that are missing."""
    clips = features if features.ndim == 3 else features[:, None]
    # The extremes are NaN or infinite if anything is, and take no memory.
    whole = np.isfinite(clips.min(axis=-1)) & np.isfinite(clips.max(axis=-1))
    missing = np.isnan(np.fmax.reduce(clips, axis=-1))  # all is NaN
    missing[:, 0] = False
    rows = np.flatnonzero(~(whole | missing).all(axis=1))
    return int(rows[0]) if len(rows) else None


def _misfit(distance: str, features: np.ndarray, parameters: Mapping[str, np.ndarray]) -> str | None:
    """What is wrong with the parameters of a distance, found by measuring one tracklet (1, …) against itself."""
    for name, value in parameters.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            return f"the parameter {name!r} of the distance {distance!r} is not finite"
    try:
        found = DISTANCES[distance](features, features, **parameters)
    except (TypeError, ValueError) as error:
        given = ", ".join(sorted(parameters)) or "none"
        return f"the distance {distance!r} does not work with its stored parameters ({given}): {error}"
    if found.shape != (1, 1):
        return f"the distance {distance!r} is not one of features {features.shape[1:]} a tracklet"
    return None


def _named(arrays: Mapping[str, np.ndarray], beginning: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(beginning): array for name, array in arrays.items() if name.startswith(beginning)}


def _attributes(arrays: Mapping[str, np.ndarray], origin: Mapping) -> dict:
    """Scores of each attribute that the network recognises and any tracklet is annotated with, and their means."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    annotated = _named(arrays, "annotated_")
    for group, recognised in _named(arrays, "recognised_").items():
        columns = zip(origin["attributes"][group], recognised.T, annotated[group].T)
        known = [(name, said, true) for name, said, true in columns if said.min() >= 0 and true.max() >= 0]
        if known:
            found[group] = {name: attribute_scores(said, true) for name, said, true in known}
    metrics: dict = {"attributes": found} if found else {}
    if kept := [score for group in found.values() for name, score in group.items() if name not in QUALITY]:
        means = {key: float(np.mean([score[key] for score in kept])) for key in ("accuracy", "F1", "majority")}
        metrics["recognition"] = means | {"num_attributes": len(kept)}
    return metrics


def _per_query(protocol: str, queries: Mapping[str, np.ndarray], result: Mapping) -> pd.DataFrame:
    first = pd.Series(result["first_match_rank"], dtype="Int64")
    return pd.DataFrame(
        {
            "protocol": protocol,
            **queries,
            "average_precision": result["average_precision"],
            "first_match_rank": first.mask(first == 0),
        }
    )


def _scalars(result: Mapping) -> dict:
    return {name: value for name, value in result.items() if not isinstance(value, np.ndarray)}
