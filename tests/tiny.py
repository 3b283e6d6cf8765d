"""A dataset of a few people, each in a colour of their own, small enough to train on in a second."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from vreid.data.attributes import IRRELEVANT, RELEVANT_MARS
from vreid.data.tracklets import compress_frames, write_tracklets

CAMERAS = (1, 2, 3)
HEIGHT, WIDTH = 64, 32


def write_dataset(root: Path, seed: int = 0, train_people: int = 8, test_people: int = 4) -> pd.DataFrame:
    """Write the frames under `root` and return the annotated tracklet table.

    Every person has a tracklet of 1 to 4 frames in each of three cameras; the first of a test person is the
    query. There are a distractor and a junk tracklet too.
    """
    rng = np.random.default_rng(seed)
    people = range(1, train_people + test_people + 1)
    rows = [(pid, camid, split_of(pid, camid, train_people)) for pid in people for camid in CAMERAS]
    rows += [(0, 1, "gallery"), (-1, 1, "junk")]
    colours = {pid: rng.integers(0, 256, 3) for pid in (-1, 0, *people)}
    tracklets = [write_tracklet(root, pid, camid, split, colours[pid], rng) for pid, camid, split in rows]
    return annotated(pd.DataFrame(tracklets), rng)


def split_of(pid: int, camid: int, train_people: int) -> str:
    if pid <= train_people:
        return "train"
    return "query" if camid == CAMERAS[0] else "gallery"


def write_tracklet(root, pid, camid, split, colour, rng) -> dict:
    """Noise around the person's colour, the cameras differing in brightness."""
    names = [f"{split}/{pid:04d}/{camid}/{frame:03d}.jpg" for frame in range(1, rng.integers(2, 6))]
    for name in names:
        write_frame(root / name, colour * (0.7 + 0.1 * camid) + rng.normal(0, 25, (HEIGHT, WIDTH, 3)))
    return {
        "split": split,
        "pid": pid,
        "camid": camid,
        "tracklet": 1,
        "num_frames": len(names),
        "frames": compress_frames(names),
    }


def write_frame(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path, quality=90)


def annotated(table: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Random attributes: the ID-relevant ones are a person's, the others a tracklet's."""
    person = table["pid"] > 0
    for name, classes in IRRELEVANT.items():
        table[name] = pd.Series(rng.integers(0, classes, len(table)), dtype="Int64").where(person)
    for name, classes in RELEVANT_MARS.items():
        of_person = dict(zip(table["pid"].unique(), rng.integers(0, classes, table["pid"].nunique())))
        table[name] = table["pid"].map(of_person).astype("Int64").where(person)
    return table


def index(table: pd.DataFrame, path: Path) -> Path:
    write_tracklets(table, path)
    return path
