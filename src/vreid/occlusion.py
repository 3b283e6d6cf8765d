"""Regions found occluded against what is known of them: precision and recall beside the base rate."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from vreid.data.attributes import QUALITY
from vreid.data.regions import PLACE, read_regions
from vreid.data.tracklets import KEY, read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole


def compare(regions: Path, truth: Path | None, index: Path, above: float, out: Path) -> None:
    """Write occlusion.json: what was found in `regions` against `truth` (a rendered dataset's, if there is one).

    A region is truly occluded if more than the share `above` of its target's pixels is hidden. Beside it stand the
    annotations of the index: of a tracklet, which counts as found if any of its regions is.
    """
    if not 0 <= above < 1:
        raise InputError(f"hidden-above: {above} is not from 0 to below 1")
    table = read_tracklets(index)
    found = read_regions(regions, "score", "occluded")
    record: dict[str, Any] = {}
    if truth is not None:
        known = read_regions(truth, "target", "hidden").merge(found, "left", on=PLACE, validate="1:1")
        if known["score"].isna().any() or not known["target"].any():
            raise InputError(f"{truth}: regions that {regions} does not hold; are both of one dataset?")
        record["regions"] = {"truly_occluded_above": above, **against_pixels(known, above)}
    if "occlusion" in table:
        record["tracklets"] = against_annotation(found, table)
        record["found_by_annotation"] = by_annotation(found, table)
    with written_whole(out) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")


def against_pixels(known: pd.DataFrame, above: float) -> dict[str, Any]:
    """Rows with `target`, `hidden`, `score` and `occluded` → precision and recall, and how well scores rank."""
    truly = (known["hidden"] > above * known["target"]).to_numpy()
    counts = precision_recall(truly, known["occluded"].to_numpy() == 1)
    return {**counts, "average_precision": average_precision(truly, -known["score"].to_numpy())}


def against_annotation(found: pd.DataFrame, table: pd.DataFrame) -> dict[str, Any]:
    """The same over annotated tracklets, of which any occluded region says that they are found."""
    each = table.merge(found.groupby(KEY)["occluded"].max().rename("found").reset_index(), "left", on=KEY)
    each = each[each["occlusion"].notna()]
    return precision_recall((each["occlusion"] == 1).to_numpy(bool), (each["found"] == 1).to_numpy(bool))


def by_annotation(found: pd.DataFrame, table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Of the tracklets with each quality fault, and with none: their number, and the share of their regions found."""
    shares = found.groupby(KEY)["occluded"].mean().rename("share").reset_index()
    each = table.merge(shares, "left", on=KEY)
    faults = [name for name in QUALITY if name in each]
    annotated = each[each[faults].notna().all(axis=1)]
    kinds = {name: annotated[annotated[name] == 1] for name in faults}
    kinds["none of these"] = annotated[(annotated[faults] == 0).all(axis=1)]
    return {
        name: {
            "tracklets": len(rows),
            "share_found": round(float(np.average(rows["share"], weights=rows["num_frames"])), 4),
        }
        for name, rows in kinds.items()
        if len(rows)
    }


def precision_recall(truly: np.ndarray, found: np.ndarray) -> dict[str, Any]:
    """Of boolean arrays (N,); the base rate is the precision of whoever guesses, None what divides by nothing."""
    right, occluded, marked = int((truly & found).sum()), int(truly.sum()), int(found.sum())
    return {
        "all": len(truly),
        "occluded": occluded,
        "found": marked,
        "found_rightly": right,
        "base_rate": _share(occluded, len(truly)),
        "precision": _share(right, marked),
        "recall": _share(right, occluded),
    }


def average_precision(truly: np.ndarray, ranking: np.ndarray) -> float | None:
    """Mean over the occluded of the precision down to each, from the highest `ranking` on; ties stand together."""
    if not truly.any():
        return None
    order = np.argsort(-ranking, kind="stable")
    hits, last = np.cumsum(truly[order]), np.append(np.diff(ranking[order]) != 0, True)
    ends = np.flatnonzero(last)
    gained = np.diff(hits[ends], prepend=0)
    return round(float((gained * hits[ends] / (ends + 1)).sum() / truly.sum()), 4)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
