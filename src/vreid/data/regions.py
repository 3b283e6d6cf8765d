"""The regions of frames: horizontal strips of equal height, and the table of what is said of each of them.

The table is a gzipped CSV, one row a region of a frame, in the order of the tracklet table. Columns: pid, camid,
tracklet, frame (its place in the tracklet, from 1), region (from 1, the uppermost), and the values.
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from vreid.data.csvfile import integers, read_csv, write_csv_gz
from vreid.data.tracklets import KEY, LARGEST
from vreid.errors import InputError

PLACE = [*KEY, "frame", "region"]


def strip_rows(height: int, regions: int) -> list[slice]:
    """The rows of each of `regions` strips of a frame, from the top; their heights differ by at most one pixel."""
    edges = [height * k // regions for k in range(regions + 1)]
    return [slice(top, bottom) for top, bottom in pairwise(edges)]


def frame_spans(num_frames: np.ndarray) -> list[slice]:
    """Where each tracklet's frames lie when those of all tracklets are stacked."""
    ends = np.cumsum(num_frames).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends)]


def region_table(keys: np.ndarray, num_frames: np.ndarray, values: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Keys (N, 3) and lengths (N,) of tracklets, values (frames, regions) by name → the table."""
    frames, regions = next(iter(values.values())).shape
    numbers = np.concatenate([np.arange(1, n + 1) for n in num_frames])
    columns = dict(zip(KEY, np.repeat(keys, num_frames, axis=0).repeat(regions, axis=0).T))
    places = {"frame": numbers.repeat(regions), "region": np.tile(np.arange(1, regions + 1), frames)}
    return pd.DataFrame({**columns, **places, **{name: value.ravel() for name, value in values.items()}})


def write_regions(table: pd.DataFrame, path: str | Path) -> None:
    write_csv_gz(table, path)


def read_regions(path: str | Path, *values: str) -> pd.DataFrame:
    """A region table with the columns `values`, which are numbers; raises InputError for a file that is none."""
    table = read_csv(path)
    if missing := [column for column in (*PLACE, *values) if column not in table]:
        raise InputError(f"{path}: not a region table with {', '.join(values)}, it has no column {missing[0]!r}")
    for column in PLACE:
        low = {"pid": -1, "tracklet": 0}.get(column, 1)
        table[column] = integers(table[column], low, LARGEST, path)
    for column in values:
        table[column] = pd.to_numeric(table[column], errors="coerce")
        if table[column].isna().any():
            line = int(table[column].isna().to_numpy().argmax()) + 2
            raise InputError(f"{path}, line {line}: {column!r} is no number; write the table again")
    return table


def of_tracklets(table: pd.DataFrame, tracklets: pd.DataFrame, column: str, source: object) -> np.ndarray:
    """A column as (frames, regions), the frames of `tracklets` stacked; InputError if the rows are another index's."""
    regions = int(table["region"].max())
    keys, lengths = tracklets[KEY].to_numpy(), tracklets["num_frames"].to_numpy()
    expected = region_table(keys, lengths, {"region": np.zeros((lengths.sum(), regions))})[[*KEY, "frame"]]
    if len(table) != len(expected) or (table[[*KEY, "frame"]].to_numpy() != expected.to_numpy()).any():
        raise InputError(f"{source}: the regions are those of another index; score them again")
    return table[column].to_numpy().reshape(-1, regions)
