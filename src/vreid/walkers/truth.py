"""What is truly hidden: how many of the target's pixels a region of a frame has, and how many are hidden."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from vreid.data.regions import region_table, strip_rows, write_regions
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
