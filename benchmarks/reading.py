"""From bytes on a disk to augmented clips: `uv run python benchmarks/reading.py FOLDER`.

FOLDER is that of full_scale.py, with all frames of MARS's names in files of their own and in packs. One process reads;
candidates take turns, and ratios are those within a round. Writes reading.md beside this file.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from measure import forget_files, write_page
from PIL import Image
from torchvision import transforms

from vreid.data import clips
from vreid.data.frames import Loose, Packs, decoded
from vreid.data.tracklets import expand_frames, read_tracklets
from vreid.spec import Augment, Clips

FRAMES, CLIPS, ROUNDS = 8000, 500, 5
SIZE = (256, 128)
SPEC, CHANGES = Clips(frames=4, height=SIZE[0], width=SIZE[1], order="shuffled"), Augment(pad=10)

# What the released code does with a frame, from its description: one by one, in Python.
FRAME_BY_FRAME = transforms.Compose(
    [
        transforms.Resize(SIZE),
        transforms.RandomHorizontalFlip(),
        transforms.Pad(10),
        transforms.RandomCrop(SIZE),
        transforms.ToTensor(),
        transforms.Normalize(clips.IMAGENET_MEAN, clips.IMAGENET_STD),
        transforms.RandomErasing(p=0.5, scale=(0.02, 0.4), ratio=(0.3, 3.3)),
    ]
)


def sampled(table: pd.DataFrame, clips_of_four: int, seed: int) -> list[str]:
    """The frames of random training clips, as a training asks for them."""
    rng, templates, names = np.random.default_rng(seed), list(table[table["split"] == "train"]["frames"]), []
    for template in rng.choice(templates, clips_of_four):
        own = expand_frames(template)
        order = clips.frame_order(len(own), SPEC, template)
        names += [own[place] for place in clips.random_clip(order, SPEC, rng)]
    return names


def read_all(source: Callable[[str], np.ndarray], names: list[str]) -> int:
    return sum(len(source(name)) for name in names)


def as_trained(source: Callable[[str], np.ndarray], names: list[str]) -> None:
    """Clips as our trainings have them: uint8, augmented, normalised later on the device of the network."""
    for start in range(0, len(names), 128):
        part = names[start : start + 128]
        frames = torch.stack([decoded(source(name)) for name in part])
        clips.augment(frames, CHANGES, np.random.default_rng(start))


def frame_by_frame(root: Path, names: list[str]) -> None:
    for start in range(0, len(names), 4):
        torch.stack([FRAME_BY_FRAME(Image.open(root / name).convert("RGB")) for name in names[start : start + 4]])


def rows(taken: Mapping[str, Sequence[float]], count: int) -> list[str]:
    """A line for each way: how many a second, and the ratio to the first way, round by round."""
    first = next(iter(taken.values()))
    lines = []
    for label, own in taken.items():
        ratio = statistics.median(other / mine for mine, other in zip(own, first, strict=True))
        lines.append(f"| {label} | {count / statistics.median(own):,.0f} | {ratio:.2f} |")
    return lines


def bytes_read(table: pd.DataFrame, sources: Mapping[str, Callable], cold: bool) -> list[str]:
    """Reading alone; cold, every round asks for other frames, and the system has forgotten all files."""
    if cold and not forget_files():
        return ["Cold: not measured; emptying the system's cache of files needs root.", ""]
    taken: dict[str, list[float]] = {label: [] for label in sources}
    for number in range(ROUNDS):
        names = sampled(table, FRAMES // 4, number if cold else 0)
        for label, source in sources.items():
            if cold:
                forget_files()
            reads = source()  # opened now, for what is mapped is not forgotten
            if not cold and not number:
                read_all(reads, names)
            began = time.perf_counter()
            volume = read_all(reads, names)
            taken[label].append(time.perf_counter() - began)
            del reads
    pace = {label: volume / statistics.median(own) / 1e6 for label, own in taken.items()}
    return [
        f"## Bytes, {'cold' if cold else 'warm'}",
        "",
        f"{FRAMES:,} frames of random training clips, {volume / FRAMES:,.0f} bytes each: "
        + ", ".join(f"{value:,.1f} MB a second from {label}" for label, value in pace.items())
        + ".",
        "",
        "| from | frames a second | against files |",
        "|---|---:|---:|",
        *rows(taken, FRAMES),
        "",
    ]


def clips_made(table: pd.DataFrame, loose: Loose, packs: Packs) -> list[str]:
    names = sampled(table, CLIPS, 0)
    ways = {
        "Pillow and torchvision.transforms, frame by frame, from files": lambda: frame_by_frame(loose.root, names),
        "ours, from files": lambda: as_trained(loose, names),
        "ours, from a pack": lambda: as_trained(packs, names),
    }
    taken: dict[str, list[float]] = {label: [] for label in ways}
    for number in range(ROUNDS + 1):
        for label, way in ways.items():
            began = time.perf_counter()
            way()
            if number:  # the first is not counted
                taken[label].append(time.perf_counter() - began)
    return [
        "## Augmented clips, warm, one core",
        "",
        f"{CLIPS:,} clips of 4 frames of 256×128.",
        "",
        "| way | clips a second | against the first |",
        "|---|---:|---:|",
        *rows(taken, CLIPS),
    ]


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    torch.set_num_threads(1)
    table = read_tracklets(folder / "tracklets.csv.gz")
    root, pack = folder / "dataset", folder / "packs/train.pack"
    sources = {"files": lambda: Loose(root), "a pack": lambda: Packs([pack])}
    lines = [line for cold in (True, False) for line in bytes_read(table, sources, cold)]
    call = "uv run python benchmarks/reading.py FOLDER"
    write_page("reading.md", "Reading frames", call, [*lines, *clips_made(table, Loose(root), Packs([pack]))])


if __name__ == "__main__":
    main()
