"""Frames with occluded regions → the same frames completed, as a dataset of their own."""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from vreid import provenance
from vreid.completion.train import region_masks
from vreid.data.clips import load
from vreid.data.frames import FrameReader, resized
from vreid.data.regions import frame_spans, of_tracklets, read_regions, strip_rows
from vreid.data.tracklets import expand_frames, read_tracklets
from vreid.embed import load_weights
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.hardware import autocast, device, device_name
from vreid.locks import folder_written_whole
from vreid.models.vrstc.regions import references
from vreid.models.vrstc.stcnet import CompletionNetwork
from vreid.progress import Progress

JPEG = {"format": "JPEG", "quality": 95, "subsampling": 0}
BATCH = 32


class Job(NamedTuple):
    """A frame to complete, the unoccluded frames beside it, and which of its regions (regions,) are occluded."""

    name: str
    before: str
    after: str
    occluded: np.ndarray


def jobs(table: pd.DataFrame, occluded: np.ndarray) -> list[Job]:
    """The frames of `table` with an occluded region (frames, regions) and an unoccluded frame to learn from."""
    found = []
    for template, span in zip(table["frames"], frame_spans(table["num_frames"].to_numpy())):
        unclean = occluded[span].any(1)
        before, after = references(~unclean)
        if not (unclean & (before >= 0)).any():
            continue
        names = expand_frames(template)
        wanted = np.flatnonzero(unclean & (before >= 0))
        found += [Job(names[i], names[before[i]], names[after[i]], occluded[span][i]) for i in wanted]
    return found


class Batches(Dataset):
    """Item i is the frames (3, B, 3, H, W) uint8 of a few jobs: themselves, those before, those after."""

    def __init__(self, todo: list[Job], reader: FrameReader):
        self.todo, self.reader = todo, reader

    def part(self, item: int) -> list[Job]:
        return self.todo[item * BATCH : (item + 1) * BATCH]

    def __len__(self) -> int:
        return -(-len(self.todo) // BATCH)

    def __getitem__(self, item: int) -> Tensor:
        part = self.part(item)
        names = [getattr(job, side) for side in ("name", "before", "after") for job in part]
        return self.reader(names).unflatten(0, (3, len(part)))


@torch.inference_mode()
def completed(network: CompletionNetwork, frames: Tensor, occluded: Tensor, asked: str) -> Tensor:
    """uint8 frames (3, B, 3, H, W), occluded (B, regions) → uint8 (B, 3, H, W) with those regions completed.

    The network knows frames that miss one region; where several are occluded they are completed from the top, each
    with those above it completed already (assumed).
    """
    x, before, after = frames.to(device()).float() / 255
    for region in range(occluded.shape[1]):
        rows = occluded[:, region].nonzero().squeeze(1)
        if len(rows):
            which = torch.full((len(rows),), region, device=x.device)
            mask = region_masks(which, x.shape[2:], occluded.shape[1])
            with autocast(asked):
                x[rows] = network(x[rows], before[rows], after[rows], mask)[1]
    return (255 * x).round().clamp(0, 255).to(torch.uint8).cpu()


def pasted(frame: np.ndarray, made: Tensor, occluded: np.ndarray) -> np.ndarray:
    """A stored frame (h, w, 3) with the occluded regions (regions,) of `made` (3, H, W), of whatever size."""
    own = resized(made, frame.shape[:2]) if made.shape[1:] != frame.shape[:2] else made
    frame, own = frame.copy(), own.permute(1, 2, 0).numpy()
    for rows in (rows for rows, hidden in zip(strip_rows(len(frame), len(occluded)), occluded) if hidden):
        frame[rows] = own[rows]
    return frame


def complete(
    regions_path: Path,
    weights_path: Path,
    index_path: Path,
    root: Path,
    dataset: str,
    out: Path,
    rendered: bool = False,
    stored_size: tuple[int, int] | None = None,
    workers: int = 0,
) -> None:
    """Write the tree `out`: `root` with the occluded regions completed, then its manifest `<out>.json` beside it.

    The folder appears whole or not at all. Files that stay as they are become hard links where that can be; those of
    `root` are never written to. `dataset` is the name of the source.
    """
    root, out = Path(root), Path(out)
    if root.resolve() == out.resolve() or root.resolve() in out.resolve().parents:
        raise InputError(f"{out}: lies in the dataset that is completed; give another folder")
    if any(root.glob("[!.]*.pack")):
        raise InputError(f"{root}: holds packs, and not the files that are to be taken over; give the dataset's folder")
    trained = _record(weights_path.with_name("completion.json"))
    table = read_tracklets(index_path)
    occluded = of_tracklets(read_regions(regions_path, "occluded"), table, "occluded", regions_path) == 1
    if occluded.shape[1] != trained["regions"]:
        raise InputError(f"{regions_path}: {occluded.shape[1]} regions, but the network learnt {trained['regions']}")
    network = _network(trained, weights_path)
    todo = jobs(table, occluded)
    manifest = out.with_name(f"{out.name}.json")
    with folder_written_whole(out) as aside:
        reader = FrameReader(root, *trained["size"], stored_size)
        digests = dict(_write_completed(network, todo, reader, aside, trained["options"]["precision"], workers))
        digests |= _link_others(root, aside, set(digests))
        manifest.unlink(missing_ok=True)
    inputs = {"regions": regions_path, "weights": weights_path, "index": index_path}
    record = {
        "rendered": rendered,
        "completed_from": dataset,
        **changes(table, occluded, todo),
        "inputs": {name: provenance.file_digest(path) for name, path in inputs.items()},
        **provenance.here("vreid.completion.complete"),
        "device": device_name(),
        "files": len(digests),
        "sha256": whole_digest(digests),
    }
    with written_whole(manifest) as path:
        path.write_text(json.dumps(record, indent=1) + "\n")


def changes(table: pd.DataFrame, occluded: np.ndarray, todo: list[Job]) -> dict[str, Any]:
    """How much of the dataset is completed, and how much was found occluded but has no unoccluded frame beside it."""
    frames = {"all": len(occluded), "occluded": int(occluded.any(1).sum()), "changed": len(todo)}
    regions = {
        "all": occluded.size,
        "occluded": int(occluded.sum()),
        "changed": int(sum(j.occluded.sum() for j in todo)),
    }
    counts = {"frames": frames, "regions": regions}
    for each in counts.values():
        each["share_changed"] = round(each["changed"] / each["all"], 4)
    spans = frame_spans(table["num_frames"].to_numpy())
    return counts | {"tracklets_without_an_unoccluded_frame": sum(bool(occluded[s].any(1).all()) for s in spans)}


def whole_digest(digests: dict[str, str]) -> str:
    """One SHA-256 over all files in the order of their paths, as in the manifest of a rendered dataset."""
    whole = hashlib.sha256()
    for path in sorted(digests):
        whole.update(f"{path} {digests[path]}\n".encode())
    return whole.hexdigest()


def _write_completed(
    network: CompletionNetwork, todo: list[Job], reader: FrameReader, aside: Path, asked: str, workers: int
) -> Iterator[tuple[str, str]]:
    batches, progress = Batches(todo, reader), Progress("complete frames", len(todo))
    for item, frames in enumerate(load(batches, workers)):
        part = batches.part(item)
        hidden = np.stack([job.occluded for job in part])
        made = completed(network, frames, torch.from_numpy(hidden).to(device()), asked)
        for job, own in zip(part, made):
            with Image.open(io.BytesIO(reader.encoded(job.name))) as stored:
                frame = pasted(np.asarray(stored.convert("RGB")), own, job.occluded)
            buffer = io.BytesIO()
            Image.fromarray(frame).save(buffer, **JPEG)
            (aside / job.name).parent.mkdir(parents=True, exist_ok=True)
            (aside / job.name).write_bytes(buffer.getvalue())
            yield job.name, hashlib.sha256(buffer.getvalue()).hexdigest()
        progress.step(len(part))


def _link_others(root: Path, aside: Path, written: set[str]) -> dict[str, str]:
    """Link or copy every file of `root` that is not `written`; returns their digests."""
    folders = os.walk(root, followlinks=True)  # a dataset's parts may be links to where they are kept
    names = sorted(Path(folder, name).relative_to(root).as_posix() for folder, _, files in folders for name in files)
    others = [name for name in names if name not in written]
    progress, digests = Progress("take over files", len(others)), {}
    for name in others:
        source, target = (root / name).resolve(), aside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except OSError:  # another disk, or one that knows no links
            shutil.copyfile(source, target)
        with open(target, "rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
        progress.step()
    return digests


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
        return {key: record[key] for key in ("options", "regions", "size")}
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: no record of a completion training ({error}); train the completion again") from None


def _network(trained: dict[str, Any], weights_path: Path) -> CompletionNetwork:
    options = trained["options"]
    network = CompletionNetwork(options["width"], options["attention_scale"])
    try:
        network.load_state_dict(load_weights(weights_path))
    except RuntimeError as error:
        raise InputError(f"{weights_path}: not the network of completion.json ({str(error).splitlines()[0]})") from None
    return network.eval().to(device(), memory_format=torch.channels_last)
