"""Which layouts can be indexed, and what a dataset's configuration may demand of the result."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from vreid.data.duke import index_duke
from vreid.data.mars import index_mars
from vreid.data.tracklets import SPLITS, write_tracklets
from vreid.errors import InputError

LAYOUTS = {"mars": index_mars, "duke": index_duke}
PARTS = {**{split: [split] for split in SPLITS}, "test": ["query", "gallery", "junk"]}
Expected = Mapping[str, Mapping[str, int]]


def index(layout: str, root: str | Path, names_only: bool, expected: Expected | None, out: str | Path) -> None:
    """Index the dataset at `root` and write its tracklet table, if its counts are the expected ones."""
    if layout not in LAYOUTS:
        raise InputError(f"unknown layout {layout!r}; known: {', '.join(LAYOUTS)}")
    table = LAYOUTS[layout](Path(root), names_only)
    check_counts(table, expected or {}, root)
    write_tracklets(table, out)


def check_counts(table: pd.DataFrame, expected: Expected, source: str | Path = "the tracklet table") -> None:
    """Raise InputError naming every count that is off.

    `expected` gives tracklets, people and frames, any of them, for train, query, gallery, junk and test, any
    of them; test is query, gallery and junk together. People are distinct pids: the distractors (pid 0) count
    as one person, and so does the junk (pid -1).
    """
    off = []
    for part, counts in expected.items():
        if part not in PARTS:
            raise InputError(f"expected counts: no split {part!r}; known: {', '.join(PARTS)}")
        rows = table[table["split"].isin(PARTS[part])]
        found = {"tracklets": len(rows), "people": rows["pid"].nunique(), "frames": rows["num_frames"].sum()}
        for what, count in counts.items():
            if what not in found:
                raise InputError(f"expected counts of {part}: no count {what!r}; known: {', '.join(found)}")
            if found[what] != count:
                off.append(f"{part} has {found[what]:,} {what}, expected {count:,}")
    if off:
        raise InputError(f"{source}: {'; '.join(off)}; is the dataset complete, or the configuration another's?")
