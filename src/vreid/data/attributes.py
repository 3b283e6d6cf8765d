"""Attributes: the vocabularies of the two annotated datasets, the join onto tracklets, the targets."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from vreid.data.csvfile import integers, read_csv
from vreid.data.tracklets import COLUMNS, KEY, LARGEST, describe, read_tracklets, write_tracklets
from vreid.errors import InputError

# Number of classes of each attribute; a value is a class, from 0. The names are the annotation files' own.
IRRELEVANT = {
    "motion": 5,
    "pose": 6,
    "occlusion": 2,
    "cut-out": 2,
    "multi-person": 2,
    "background-dominant": 2,
    "target-change": 2,
    "target-miss": 2,
    "wrong-target": 2,
}
RELEVANT_MARS = {
    "top color": 9,
    "bottom color": 10,
    "age": 4,
    "top length": 2,
    "bottom length": 2,
    "shoulder bag": 2,
    "backpack": 2,
    "hat": 2,
    "hand bag": 2,
    "hair": 2,
    "gender": 2,
    "bottom type": 2,
}
RELEVANT_DUKE = {
    "backpack": 2,
    "bag": 2,
    "handbag": 2,
    "boots": 2,
    "gender": 2,
    "hat": 2,
    "shoes": 2,
    "top": 2,
    "bottom color": 8,
    "top color": 9,
}
# What these seven say is how well a tracklet was cut out of its video, not what its person looks like or does.
QUALITY = (
    "occlusion",
    "cut-out",
    "multi-person",
    "background-dominant",
    "target-change",
    "target-miss",
    "wrong-target",
)
SPELLINGS = {"muti-person": "multi-person"}  # as the annotation of DukeMTMC-VideoReID writes it
ID_COLUMNS = {"person_id": "pid", "camera_id": "camid", "tracklets_id": "tracklet"}
GROUPS = ("irrelevant", "relevant")


@dataclass(frozen=True)
class Vocabulary:
    """The attributes of a dataset in two groups, ID-irrelevant and ID-relevant: (name, number of classes)."""

    irrelevant: tuple[tuple[str, int], ...]
    relevant: tuple[tuple[str, int], ...]

    @property
    def attributes(self) -> dict[str, int]:
        return dict(self.irrelevant + self.relevant)

    def group(self, group: str) -> dict[str, int]:
        return dict(getattr(self, group))

    def outputs(self, group: str) -> int:
        """Width of the one-hot target: one output a class."""
        return sum(self.group(group).values())


VOCABULARIES = tuple(
    Vocabulary(tuple(IRRELEVANT.items()), tuple(relevant.items())) for relevant in (RELEVANT_MARS, RELEVANT_DUKE)
)


def vocabulary_of(columns: Iterable[str], source: str | Path = "attributes") -> Vocabulary:
    """The vocabulary whose attributes are these columns, in any order; the tracklet table's own do not count.

    Raises InputError naming the columns that are unknown or missing.
    """
    names = {name for name in columns if name not in COLUMNS}
    likeliest = max(VOCABULARIES, key=lambda vocabulary: len(names & vocabulary.attributes.keys()))
    known = likeliest.attributes.keys()
    if not names & known:
        raise InputError(f"{source}: no attribute columns; join them with `python -m vreid annotate`")
    faults = [f"unknown column {name!r}" for name in sorted(names - known)]
    faults += [f"missing column {name!r}" for name in sorted(known - names)]
    if faults:
        raise InputError(f"{source}: {', '.join(faults)}; the columns must be those of MARS's or of Duke's annotation")
    return likeliest


def annotate_file(index_path: str | Path, attributes_path: str | Path, out: str | Path) -> None:
    """Read a tracklet table, join the annotation file onto it, write the annotated table."""
    table = read_tracklets(index_path)
    if len(table.columns) > len(COLUMNS):
        raise InputError(f"{index_path}: annotated already; annotate the table that `python -m vreid index` wrote")
    write_tracklets(annotate(table, attributes_path), out)


def annotate(table: pd.DataFrame, attributes_path: str | Path) -> pd.DataFrame:
    """The tracklet table with the attribute columns appended: Int64, <NA> for tracklets without annotation.

    Every row of the annotation file belongs to one tracklet, and every tracklet of a person (pid 1 or more)
    has one row; distractors (pid 0) and junk (pid -1) may go without. Raises InputError for the first row
    that breaks this.
    """
    annotations = read_annotations(attributes_path)
    keys, tracklets = pd.MultiIndex.from_frame(annotations[KEY]), pd.MultiIndex.from_frame(table[KEY])
    for complaint, wrong in {
        "is annotated a second time": keys.duplicated(),
        "is not in the index; is this the annotation of another dataset?": ~keys.isin(tracklets),
    }.items():
        if wrong.any():
            line = int(wrong.argmax())
            pid, camid, tracklet = keys[line]
            which = f"tracklet {tracklet} of person {pid} in camera {camid}"
            raise InputError(f"{attributes_path}, line {line + 2}: {which} {complaint}")
    bare = (table["pid"] > 0) & ~tracklets.isin(keys)
    if bare.any():
        more = f" (and {bare.sum() - 1} more)" if bare.sum() > 1 else ""
        raise InputError(
            f"{attributes_path}: no row for {describe(table[bare].iloc[0])}{more}; every tracklet of a person needs one"
        )
    attributes = annotations.drop(columns=KEY).astype("Int64").set_axis(keys).reindex(tracklets)
    return pd.concat([table, attributes.set_axis(table.index)], axis=1)


def read_annotations(path: str | Path) -> pd.DataFrame:
    """Key columns and attributes under their canonical names, every cell an integer in its range.

    Row i stands in line i + 2 of the file.
    """
    rows = read_csv(path)
    missing = [name for name in ID_COLUMNS if name not in rows]
    if missing:
        raise InputError(f"{path}: missing column {missing[0]!r}; an annotation begins with {', '.join(ID_COLUMNS)}")
    canonical = {name: SPELLINGS.get(name, name) for name in rows.columns.drop(list(ID_COLUMNS))}
    classes = vocabulary_of(canonical.values(), path).attributes
    checked = {key: integers(rows[name], -1, LARGEST, path) for name, key in ID_COLUMNS.items()}
    for name, attribute in canonical.items():
        checked[attribute] = integers(rows[name], 0, classes[attribute] - 1, path)
    return pd.DataFrame(checked)


def targets(table: pd.DataFrame, vocabulary: Vocabulary, group: str) -> tuple[np.ndarray, np.ndarray]:
    """One-hot targets (N, outputs) float32 of a group (irrelevant, relevant), mask (N,) of annotated rows.

    The attributes' one-hot vectors stand side by side in the vocabulary's order; unannotated rows are zeros.
    Raises InputError for a tracklet that is annotated in part, or with a class that the vocabulary has not.
    """
    classes = vocabulary.group(group)
    values = table[list(classes)].fillna(-1).to_numpy(np.int64)
    widths = np.array(list(classes.values()))
    mask = ((values >= 0) & (values < widths)).all(axis=1)
    torn = ~mask & (values != -1).any(axis=1)
    if torn.any():
        raise InputError(f"{describe(table[torn].iloc[0])}: attributes blank in part or out of range; annotate again")
    onehot = np.zeros((len(table), widths.sum()), np.float32)
    starts = np.cumsum(widths) - widths
    onehot[np.flatnonzero(mask)[:, None], (starts + values)[mask]] = 1
    return onehot, mask
