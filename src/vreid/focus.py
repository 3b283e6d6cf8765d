"""Section 5.1: do streams attend to the person, and not to what hides them, by what they see, and not by place alone?

People stand in the middle of their boxes. So attention is held against the stream's own mean map over all other
tracklets, which knows where people stand and nothing of the picture.
"""

import json
from pathlib import Path

import numpy as np

from vreid.data.frame_maps import read_frame_maps
from vreid.data.tracklets import KEY
from vreid.figures.attention import OCCLUDED, on_cells, streams
from vreid.files import written_whole


def focus(maps_path: Path, cells_path: Path, out: Path) -> None:
    """Write it as JSON, from the attention maps of a run and what the target takes of their cells (rendered data).

    {"model", "seed", "train", "test", "rendered", "streams": {stream: {"on": {tracklet: points}, "off": {…}}}}: for
    each tracklet, means over its frames of the attention on the target's visible pixels, in percent of all attention,
    less that of the mean map; and, over its occluded frames, of the mean map's attention on the target's hidden part
    less that of the frame's own. Attention that sees nothing gives 0 in both.
    Raises InputError where the two files do not belong together.
    """
    found = read_frame_maps(maps_path)
    target, hidden = on_cells(found, read_frame_maps(cells_path), cells_path)
    names = np.array(["C".join(map(str, key)) for key in found.places[KEY].itertuples(index=False)])
    whole = (target + hidden).sum((1, 2))
    occluded = hidden.sum((1, 2)) > OCCLUDED * whole
    measured = {}
    for stream in streams(found):
        mass = found.maps[stream].astype(float) + 1e-12
        mass /= mass.sum((1, 2), keepdims=True)
        beyond = 100 * (mass - mean_of_others(mass, names))
        on, off = (beyond * target).sum((1, 2)), -(beyond * hidden).sum((1, 2))
        measured[stream] = {"on": _by_tracklet(on, names, whole > 0), "off": _by_tracklet(off, names, occluded)}
    about = found.about
    record = {
        "model": about["model"],
        "seed": about["seed"],
        "train": about["train_dataset"],
        "test": about["test_dataset"],
        "rendered": about["rendered"],
        "streams": measured,
    }
    with written_whole(out) as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")


def mean_of_others(mass: np.ndarray, names: np.ndarray) -> np.ndarray:
    """For each of N maps (N, h, w) the mean over the maps of all tracklets but its own; `names` (N,) are theirs."""
    _, place, count = np.unique(names, return_inverse=True, return_counts=True)
    own = np.zeros((len(count), *mass.shape[1:]))
    np.add.at(own, place, mass)
    return ((mass.sum(0) - own) / np.maximum(len(names) - count, 1)[:, None, None])[place]


def _by_tracklet(values: np.ndarray, names: np.ndarray, counted: np.ndarray) -> dict[str, float]:
    kept = names[counted]
    return {str(name): round(float(values[counted][kept == name].mean()), 6) for name in np.unique(kept)}
