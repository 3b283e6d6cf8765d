"""Section 3's premise: within a person, tracklets whose attributes differ lie apart as features do.

Beside it, what AITL is to make smaller: how much farther a person's farthest test tracklet lies than the nearest.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from vreid.data.attributes import vocabulary_of
from vreid.data.tracklets import KEY, read_tracklets
from vreid.distances import cosine_distance
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.gaps import anchor_gaps, spread
from vreid.score import read_features

LEAST_PAIRS = 4  # of a person whose correlation counts
DRAWS = 2000


def premise(features: Path, index: Path, out: Path) -> None:
    """Write how attribute distance and feature distance go together within a person, as JSON.

    {"correlation", "low", "high", "num_people", "num_pairs", "people", "gaps", "spread", "model", "seed", "train",
    "test", "rendered"}: the mean over people of Spearman's rank correlation over all pairs of a person's test
    tracklets, its 95 % percentile bootstrap interval over people (Efron & Tibshirani 1993, ch. 13), each person's
    correlation by pid; each person's DVDP over all test tracklets by pid, and the mean distance between people; and who
    was measured on what. Raises InputError where the two files do not belong together or nobody has enough pairs.
    """
    arrays, about = read_features(features)
    if arrays["features"].ndim != 2:
        raise InputError(f"{features}: holds a feature a clip; give those of a model that has one a tracklet")
    pairs = within_people(arrays["features"], arrays["pids"], annotations(arrays, features, index))
    found = correlations(pairs)
    if not len(found):
        raise InputError(
            f"{index}: no person has {LEAST_PAIRS} pairs of annotated test tracklets that differ in their attributes;"
            " give the annotated index of a larger test set"
        )
    low, high = interval(found["correlation"].to_numpy())
    gaps = anchor_gaps(arrays["features"], arrays["pids"], cosine_distance).groupby("pid")["gap"].mean()
    record = {
        "correlation": round(float(found["correlation"].mean()), 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "num_people": len(found),
        "num_pairs": int(found["pairs"].sum()),
        "people": {str(pid): round(value, 6) for pid, value in zip(found["pid"], found["correlation"])},
        "gaps": {str(pid): round(value, 6) for pid, value in gaps.items()},
        "spread": round(spread(arrays["features"], arrays["pids"], cosine_distance), 6),
        "model": about["model"],
        "seed": about["seed"],
        "train": about["train_dataset"],
        "test": about["test_dataset"],
        "rendered": about["rendered"],
    }
    with written_whole(out) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")


def annotations(arrays: dict[str, np.ndarray], features: Path, index: Path) -> np.ndarray:
    """(N, attributes) of the tracklets that have features, NaN where not annotated."""
    table = read_tracklets(index)
    names = list(vocabulary_of(table.columns, index).attributes)
    keys = pd.MultiIndex.from_arrays([arrays["pids"], arrays["camids"], arrays["tracklets"]], names=KEY)
    table = table.set_index(KEY)
    if not keys.isin(table.index).all():
        raise InputError(f"{index}: lacks tracklets of {features}; give the annotated index of that test set")
    return table.reindex(keys)[names].astype("Float64").to_numpy(np.float64, na_value=np.nan)


def within_people(features: np.ndarray, pids: np.ndarray, attributes: np.ndarray) -> pd.DataFrame:
    """All pairs of tracklets of one person: pid, attribute_distance, feature_distance.

    The attribute distance is the share of the attributes annotated on both that differ, the feature distance one
    minus the cosine. Pairs that share no annotated attribute are left out.
    """
    parts = []
    for pid in np.unique(pids[pids > 0]):
        own = np.flatnonzero(pids == pid)
        first, second = own[np.stack(np.triu_indices(len(own), 1))]
        both = ~np.isnan(attributes[first]) & ~np.isnan(attributes[second])
        differ = (both & (attributes[first] != attributes[second])).sum(1)
        distances = cosine_distance(features[own], features[own])[np.triu_indices(len(own), 1)]
        table = pd.DataFrame({"pid": pid, "differ": differ, "known": both.sum(1), "feature_distance": distances})
        parts.append(table[table["known"] > 0])
    pairs = pd.concat(parts, ignore_index=True)
    pairs["attribute_distance"] = pairs["differ"] / pairs["known"]
    return pairs[["pid", "attribute_distance", "feature_distance"]]


def correlations(pairs: pd.DataFrame) -> pd.DataFrame:
    """Spearman's rank correlation of each person with at least LEAST_PAIRS pairs: pid, correlation, pairs.

    Ties share their mean rank. A person whose pairs all have one distance has no correlation and is left out.
    """
    rows = []
    for pid, own in pairs.groupby("pid"):
        ranks = own[["attribute_distance", "feature_distance"]].rank().to_numpy()
        if len(own) >= LEAST_PAIRS and (np.ptp(ranks, axis=0) > 0).all():
            rows.append((pid, np.corrcoef(ranks.T)[0, 1], len(own)))
    return pd.DataFrame(rows, columns=["pid", "correlation", "pairs"])


def interval(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of `values` (N,), one a person."""
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), (DRAWS, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
