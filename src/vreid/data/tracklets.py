"""The tracklet table: one row a tracklet, the same for every dataset, kept as a gzipped CSV.

Columns: split (train, query, gallery, junk), pid (0 a distractor, -1 junk), camid (from 1), tracklet (its
number), num_frames, frames (a template relative to the dataset's root, see `frame_names`), and the attributes
once it is annotated.
"""

from pathlib import Path

import pandas as pd

from vreid.data.csvfile import integers, read_csv, write_csv_gz
from vreid.data.frame_names import compress_frames, expand_frames
from vreid.errors import InputError

__all__ = [
    "COLUMNS",
    "KEY",
    "SPLITS",
    "check_tracklets",
    "compress_frames",
    "expand_frames",
    "read_tracklets",
    "write_tracklets",
]

KEY = ["pid", "camid", "tracklet"]
COLUMNS = ["split", *KEY, "num_frames", "frames"]
SPLITS = ["train", "query", "gallery", "junk"]
LARGEST = 2**31 - 1


def read_tracklets(path: str | Path) -> pd.DataFrame:
    """The table that `index` or `annotate` wrote; attribute columns as Int64, <NA> where not annotated.

    Raises InputError for a file that is none.
    """
    table = read_csv(path)
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise InputError(
            f"{path}: not a tracklet table, it has no column {missing[0]!r}; write one with `python -m vreid index`"
        )
    for column in table.columns.difference(["split", "frames"], sort=False):
        low = {"pid": -1, "camid": 1, "num_frames": 1}.get(column, 0)
        table[column] = integers(table[column], low, LARGEST, path, blank=column not in COLUMNS)
    check_tracklets(table, path)
    return table


def write_tracklets(table: pd.DataFrame, path: str | Path) -> None:
    """Write the table whole; the same table gives the same bytes."""
    write_csv_gz(table, path)


def check_tracklets(table: pd.DataFrame, source: str | Path) -> None:
    """Raise InputError, naming `source` and the first tracklet at fault, unless the rows can be tracklets.

    The key (pid, camid, tracklet) is unique; junk has pid -1, training and query tracklets show a person.
    """
    least = table["split"].map({"train": 1, "query": 1, "gallery": 0, "junk": -1})
    rules = {
        f"its split is none of {', '.join(SPLITS)}": least.isna(),
        "cameras count from 1": table["camid"] < 1,
        "no frames are named": table["frames"].isna(),
        "a training or query tracklet must show a person (pid 1 or more)": (table["pid"] < least) & (least == 1),
        "pid -1 and split junk must go together": (table["pid"] == -1) != (table["split"] == "junk"),
        "the same person, camera and tracklet number stand twice": table.duplicated(KEY),
    }
    for complaint, wrong in rules.items():
        if wrong.any():
            raise InputError(f"{source}, {describe(table[wrong].iloc[0])}: {complaint}")


def describe(row: pd.Series) -> str:
    return f"tracklet {row['tracklet']} of person {row['pid']} in camera {row['camid']} ({row['frames']})"
