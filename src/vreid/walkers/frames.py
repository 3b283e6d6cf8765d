"""The JPEG files of a world's tracklets, under the names that each real dataset gives them."""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

from vreid.walkers.draw import frames
from vreid.walkers.world import Tracklet, World, generator

JPEG = {"format": "JPEG", "quality": 90, "subsampling": 0}
VIDEO_STEP = 8  # video frames between two frames of a Duke tracklet


def write_chunk(world: World, root: Path, walks: Sequence[Tracklet]) -> dict[str, str]:
    """Draw and write the frames of `walks` under `root`; returns each file's SHA-256 by relative path."""
    digests = {}
    for walk in walks:
        names = frame_names(world, walk)
        (root / names[0]).parent.mkdir(parents=True, exist_ok=True)
        for name, image in zip(names, frames(world, walk)):
            buffer = io.BytesIO()
            image.save(buffer, **JPEG)
            (root / name).write_bytes(buffer.getvalue())
            digests[name] = hashlib.sha256(buffer.getvalue()).hexdigest()
    return digests


def frame_names(world: World, walk: Tracklet) -> list[str]:
    """Paths of the tracklet's frames relative to the dataset's folder."""
    person = "00-1" if walk.pid < 0 else f"{walk.pid:04d}"
    if world.layout == "mars":
        folder = "bbox_train" if walk.split == "train" else "bbox_test"
        stem = f"{folder}/{person}/{person}C{walk.camid}T{walk.number:04d}F"
        return [f"{stem}{i:03d}.jpg" for i in range(1, walk.num_frames + 1)]
    folder = "gallery" if walk.split == "distractor" else walk.split
    mark = "D" if walk.split == "distractor" else "X"
    stem = f"{folder}/{person}/{walk.number:04d}/{person}_C{walk.camid}_F"
    start = int(generator(world, 4, walk.key).integers(1, 90000))
    return [f"{stem}{i + 1:04d}_{mark}{start + i * VIDEO_STEP:05d}.jpg" for i in range(walk.num_frames)]
