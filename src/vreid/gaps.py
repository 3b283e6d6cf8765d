"""DVDP (Eq. 1 of the paper) of a whole test set: how much farther a person's farthest tracklet lies than the nearest.

`losses.dvdp` measures it on the batches of a training; here every test tracklet of a person is an anchor among all
its others, whatever their cameras.
"""

import numpy as np
import pandas as pd

from vreid.distances import Distance

CHUNK = 256  # rows of distances at a time


def anchor_gaps(features: np.ndarray, pids: np.ndarray, distance: Distance) -> pd.DataFrame:
    """A row an anchor: pid, anchor, nearest, farthest (rows of the features), near, far (distances), and gap.

    `features` (N, …) and `pids` (N,), of which distractors and junk (below 1) count as nobody. Anchors are the
    tracklets of people who have at least three; of equally distant ones the first is taken.
    """
    parts = []
    for pid in np.unique(pids[pids > 0]):
        own = np.flatnonzero(pids == pid)
        if len(own) < 3:
            continue
        block = np.array(distance(features[own], features[own]), np.float64)
        np.fill_diagonal(block, np.inf)
        nearest, near = own[block.argmin(axis=1)], block.min(axis=1)
        np.fill_diagonal(block, -np.inf)
        farthest, far = own[block.argmax(axis=1)], block.max(axis=1)
        found = {"anchor": own, "nearest": nearest, "farthest": farthest, "near": near, "far": far, "gap": far - near}
        parts.append(pd.DataFrame({"pid": pid, **found}))
    columns = ["pid", "anchor", "nearest", "farthest", "near", "far", "gap"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def mean_gap(gaps: pd.DataFrame) -> float:
    """The mean over people of the mean gap of a person's anchors."""
    return float(gaps.groupby("pid")["gap"].mean().mean())


def largest(gaps: pd.DataFrame, people: int) -> pd.DataFrame:
    """The anchor with the largest gap of each of the `people` who have the largest ones, from the largest on."""
    return gaps.sort_values("gap", ascending=False, kind="stable").drop_duplicates("pid").head(people)


def measured_again(gaps: pd.DataFrame, features: np.ndarray, distance: Distance) -> pd.DataFrame:
    """The same pairs by the distances of other features: near, far and gap, the last negative where they changed."""
    pairs = zip(gaps["anchor"], gaps["nearest"], gaps["farthest"])
    measured = [distance(features[[anchor]], features[[near, far]])[0] for anchor, near, far in pairs]
    near, far = np.array(measured, np.float64).reshape(-1, 2).T
    return gaps.assign(near=near, far=far, gap=far - near)


def spread(features: np.ndarray, pids: np.ndarray, distance: Distance) -> float:
    """The mean distance between tracklets of different people, the scale on which a gap is large; 0 of one person."""
    people = np.flatnonzero(pids > 0)
    features, pids = features[people], pids[people]
    total, count = 0.0, 0
    for start in range(0, len(pids), CHUNK):
        part = slice(start, start + CHUNK)
        others = pids[part, None] != pids
        total += float(distance(features[part], features)[others].sum(dtype=np.float64))
        count += int(others.sum())
    return total / max(count, 1)
