"""Tracklets → features: every test clip through the network once, its clips' embeddings pooled to a tracklet's."""

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vreid import provenance
from vreid.data import clips
from vreid.data.attributes import vocabulary_of
from vreid.data.frames import FrameReader
from vreid.data.tracklets import COLUMNS, read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.hardware import autocast, device, device_name, to_network
from vreid.models import method as methods
from vreid.progress import Progress
from vreid.spec import Spec


class Embedded(NamedTuple):
    """N tracklets as a network sees them."""

    features: np.ndarray  # (N, D) or (N, clips, D)
    attributes: Mapping[str, np.ndarray]  # group → (N, outputs), the mean logits of a tracklet's clips


class Mean:
    """The mean over the clips of a tracklet; `counts` (N,) says how many each has."""

    def __init__(self, counts: Tensor):
        self.counts, self.total = counts, None

    def add(self, rows: Tensor, places: Tensor, values: Tensor) -> None:
        if self.total is None:
            self.total = values.new_zeros(len(self.counts), values.shape[1])
        self.total.index_add_(0, rows, values)

    def value(self) -> np.ndarray:
        return (self.total / self.counts[:, None]).cpu().numpy()


class Maximum:
    """The largest value of each channel over the clips of a tracklet."""

    def __init__(self, counts: Tensor):
        self.counts, self.largest = counts, None

    def add(self, rows: Tensor, places: Tensor, values: Tensor) -> None:
        if self.largest is None:
            self.largest = values.new_full((len(self.counts), values.shape[1]), -torch.inf)
        self.largest.scatter_reduce_(0, rows[:, None].expand_as(values), values, "amax")

    def value(self) -> np.ndarray:
        return self.largest.cpu().numpy()


class Every:
    """All clips of a tracklet, those that it lacks NaN."""

    def __init__(self, counts: Tensor):
        self.counts, self.stored = counts, None

    def add(self, rows: Tensor, places: Tensor, values: Tensor) -> None:
        if self.stored is None:
            shape = (len(self.counts), int(self.counts.max()), values.shape[1])
            self.stored = np.full(shape, np.nan, np.float32)
        self.stored[rows.cpu().numpy(), places.cpu().numpy()] = values.cpu().numpy()

    def value(self) -> np.ndarray:
        return self.stored


POOLS = {"mean": Mean, "max": Maximum, "all": Every}
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
) -> Embedded:
    """What the network says of the N tracklets of `table`, from at most `most` clips of each.

    Features are float32 and not normalised: (N, D), or (N, clips, D) for a method that pools nothing.
    """
    choose = clips.chosen(clips.TEST_CLIPS, spec.clips.test, method.test_clips, "clips.test")
    batches = clips.EmbeddingBatches(table["frames"], reader, spec.clips, choose, most)
    bar = Progress(progress, len(batches)) if progress else None
    counts = torch.from_numpy(batches.counts).to(device())
    pool, pooled = POOLS[method.pooling(spec)](counts), {}
    network.eval()
    for batch in clips.load(batches, workers):
        with autocast(spec.training.precision):
            outputs = network(to_network(batch.clips))
        rows, places = (own.to(device(), non_blocking=True) for own in (batch.tracklets, batch.places))
        pool.add(rows, places, outputs.embedding.float())
        for group, logits in outputs.attributes.items():
            pooled.setdefault(group, Mean(counts)).add(rows, places, logits.float())
        if bar:
            bar.step()
    return Embedded(pool.value(), {group: mean.value() for group, mean in pooled.items()})


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
    train_index: Path | None = None,
    train_root: Path | None = None,
    train_stored_size: tuple[int, int] | None = None,
) -> None:
    """Write features.npz: features (N, …), pids, camids, tracklets, splits (N), provenance (a JSON text).

    What the distance needs beside features is `distance_<name>`. Of each attribute group that both the network and
    the test set know, `recognised_<group>` and `annotated_<group>` (N, attributes) are the classes that the network
    finds and those that are annotated, -1 where nothing is.
    """
    began = time.monotonic()
    spec = Spec.load(spec_path)
    torch.set_num_threads(spec.training.threads)
    torch.use_deterministic_algorithms(device().type == "cpu")  # on a GPU some have no such form
    trained = train_record(weights_path.with_name("train.json"), spec)
    rows = test_tracklets(read_tracklets(index_path), index_path)
    method, options, network = load_network(spec, weights_path, trained)
    reader = FrameReader(root, spec.clips.height, spec.clips.width, stored_size)
    found = features(network, method, rows, reader, spec, spec.clips.test_clips, workers, f"embed {dataset}")
    stored = found.features
    if method.finish:
        source = train_index, train_root, train_stored_size
        training = partial(_training_tracklets, network, method, spec, *source, workers)
        stored = method.finish(stored, options, training)
    record = {
        **trained,
        "model": spec.model,
        "recipe": spec.recipe,
        "trained_as": spec.trained_as or spec.model,
        "test_dataset": dataset,
        "rendered": rendered,
        "distance": method.distance,
        "embedded": {**provenance.here("vreid.embed", f"vreid.models.{spec.method}"), "device": device_name()},
        "embed_seconds": round(time.monotonic() - began, 2),
    }
    with written_whole(out) as aside:
        np.savez(
            aside,
            features=stored,
            pids=rows["pid"].to_numpy(np.int64),
            camids=rows["camid"].to_numpy(np.int64),
            tracklets=rows["tracklet"].to_numpy(np.int64),
            splits=rows["split"].to_numpy(str),
            provenance=np.array(json.dumps(record)),
            **{f"distance_{name}": value for name, value in method.parameters(network, options).items()},
            **recognised(found.attributes, trained["attributes"], rows, index_path),
        )


def load_network(spec: Spec, weights_path: Path, trained: Mapping) -> tuple[methods.Method, Any, nn.Module]:
    """The method, its options, and the trained network on the device; `trained` is the training's record."""
    method = methods.load(spec.method)
    options = method.settings(spec)
    state = load_weights(weights_path)
    population = methods.Population(trained["people"], trained["attributes"])
    network = method.network(options, replace(spec, trunk=replace(spec.trunk, weights="none")), population, None)
    network.load_state_dict(state)
    return method, options, network.to(device(), memory_format=torch.channels_last)


def _training_tracklets(
    network: nn.Module,
    method: methods.Method,
    spec: Spec,
    index: Path | None,
    root: Path | None,
    stored_size: tuple[int, int] | None,
    workers: int,
) -> methods.Tracklets:
    """The Tracklets of the train split of the dataset that the network was trained on."""
    if not (index and root):
        raise InputError(
            f"models.{spec.model}: its metric is learned on the training tracklets; give --train-index and --train-root"
        )
    rows = read_tracklets(index)
    rows = rows[rows["split"] == "train"].reset_index(drop=True)
    reader = FrameReader(root, spec.clips.height, spec.clips.width, stored_size)
    found = features(network, method, rows, reader, spec, spec.clips.test_clips, workers, "embed the train split")
    return methods.Tracklets(found.features, rows["pid"].to_numpy(), rows["camid"].to_numpy())


def recognised(
    logits: Mapping[str, np.ndarray], known: Mapping[str, Mapping[str, int]], rows: pd.DataFrame, source: object
) -> dict[str, np.ndarray]:
    """`recognised_<group>`, `annotated_<group>` (N, attributes) of the groups that both test set and network know.

    The recognised class of an attribute is the largest of its logits, -1 where they are NaN: the network has no head
    for it.
    """
    if not logits or set(rows) == set(COLUMNS):
        return {}
    vocabulary, arrays = vocabulary_of(rows.columns, source), {}
    for group, values in logits.items():
        if vocabulary.group(group) != known[group]:
            continue  # the relevant attributes of MARS and Duke differ
        ends = np.cumsum(list(known[group].values()))[:-1]
        classes = [np.where(np.isnan(part).any(1), -1, part.argmax(1)) for part in np.split(values, ends, axis=1)]
        arrays[f"recognised_{group}"] = np.stack(classes, axis=1)
        arrays[f"annotated_{group}"] = rows[list(known[group])].fillna(-1).to_numpy(np.int64)
    return arrays


def train_record(path: Path, spec: Spec) -> dict:
    """The train.json of a run; InputError unless it is of this spec, or of the model that the spec is trained as."""
    try:
        record = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the record of the training cannot be read ({error}); train this run again") from None
    if missing := [key for key in ("spec_digest", "people", "attributes") if key not in record]:
        raise InputError(f"{path}: the key {missing[0]!r} is missing; train this run again")
    if spec.trained_as:
        if (record.get("model"), record.get("seed")) != (spec.trained_as, spec.seed):
            raise InputError(f"{path}: not the training of {spec.trained_as!r} with seed {spec.seed}; give its weights")
    elif record["spec_digest"] != spec.digest:
        raise InputError(f"{path}: trained with another spec than the one given; train this run again")
    return record


def load_weights(path: Path) -> dict[str, Tensor]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights; train this run first") from None
    except Exception as error:
        raise InputError(f"{path}: not a file of weights ({error}); train this run again") from None
