"""DukeMTMC-VideoReID's layout on disk → tracklet table.

    train|query|gallery/<pid>/<tracklet>/<pid>_C<camera>_F<frame>_X<video frame>.jpg

As it was first given away, frames had no underscores in their names (0001C6F0099X30823.jpg). The letter before the
video frame is X, or D in tracklets of distractor people, who keep their pids. The gallery folder may hold the query
tracklets too; such a tracklet is one row, of split query.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from vreid.data.presence import check_frames_present
from vreid.data.tracklets import COLUMNS, check_tracklets, compress_frames
from vreid.errors import InputError

FOLDERS = ["train", "query", "gallery"]
NUMBER = re.compile(r"[0-9]{4}")
NAME = re.compile(
    r"(?P<pid>[0-9]{4})(?P<joint>_?)C(?P<camid>[0-9]+)(?P=joint)F(?P<frame>[0-9]+)(?P=joint)(?P<letter>[XD])[0-9]+\.jpg"
)
PATTERN = "<pid:4>_C<camera>_F<frame:4>_X<video frame:5>.jpg"


def index_duke(root: Path, names_only: bool = False) -> pd.DataFrame:
    """The tracklet table of a dataset in DukeMTMC-VideoReID's layout, sorted by folder names.

    With `names_only` the file names are enough; else every frame must hold bytes.
    """
    root = Path(root)
    rows = [row for split in FOLDERS for row in index_split(root, split)]
    table = one_row_a_query(pd.DataFrame(rows, columns=COLUMNS), root)
    check_tracklets(table, root)
    if not names_only:
        check_frames_present(root, table)
    return table


def index_split(root: Path, split: str) -> Iterator[list]:
    people = numbered_folders(root / split, "folders of people named by four digits")
    for person in people:
        for folder in numbered_folders(root / split / person, "folders of tracklets named by four digits"):
            yield [split, int(person), *index_tracklet(root, f"{split}/{person}/{folder}")]


def index_tracklet(root: Path, folder: str) -> tuple[int, int, int, str]:
    """camid, tracklet, num_frames and the frames' template of one tracklet's folder."""
    _, person, number = folder.split("/")
    names = listing(root / folder)
    matches = [NAME.fullmatch(name) for name in names]
    if not all(matches) or not names:
        what = f"{names[matches.index(None)]!r} is not a frame name" if names else "the folder is empty"
        raise InputError(f"{root / folder}: {what}; a tracklet's folder holds frames {PATTERN}")
    people, cameras, letters = ({match[field] for match in matches} for field in ("pid", "camid", "letter"))
    namings = {"with underscores" if match["joint"] else "without" for match in matches}
    kinds = {"people": people | {person}, "cameras": cameras, "letters": letters, "namings": namings}
    for what, found in kinds.items():
        if len(found) > 1:
            which = " and ".join(sorted(found))
            raise InputError(f"{root / folder}: frames of two {what} in one tracklet: {which}")
    matches.sort(key=lambda match: int(match["frame"]))
    template = compress_frames([f"{folder}/{match.string}" for match in matches])
    return int(matches[0]["camid"]), int(number), len(names), template


def numbered_folders(folder: Path, belongs: str) -> list[str]:
    names = listing(folder)
    strangers = [name for name in names if not NUMBER.fullmatch(name)]
    if strangers or not names:
        what = f"{strangers[0]!r} does not belong here" if strangers else "the folder is empty"
        raise InputError(f"{folder}: {what}; it holds {belongs}")
    return names


def listing(folder: Path) -> list[str]:
    """The sorted names in a folder, without those that file managers leave behind."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not e.name.startswith(".") and e.name != "Thumbs.db")
    except OSError as error:
        raise InputError(
            f"{folder}: {error.strerror}; DukeMTMC-VideoReID's root holds train, query and gallery, "
            f"in each of them <pid>/<tracklet>/{PATTERN}"
        ) from None


def one_row_a_query(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Drop from the gallery the tracklets that are queries; they must be the same frames."""
    folder = ["pid", "tracklet"]
    twins = table[table["split"] == "query"].set_index(folder)["frames"].rename("twin")
    gallery = table[table["split"] == "gallery"].join(twins, on=folder).dropna(subset="twin")
    for here, there in zip(gallery["frames"], gallery["twin"]):
        if here.removeprefix("gallery") != there.removeprefix("query"):
            raise InputError(f"{root}: {there} and {here} are one tracklet, but not the same frames")
    return table.drop(gallery.index).reset_index(drop=True)
