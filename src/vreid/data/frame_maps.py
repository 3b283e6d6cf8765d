"""Small maps of frames, such as attention: N frames of tracklets, and of each a map (h, w) by name, kept as .npz."""

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from vreid.data.tracklets import KEY
from vreid.errors import InputError
from vreid.files import written_whole

PLACE = [*KEY, "frame"]


class FrameMaps(NamedTuple):
    """N frames, each named by its tracklet and its place in it (from 1), and the maps of each."""

    places: pd.DataFrame  # N rows of PLACE
    maps: Mapping[str, np.ndarray]  # name → (N, h, w)
    about: Mapping[str, Any]  # whose maps these are

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return next(iter(self.maps.values())).shape[1:]


def write_frame_maps(found: FrameMaps, path: str | Path) -> None:
    """Write the maps whole; the same maps give the same bytes."""
    arrays = {f"map_{name}": values for name, values in found.maps.items()}
    with written_whole(path) as aside:
        np.savez_compressed(
            aside, places=found.places[PLACE].to_numpy(np.int64), about=json.dumps(found.about), **arrays
        )


def read_frame_maps(path: str | Path) -> FrameMaps:
    """Raises InputError, naming the file and the mend, for one that is missing, torn or none of these."""
    mend = "run what writes it again"
    try:
        with np.load(path, allow_pickle=False) as stored:
            places = pd.DataFrame(stored["places"], columns=PLACE)
            maps = {name.removeprefix("map_"): stored[name] for name in stored.files if name.startswith("map_")}
            about = json.loads(str(stored["about"][()]))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run what writes it first") from None
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a whole file of maps ({error}); {mend}") from None
    shapes = {values.shape for values in maps.values()}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 3 or shape[0] != len(places) or 0 in shape:
        raise InputError(f"{path}: not maps (h, w) of one size, one for each of its {len(places)} frames; {mend}")
    if not all(np.isfinite(values).all() and (values >= 0).all() for values in maps.values()):
        raise InputError(f"{path}: the maps hold values that are negative or no numbers; {mend}")
    return FrameMaps(places, maps, about)
