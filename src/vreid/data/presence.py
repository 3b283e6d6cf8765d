"""Are the frames that a tracklet table names really on disk?"""

import os
from pathlib import Path

import pandas as pd

from vreid.data.frame_names import expand_frames
from vreid.errors import InputError
from vreid.progress import Progress


def check_frames_present(root: Path, table: pd.DataFrame) -> None:
    """Raise InputError naming the first frame that is missing or has no bytes, and how many more are."""
    folders = table["frames"].groupby(table["frames"].map(os.path.dirname), sort=False)
    progress = Progress("looking for frames", len(table))
    faults = []
    for folder, templates in folders:
        sizes = file_sizes(root / folder)
        for template in templates:
            names = map(os.path.basename, expand_frames(template))
            faults += [(f"{folder}/{name}", name in sizes) for name in names if not sizes.get(name)]
        progress.step(len(templates))
    if faults:
        frame, there = faults[0]
        more = f", and {len(faults) - 1} more frames missing or without bytes" if len(faults) > 1 else ""
        raise InputError(
            f"{root / frame}: {'the file has zero bytes' if there else 'no such frame'}{more}; "
            "unpack the dataset again (--names-only indexes without looking at the images)"
        )


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file of the folder; one pass over a folder is cheaper than asking frame by frame."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
