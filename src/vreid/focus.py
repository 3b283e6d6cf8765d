"""Section 5.1: how much more of a stream's attention falls on the person than on as large a part of anything else."""

import json
from pathlib import Path

from vreid.data.frame_maps import read_frame_maps
from vreid.data.tracklets import KEY
from vreid.figures.attention import shares, streams
from vreid.files import written_whole


def focus(maps_path: Path, cells_path: Path, out: Path) -> None:
    """Write it as JSON, from the attention maps of a run and what the target takes of their cells (rendered data).

    {"model", "seed", "train", "test", "rendered", "streams": {stream: {tracklet: points}}}: for each tracklet the mean
    over its frames of the attention on the target's visible pixels, in percent of all attention, less the percent of
    the frame's area that they take. Attention that is the same everywhere gives 0.
    Raises InputError where the two files do not belong together.
    """
    found = read_frame_maps(maps_path)
    table = shares(found, read_frame_maps(cells_path), cells_path)
    names = ["C".join(map(str, key)) for key in table[KEY].itertuples(index=False)]
    more = {stream: 100 * (table[stream] - table["target"]) for stream in streams(found)}
    about = found.about
    record = {
        "model": about["model"],
        "seed": about["seed"],
        "train": about["train_dataset"],
        "test": about["test_dataset"],
        "rendered": about["rendered"],
        "streams": {stream: own.groupby(names).mean().round(6).to_dict() for stream, own in more.items()},
    }
    with written_whole(out) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
