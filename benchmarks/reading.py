"""From bytes on a disk to augmented clips: `uv run python benchmarks/reading.py FOLDER`.

FOLDER is that of full_scale.py, with all frames of MARS's names in files of their own and in packs. One process reads;
candidates take turns, and ratios are those within a round. Writes reading.md beside this file.
"""

import json
import math
import os
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
import torch
from measure import HERE, forget_files, write_page
from PIL import Image
from torchvision import transforms

from vreid.data import clips
from vreid.data.frames import FrameReader, Loose
from vreid.data.pack import Packs
from vreid.data.tracklets import read_tracklets
from vreid.provenance import cpu_name
from vreid.spec import Clips, Spec

READ_STEPS, STEPS, ROUNDS, LOADED = (
    64,
    16,
    5,
    60,
)  # a round, of bytes alone and of clips, in batches of 8 people with 4 clips each
BATCH = 8 * 4 * 4  # frames
SIZE = (256, 128)
SPEC = Spec("baseline", 0, clips=Clips(frames=4, height=SIZE[0], width=SIZE[1], order="shuffled"))

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


class Asked:
    """Stands for a reader, and keeps the names of the frames that it is asked for."""

    def __init__(self):
        self.names: list[str] = []

    def __call__(self, names: Sequence[str]) -> torch.Tensor:
        self.names += names
        return torch.zeros(len(names), 3, *SIZE, dtype=torch.uint8)


def batches(table: pd.DataFrame, reader: Callable) -> clips.TrainingBatches:
    """Those of a training."""
    train = table[table["split"] == "train"]
    tracklets = clips.TrainSet(pd.factorize(train["pid"])[0], train["camid"].to_numpy())
    return clips.TrainingBatches(train["frames"], tracklets, reader, SPEC, clips.random_clip)


def make(batches: clips.TrainingBatches, steps: range, normalised: bool = False) -> None:
    for step in steps:
        made = batches[step].clips
        if normalised:
            clips.normalise(made)


def sampled(table: pd.DataFrame, steps: range) -> list[str]:
    """The frames that a training asks for in some steps, BATCH by BATCH."""
    asked = Asked()
    make(batches(table, asked), steps)
    assert len(asked.names) == BATCH * len(steps)
    return asked.names


def read_all(source: Loose | Packs, names: list[str]) -> int:
    """Bytes of all frames, asked for as a reader does."""
    volume = 0
    for first in range(0, len(names), BATCH):
        source.prefetch(names[first : first + BATCH])
        volume += sum(len(source(name)) for name in names[first : first + BATCH])
    return volume


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
        first = number * READ_STEPS if cold else 0
        names = sampled(table, range(first, first + READ_STEPS))
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
        f"{len(names):,} frames of random training clips, by one process from a local disk, {volume / len(names):,.0f} "
        "bytes each: " + ", ".join(f"{value:,.1f} MB a second from {label}" for label, value in pace.items()) + ".",
        "",
        "| from | frames a second | against files |",
        "|---|---:|---:|",
        *rows(taken, len(names)),
        "",
    ]


def clips_made(table: pd.DataFrame, root: Path, packs: Path) -> list[str]:
    """Batches as a training has them: uint8, augmented, normalised later on the device of the network."""
    taken: dict[str, list[float]] = {}
    for number in range(ROUNDS + 1):
        steps = range(number * STEPS, (number + 1) * STEPS)
        names = sampled(table, steps)
        for source in (Loose(root), Packs([packs / "train.pack"])):
            read_all(source, names)  # so that all of it is in the system's cache
        own = {
            label: batches(table, FrameReader(place, *SIZE)) for label, place in (("files", root), ("a pack", packs))
        }
        ways = {"Pillow and torchvision.transforms, frame by frame, from files": partial(frame_by_frame, root, names)}
        ways |= {f"ours, from {label}": partial(make, of, steps) for label, of in own.items()}
        ways["ours, from a pack, normalised on this core, too"] = partial(make, own["a pack"], steps, True)
        for label, way in ways.items():
            began = time.perf_counter()
            way()
            if number:  # the first is not counted
                taken.setdefault(label, []).append(time.perf_counter() - began)
    made = len(names) // SPEC.clips.frames
    return [
        "## Augmented clips, warm, one core",
        "",
        f"{made:,} clips of 4 frames of 256×128 a round, each round other ones, as a training asks for them. Frame by "
        "frame they come out normalised, in float32; ours as uint8, which the device of the network normalises.",
        "",
        "| way | clips a second | against the first |",
        "|---|---:|---:|",
        *rows(taken, made),
        "",
    ]


def by_processes(table: pd.DataFrame, packs: Path) -> list[str]:
    """What loading processes hand over to the one that trains, when that does nothing else; kept in reading.json."""
    source, pace = batches(table, FrameReader(packs, *SIZE)), {}
    for workers in range(1, (os.cpu_count() or 1) + 1):
        ahead = 2 * workers + 1  # batches that are read before time is taken
        loaded = clips.load(source, workers, range(ahead + LOADED))
        for _ in range(ahead):
            next(loaded)
        began = time.perf_counter()
        for _ in range(LOADED - ahead):
            next(loaded)
        pace[workers] = (LOADED - ahead) * BATCH / (time.perf_counter() - began)
        loaded.close()
    (HERE / "reading.json").write_text(json.dumps({"cpu": cpu_name(), "frames_per_second": pace}, indent=1) + "\n")
    return [
        "## Through loading processes, warm",
        "",
        "Batches read by processes of their own, from a pack, and taken by one that does nothing else: "
        + ", ".join(f"{found:,.0f} frames a second from {workers}" for workers, found in pace.items())
        + ".",
        "",
        *processes_needed(pace[max(pace)] / max(pace)),
    ]


def processes_needed(pace: float) -> list[str]:
    """How many processes read as fast as steps of gpu.md are, by the faster where one was measured twice."""
    measured = json.loads((HERE / "gpu.json").read_text())
    load = measured["loading"]
    there = load["frames"] / load["loaded"] / load["workers"]
    asked = {step["model"]: step["clips"] * step["frames"] / step["seconds"] for step in measured["steps"]}
    asked["asta+aitl"] = max(asked["asta+aitl"], load["frames"] / load["had"])
    shown = ["asta+aitl", max(asked, key=asked.get)]
    taken = " and ".join(f"{asked[model]:,.0f} frames a second ({model})" for model in shown)
    here_needed, there_needed = (
        " and ".join(str(math.ceil(asked[model] / each)) for model in shown) for each in (pace, there)
    )
    return [
        f"On the {measured['device']} of gpu.md, steps take {taken}, the most of all. At {pace:,.0f} frames a second, "
        f"as here, {here_needed} processes read so much, with a core each, if they slow each other down no further; "
        f"at the {there:,.0f} of each of gpu.md's {load['workers']}, by the code of that day, {there_needed}.",
    ]


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    torch.set_num_threads(1)
    table = read_tracklets(folder / "tracklets.csv.gz")
    root, pack = folder / "dataset", folder / "packs/train.pack"
    sources = {"files": lambda: Loose(root), "a pack": lambda: Packs([pack])}
    lines = [line for cold in (True, False) for line in bytes_read(table, sources, cold)]
    call = "uv run python benchmarks/reading.py FOLDER"
    lines += [*clips_made(table, root, folder / "packs"), *by_processes(table, folder / "packs")]
    write_page("reading.md", "Reading frames", call, lines)


if __name__ == "__main__":
    main()
