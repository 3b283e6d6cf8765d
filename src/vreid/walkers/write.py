"""Into which layout: a world's frames, name lists, track tables and attribute file."""

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from scipy.io import savemat

from vreid.files import written_whole
from vreid.locks import folder_written_whole
from vreid.progress import Progress
from vreid.walkers import marginals
from vreid.walkers.frames import frame_names, write_chunk
from vreid.walkers.population import tracklets
from vreid.walkers.world import Tracklet, World

CHUNK = 40  # tracklets a worker draws between two words of progress
MAT_TEXT = b"MATLAB 5.0 MAT-file, written without a date"  # scipy writes the time of day here
TRACKLET_COLUMNS = ["person_id", "camera_id", "tracklets_id"]


def render(world: World, out: Path, workers: int = 1) -> None:
    """Render `world` under the folder `out`, then its manifest `<out>.json` beside it.

    The folder appears whole or not at all: an old one is replaced only by a complete one. The bytes do not
    depend on `workers`.
    """
    out = Path(out)
    with folder_written_whole(out) as aside:
        progress = Progress(f"render {out.name}", frame_count(tracklets(world)))
        digests = write_frames(world, aside, workers, progress)
        for path, content in side_files(world).items():
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).write_bytes(content)
            digests[path] = hashlib.sha256(content).hexdigest()
        manifest = out.with_name(f"{out.name}.json")
        manifest.unlink(missing_ok=True)
    with written_whole(manifest) as path:
        path.write_text(json.dumps(summary(world, digests), indent=1) + "\n")


def write_frames(world: World, root: Path, workers: int, progress: Progress) -> dict[str, str]:
    """Draw every tracklet under `root`; returns the SHA-256 of each file by its path relative to `root`."""
    walks = tracklets(world)
    chunks = [walks[i : i + CHUNK] for i in range(0, len(walks), CHUNK)]
    digests = {}
    if workers <= 1:
        for chunk in chunks:
            digests |= write_chunk(world, root, chunk)
            progress.step(frame_count(chunk))
        return digests
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(write_chunk, world, root, chunk): chunk for chunk in chunks}
        try:
            for job in as_completed(jobs):
                digests |= job.result()
                progress.step(frame_count(jobs[job]))
        finally:
            pool.shutdown(cancel_futures=True)
    return digests


def side_files(world: World) -> dict[str, bytes]:
    """Everything but the frames, by path relative to the dataset's folder."""
    walks = tracklets(world)
    files = {f"{world.layout}_attributes.csv": attribute_file(world, walks)}
    if world.layout == "mars":
        files |= split_files(world, "train", [w for w in walks if w.split == "train"])
        test = [w for w in walks if w.split != "train"]
        files |= split_files(world, "test", test)
        asked = [row for row, walk in enumerate(test, start=1) if walk.split == "query"]
        files["info/query_IDX.mat"] = mat_bytes("query_IDX", np.array([asked], np.uint16))
    return files


def attribute_file(world: World, walks: Sequence[Tracklet]) -> bytes:
    """The annotations, one row a tracklet of a real person, with the columns of the real file."""
    facts, text = marginals.load()[world.layout], io.StringIO()
    names = facts["irrelevant columns"] + facts["relevant columns"]
    spelt = {"multi-person": "muti-person"} if world.layout == "duke" else {}
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(TRACKLET_COLUMNS + [spelt.get(name, name) for name in names])
    for walk in walks:
        if walk.attributes:
            rows.writerow([walk.pid, walk.camid, walk.number] + [walk.attributes[name] for name in names])
    return text.getvalue().encode()


def split_files(world: World, split: str, walks: Sequence[Tracklet]) -> dict[str, bytes]:
    """MARS's name list and track table (first line, last line, pid, camera; lines from 1, inclusive)."""
    names = [Path(name).name for walk in walks for name in frame_names(world, walk)]
    last = np.cumsum([walk.num_frames for walk in walks])
    first = last - [walk.num_frames for walk in walks] + 1
    table = np.column_stack([first, last, [w.pid for w in walks], [w.camid for w in walks]]).astype(np.int32)
    return {
        f"info/{split}_name.txt": ("\n".join(names) + "\n").encode(),
        f"info/tracks_{split}_info.mat": mat_bytes(f"track_{split}_info", table),
    }


def mat_bytes(name: str, array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    savemat(buffer, {name: array})
    return MAT_TEXT.ljust(116) + buffer.getvalue()[116:]


def summary(world: World, digests: dict[str, str]) -> dict:
    """The manifest: the world, what is in it, and one digest over all files in the order of their paths."""
    walks, whole = tracklets(world), hashlib.sha256()
    for path in sorted(digests):
        whole.update(f"{path} {digests[path]}\n".encode())
    return {
        "world": asdict(world),
        "rendered": True,
        "splits": {
            split: counts([walk for walk in walks if walk.split == split])
            for split in sorted({walk.split for walk in walks})
        },
        "files": len(digests),
        "sha256": whole.hexdigest(),
    }


def counts(walks: Sequence[Tracklet]) -> dict[str, int]:
    people = len({walk.pid for walk in walks if walk.pid > 0})
    return {"people": people, "tracklets": len(walks), "frames": frame_count(walks)}


def frame_count(walks: Sequence[Tracklet]) -> int:
    return sum(walk.num_frames for walk in walks)
