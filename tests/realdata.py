"""The real metadata of MARS and DukeMTMC-VideoReID as layouts on disk, from the small files in `data`.

MARS's two name lists follow from the split files and the annotation: within a person and camera the tracks
stand in the order of their tracklet numbers. Distractors and junk are not annotated; their tracklets are
numbered from 1 here, as are the frames of every tracklet, which the originals need not share. Of
DukeMTMC-VideoReID there is only the annotation; its tracklets are numbered through, the training set first,
and the distractors have one tracklet each.
"""

import shutil
from pathlib import Path

import pandas as pd
from scipy.io import loadmat

DATA = Path(__file__).parent / "data"
MARS_ATTRIBUTES = DATA / "mars_attributes.csv.gz"
DUKE_ATTRIBUTES = DATA / "duke_attributes.csv.gz"
LAST_TRAINING_TRACKLET_OF_DUKE = 2196
PAIR = ["person_id", "camera_id"]


def write_mars_info(root: Path) -> None:
    """MARS's info folder: the published split files and the rebuilt name lists."""
    shutil.copytree(DATA / "mars" / "info", root / "info")
    annotation = pd.read_csv(MARS_ATTRIBUTES).sort_values([*PAIR, "tracklets_id"])
    annotation["rank"] = annotation.groupby(PAIR).cumcount()
    for side in ("train", "test"):
        rows = loadmat(root / "info" / f"tracks_{side}_info.mat")[f"track_{side}_info"]
        tracks = pd.DataFrame(rows, columns=["first", "last", *PAIR])
        tracks["rank"] = tracks.groupby(PAIR).cumcount()
        tracks = tracks.merge(annotation[[*PAIR, "rank", "tracklets_id"]], "left", [*PAIR, "rank"])
        tracks["number"] = tracks["tracklets_id"].fillna(tracks["rank"] + 1).astype(int)
        (root / "info" / f"{side}_name.txt").write_text("".join(map(name_lines, tracks.itertuples())))


def name_lines(track) -> str:
    label = f"{track.person_id:04d}" if track.person_id >= 0 else "00-1"
    head = f"{label}C{track.camera_id}T{track.number:04d}F"
    return "".join(f"{head}{frame:03d}.jpg\n" for frame in range(1, track.last - track.first + 2))


def write_duke_tree(root: Path) -> None:
    """Every annotated tracklet as a folder of one empty frame; the first of each test person is the query.

    As in the published folders, the gallery holds the query tracklets too.
    """
    for row in duke_division().itertuples():
        splits = {"train": ["train"], "gallery": ["gallery"], "query": ["query", "gallery"]}[row.split]
        for split in splits:
            folder = root / split / f"{row.person_id:04d}" / f"{row.tracklets_id:04d}"
            folder.mkdir(parents=True)
            (folder / f"{row.person_id:04d}_C{row.camera_id}_F0001_{row.letter}00001.jpg").touch()


def duke_division() -> pd.DataFrame:
    rows = pd.read_csv(DUKE_ATTRIBUTES)[[*PAIR, "tracklets_id"]].sort_values("tracklets_id")
    train = rows["tracklets_id"] <= LAST_TRAINING_TRACKLET_OF_DUKE
    alone = rows.groupby("person_id")["tracklets_id"].transform("size") == 1
    first = ~rows.duplicated("person_id")
    rows["letter"] = alone.map({True: "D", False: "X"})
    rows["split"] = "gallery"
    rows.loc[~train & first & ~alone, "split"] = "query"
    rows.loc[train, "split"] = "train"
    return rows
