"""What is truly hidden: how many of the target's pixels a region of a frame has, and how many are hidden.

The same for the cells of a grid, such as that of attention maps.
"""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd

from vreid.data.frame_maps import FrameMaps, read_frame_maps, write_frame_maps
from vreid.data.regions import region_table, strip_rows, write_regions
from vreid.data.tracklets import KEY
from vreid.errors import InputError
from vreid.progress import Progress
from vreid.walkers.draw import shot
from vreid.walkers.population import tracklets
from vreid.walkers.world import Tracklet, World

CHUNK = 40  # tracklets between two words of progress


def write_truth(world: World, regions: int, out: Path, workers: int = 1) -> None:
    """Write the region table of `world` with the columns `target` and `hidden`: pixels of the target, hidden or not.

    It holds the tracklets of people alone; distractors of pid 0 and junk have no target. The dataset itself need not
    be rendered, and what is rendered of it does not change.
    """
    walks = [walk for walk in tracklets(world) if walk.pid > 0]
    chunks = [walks[i : i + CHUNK] for i in range(0, len(walks), CHUNK)]
    progress, found = Progress("truth", len(walks)), []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(pixels, world, chunk, regions) for chunk in chunks]
        try:
            for chunk, job in zip(chunks, jobs):
                found.append(job.result())
                progress.step(len(chunk))
        finally:
            pool.shutdown(cancel_futures=True)
    keys = np.array([(walk.pid, walk.camid, walk.number) for walk in walks])
    counts = np.concatenate(found)
    values = {"target": counts[..., 0], "hidden": counts[..., 1]}
    write_regions(region_table(keys, np.array([walk.num_frames for walk in walks]), values), out)


def pixels(world: World, walks: Sequence[Tracklet], regions: int) -> np.ndarray:
    """(frames, regions, 2) of all frames of `walks`: the target's pixels, and those of them that something hides."""
    strips = strip_rows(world.height, regions)
    shots = (shot(world, walk, i) for walk in walks for i in range(walk.num_frames))
    return np.array([[((s.target | s.hidden)[r].sum(), s.hidden[r].sum()) for r in strips] for s in shots])


def write_cells(world: World, maps: Path, out: Path, workers: int = 1) -> None:
    """Write what the target takes of each cell of the frames in `maps`, on the grid of those maps.

    `out` (see `frame_maps`) gets `target` and `hidden`: shares of a cell's pixels, visible and hidden by something.
    InputError where `maps` are of tracklets that this world has not.
    """
    asked = read_frame_maps(maps)
    if asked.grid[0] > world.height or asked.grid[1] > world.width:
        raise InputError(f"{maps}: maps of {asked.grid} have more cells than a frame has pixels; is the world theirs?")
    known = {(walk.pid, walk.camid, walk.number): walk for walk in tracklets(world) if walk.pid > 0}
    jobs, order = [], []
    for key, rows in asked.places.groupby(KEY, sort=False):
        walk = known.get(key)
        if walk is None or rows["frame"].max() > walk.num_frames:
            raise InputError(f"{maps}: the world has no tracklet {key} of so many frames; make the maps again")
        order.append(rows)
        jobs.append((world, walk, (rows["frame"] - 1).tolist(), asked.grid))
    progress, found = Progress("cells", len(jobs)), []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for part in pool.map(_cells_of, jobs, chunksize=CHUNK):
            found.append(part)
            progress.step()
    target, hidden = np.moveaxis(np.concatenate(found), 1, 0)
    write_frame_maps(FrameMaps(pd.concat(order), {"target": target, "hidden": hidden}, {}), out)


def _cells_of(job: tuple[World, Tracklet, list[int], tuple[int, int]]) -> np.ndarray:
    """(frames, 2, h, w) float32: the shares of the target's visible and of its hidden pixels in each cell."""
    world, walk, frames, grid = job
    shots = (shot(world, walk, i) for i in frames)
    return np.array([[cells(s.target, grid), cells(s.hidden, grid)] for s in shots], np.float32)


def cells(mask: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The share of each cell's pixels that a mask (height, width) covers: (h, w)."""
    rows, columns = (strip_rows(length, parts) for length, parts in zip(mask.shape, grid))
    return np.array([[mask[r, c].mean() for c in columns] for r in rows])
