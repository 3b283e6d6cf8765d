"""Facts about the real datasets that the rendered worlds follow, from the published annotation files.

    python -m vreid.walkers.derive MARS_ROOT DUKE_ATTRIBUTES_CSV > marginals.json

MARS_ROOT holds `info/*.mat` and `mars_attributes.csv`.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

IRRELEVANT = slice(3, 12)  # the nine columns motion … wrong-target of either attribute file
GROUPS = {  # ID-relevant attributes that go together: each group is drawn jointly, the groups independently
    "mars": [
        ["gender", "age", "hair", "top length", "bottom length", "bottom type"],
        ["top color", "bottom color"],
        ["shoulder bag", "backpack", "hand bag", "hat"],
    ],
    "duke": [
        ["gender", "top", "boots", "shoes"],
        ["top color", "bottom color"],
        ["bag", "backpack", "handbag", "hat"],
    ],
}
NOTES = {
    "people": "of the training set and, with a query, of the test set",
    "itineraries": "how many people have so many tracklets in cameras 1, 2, …; one row a distinct pattern",
    "relevant": "people with each combination of codes (digits in the order of `columns`), each person at "
    "the most frequent code of each attribute",
    "varies": "share of the tracklets whose code differs from the most frequent one of their person",
    "irrelevant": "tracklets with each combination of codes motion … wrong-target, for each camera",
    "lengths": "frames of a tracklet: mean, and the quantiles 0, 1/32, … 1",
    "distractors": "tracklets of distractors, and of junk, in each camera",
}


def derive(mars_root: Path, duke_attributes: Path) -> dict:
    """The facts from MARS's `info/*.mat` + `mars_attributes.csv` and from `duke_attributes.csv`."""
    mars, duke = pd.read_csv(mars_root / "mars_attributes.csv"), pd.read_csv(duke_attributes)
    train, test = (tracks(mars_root, split) for split in ("train", "test"))
    queries = loadmat(mars_root / "info/query_IDX.mat")["query_IDX"].ravel().astype(int) - 1
    asked = test[np.isin(test.pid, test.pid[queries])]
    cameras = pd.crosstab(duke.person_id, duke.camera_id)
    alone = (cameras > 0).sum(axis=1) == 1
    return {
        "notes": NOTES,
        "mars": attribute_facts(mars, "mars")
        | {
            "source": f"info/*.mat ({len(train)} + {len(test)} tracklets) and mars_attributes.csv "
            f"({len(mars)} rows) of MARS",
            "people": {"train": train.pid.nunique(), "test": asked.pid.nunique()},
            "itineraries": {
                "train": itineraries(pd.crosstab(train.pid, train.camera)),
                "test": itineraries(pd.crosstab(asked.pid, asked.camera)),
            },
            "distractors": per_camera(test[test.pid == 0]),
            "junk": per_camera(test[test.pid == -1]),
            "lengths": {
                "people": lengths(pd.concat([train, test[test.pid > 0]])),
                "distractors": lengths(test[test.pid == 0]),
                "junk": lengths(test[test.pid == -1]),
            },
        },
        "duke": attribute_facts(duke, "duke")
        | {
            "source": f"duke_attributes.csv ({len(duke)} rows) of DukeMTMC-VideoReID: the {alone.sum()} "
            f"people with one camera are its distractors, the {(~alone).sum()} others its training and test "
            "people, half each; frame counts are not in the file, so lengths have MARS's shape",
            "people": {"train": int((~alone).sum()) // 2, "test": int((~alone).sum()) // 2},
            "itineraries": {split: itineraries(cameras[~alone]) for split in ("train", "test")},
            "distractors": cameras[alone].sum().tolist(),
        },
    }


def tracks(root: Path, split: str) -> pd.DataFrame:
    rows = loadmat(root / f"info/tracks_{split}_info.mat")[f"track_{split}_info"].astype(int)
    return pd.DataFrame(rows, columns=["first", "last", "pid", "camera"])


def attribute_facts(table: pd.DataFrame, layout: str) -> dict:
    """Joint counts of the attributes of `table`, the rows of an attribute file."""
    table = table.rename(columns={"muti-person": "multi-person"})
    relevant, irrelevant = table.columns[12:], table.columns[IRRELEVANT]
    usual = table.groupby("person_id")[list(relevant)].agg(lambda codes: codes.mode()[0])
    differs = table.set_index("person_id")[list(relevant)] != usual.reindex(table.person_id)
    return {
        "irrelevant columns": list(irrelevant),
        "relevant columns": list(relevant),
        "relevant": [{"columns": group, "people": combinations(usual[group])} for group in GROUPS[layout]],
        "varies": {name: round(float(share), 5) for name, share in differs.mean().items()},
        "irrelevant": [combinations(rows[list(irrelevant)]) for _, rows in table.groupby("camera_id")],
    }


def combinations(codes: pd.DataFrame) -> dict[str, int]:
    return codes.astype(str).agg("".join, axis=1).value_counts().sort_index().to_dict()


def itineraries(counts: pd.DataFrame) -> list:
    """`counts` people × cameras → [[tracklets in camera 1, 2, …], people]."""
    return [[list(map(int, row)), int(people)] for row, people in counts.value_counts().sort_index().items()]


def per_camera(rows: pd.DataFrame) -> list[int]:
    return np.bincount(rows.camera, minlength=7)[1:].tolist()


def lengths(rows: pd.DataFrame) -> dict:
    frames = rows["last"] - rows["first"] + 1
    quantiles = np.quantile(frames, np.linspace(0, 1, 33)).round(1).tolist()
    return {"rows": len(rows), "mean": round(float(frames.mean()), 2), "quantiles": quantiles}


if __name__ == "__main__":
    facts = derive(Path(sys.argv[1]), Path(sys.argv[2]))
    parts = [
        f"{json.dumps(part)}: {{\n"
        + ",\n".join(f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items())
        + "\n}"
        for part, entries in facts.items()
    ]
    print("{\n" + ",\n".join(parts) + "\n}")
