"""Tracklets → features: every test clip through the network once, the mean of its clips' embeddings a tracklet."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vreid import provenance
from vreid.data import clips
from vreid.data.frames import FrameReader
from vreid.data.tracklets import read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.hardware import autocast, device, device_name, to_network
from vreid.models import method as methods
from vreid.progress import Progress
from vreid.spec import Spec

TEST_SPLITS = ("query", "gallery", "junk")


@torch.inference_mode()
def features(
    network: nn.Module,
    method: methods.Method,
    table: pd.DataFrame,
    reader: FrameReader,
    spec: Spec,
    most: int,
    workers: int = 0,
    progress: str | None = None,
) -> np.ndarray:
    """Features (N, D) float32, not normalised, of the N tracklets of `table`, at most `most` clips of each."""
    batches = clips.EmbeddingBatches(table["frames"], reader, spec.clips, method.test_clips, most)
    bar = Progress(progress, len(batches)) if progress else None
    network.eval()
    total = None
    for frames, tracklets in clips.load(batches, workers):
        with autocast(spec.training.precision):
            embedding = network(to_network(frames)).embedding.float()
        if total is None:
            total = torch.zeros(len(table), embedding.shape[1], device=device())
        total.index_add_(0, tracklets.to(device()), embedding)
        if bar:
            bar.step()
    counts = np.bincount(batches.tracklet, minlength=len(table)).astype(np.float32)
    return total.cpu().numpy() / counts[:, None]


def test_tracklets(table: pd.DataFrame, source: object) -> pd.DataFrame:
    """The rows that are embedded for testing; an index without queries or without gallery is an InputError."""
    rows = table[table["split"].isin(TEST_SPLITS)].reset_index(drop=True)
    for split in ("query", "gallery"):
        if not (rows["split"] == split).any():
            raise InputError(f"{source}: no tracklet of the split `{split}`; nothing can be tested on this dataset")
    return rows


def embed(
    spec_path: Path,
    weights_path: Path,
    index_path: Path,
    root: Path,
    dataset: str,
    out: Path,
    stored_size: tuple[int, int] | None = None,
    rendered: bool = False,
    workers: int = 0,
) -> None:
    """Write features.npz: features (N, D), pids, camids, tracklets, splits (N), provenance (a JSON text)."""
    began = time.monotonic()
    spec = Spec.load(spec_path)
    torch.set_num_threads(spec.training.threads)
    torch.use_deterministic_algorithms(device().type == "cpu")  # on a GPU some have no such form
    trained = _train_record(weights_path.with_name("train.json"), spec)
    rows = test_tracklets(read_tracklets(index_path), index_path)
    method = methods.load(spec.method)
    state = load_weights(weights_path)
    population = methods.Population(trained["people"], trained["attributes"])
    unloaded = replace(spec, trunk=replace(spec.trunk, weights="none"))
    network = method.network(method.settings(spec), unloaded, population)
    network.load_state_dict(state)
    network.to(device(), memory_format=torch.channels_last)
    reader = FrameReader(root, spec.clips.height, spec.clips.width, stored_size)
    found = features(network, method, rows, reader, spec, spec.clips.test_clips, workers, f"embed {dataset}")
    record = {
        **trained,
        "test_dataset": dataset,
        "rendered": rendered,
        "distance": method.distance,
        "embedded": {**provenance.here("vreid.embed", f"vreid.models.{spec.method}"), "device": device_name()},
        "embed_seconds": round(time.monotonic() - began, 2),
    }
    with written_whole(out) as aside:
        np.savez(
            aside,
            features=found,
            pids=rows["pid"].to_numpy(np.int64),
            camids=rows["camid"].to_numpy(np.int64),
            tracklets=rows["tracklet"].to_numpy(np.int64),
            splits=rows["split"].to_numpy(str),
            provenance=np.array(json.dumps(record)),
        )


def _train_record(path: Path, spec: Spec) -> dict:
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the record of the training cannot be read ({error}); train this run again") from None
    if missing := [key for key in ("spec_digest", "people", "attributes") if key not in record]:
        raise InputError(f"{path}: the key {missing[0]!r} is missing; train this run again")
    if record["spec_digest"] != spec.digest:
        raise InputError(f"{path}: trained with another spec than the one given; train this run again")
    return record


def load_weights(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights; train this run first") from None
    except Exception as error:
        raise InputError(f"{path}: not a file of weights ({error}); train this run again") from None
