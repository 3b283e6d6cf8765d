"""The training of the completion network: unoccluded frames lose a region at random, and get it back.

As in the training of a re-ID network, step s sees what (seed, s) gives, so that a killed training goes on from its
last checkpoint and ends with the weights of an uninterrupted one.
"""

import contextlib
import dataclasses
import datetime
import json
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.random import default_rng
from torch import Tensor, nn
from torch.utils.data import Dataset

from vreid import checkpoints, provenance
from vreid.completion.scorer import Scorer
from vreid.data.clips import load
from vreid.data.frames import FrameReader
from vreid.data.regions import frame_spans, of_tracklets, read_regions, strip_rows
from vreid.data.tracklets import expand_frames, read_tracklets
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.hardware import autocast, device, device_name, precision
from vreid.locks import only_writer
from vreid.models.vrstc import losses
from vreid.models.vrstc.regions import references
from vreid.models.vrstc.stcnet import CompletionNetwork, Discriminators
from vreid.progress import Progress
from vreid.spec import build, one_of, within
from vreid.termination import Saving

CHECKPOINT_SECONDS = 15.0  # where a row of the history ends
MIDWAY_SECONDS = 60.0  # between two rows


@dataclass(frozen=True)
class Options:
    """What the paper does not give is assumed: all but the terms of the loss."""

    width: int = 64  # channels of the generators' and the discriminators' first layer; the deepest has 4 × as many
    attention_scale: float = 10.0  # of the cosine similarities before their softmax
    adversarial: float = 0.001  # l_a, weight of both discriminators' terms
    identity: float = 0.1  # l_c, weight of the ID guider's term
    lr: float = 1e-4  # of the generators (Adam)
    lr_discriminator: float = 1e-5
    decay_from: float = 1.0  # fraction of the training from which both rates fall evenly to 0; 1: they never do
    steps: int = 40000
    batch: int = 32
    flip: float = 0.5  # probability that a frame and its neighbours are mirrored
    held_out: float = 0.1  # share of the training tracklets that errors are measured on
    held_out_frames: int = 512  # at most so many of their frames
    report_every: int = 500  # steps a row of history.csv
    seed: int = 0
    precision: str = "auto"  # auto | float32 | bfloat16

    def __post_init__(self):
        one_of("precision", self.precision, ("auto", "float32", "bfloat16"))
        within(self, "width", "steps", "held_out_frames", "report_every", at_least=1)
        within(self, "batch", at_least=2)
        within(self, "attention_scale", "adversarial", "identity", "lr", "lr_discriminator", "seed", at_least=0)
        within(self, "flip", "decay_from", at_least=0, at_most=1)
        within(self, "held_out", above=0, below=1)


def rate_left(step: int, options: Options) -> float:
    """The share of the learning rates that holds at `step`."""
    left = (1 - step / options.steps) / max(1 - options.decay_from, 1e-9)
    return min(1.0, left)


# ---- what is learnt from ----


class Batch(NamedTuple):
    frames: Tensor  # (3, B, 3, H, W) uint8: whole frames, the unoccluded ones before them, and after them
    region: Tensor  # (B,) the region that is taken away, from 0
    person: Tensor  # (B,) index of the person among the training people
    nearest: Tensor  # (B,) 1 where the frame before is the nearer one, 2 where the one after is


class Samples(NamedTuple):
    """Unoccluded frames that have another unoccluded one beside them; places in their tracklets, from 0."""

    tracklet: np.ndarray
    frame: np.ndarray
    before: np.ndarray
    after: np.ndarray

    def chosen(self, rows: np.ndarray) -> "Samples":
        return Samples(*(column[rows] for column in self))


def samples(num_frames: np.ndarray, occluded: np.ndarray) -> Samples:
    """Lengths (N,) of tracklets and occluded (frames, regions) → every frame that can be learnt from."""
    found = []
    for tracklet, span in enumerate(frame_spans(num_frames)):
        clean = ~occluded[span].any(1)
        before, after = references(clean)
        frame = np.flatnonzero(clean & (before >= 0))
        found.append((np.full(len(frame), tracklet), frame, before[frame], after[frame]))
    return Samples(*map(np.concatenate, zip(*found)))


def split_samples(every: Samples, tracklets: int, options: Options) -> tuple[Samples, Samples]:
    """Those to train on, and those of held-out tracklets, evenly thinned to `held_out_frames`."""
    count = max(1, round(options.held_out * tracklets))
    out = default_rng([options.seed, 10]).permutation(tracklets)[:count]
    held = np.flatnonzero(np.isin(every.tracklet, out))
    thinned = held[np.linspace(0, len(held) - 1, min(len(held), options.held_out_frames)).round().astype(int)]
    return every.chosen(np.flatnonzero(~np.isin(every.tracklet, out))), every.chosen(thinned)


class Batches(Dataset):
    """Item i is the batch `rows_of(i)`: rows of `samples`, the regions to take away, and which to mirror."""

    def __init__(self, names: list[str], people: np.ndarray, chosen: Samples, reader: FrameReader, rows_of):
        self.templates, self.people, self.samples, self.reader, self.rows_of = names, people, chosen, reader, rows_of

    def __getitem__(self, item: int) -> Batch:
        rows, region, mirrored = self.rows_of(item)
        at = self.samples.chosen(rows)
        names = [expand_frames(self.templates[tracklet]) for tracklet in at.tracklet]
        wanted = [own[i] for places in (at.frame, at.before, at.after) for own, i in zip(names, places)]
        frames = self.reader(wanted).unflatten(0, (3, len(rows)))
        frames = torch.where(torch.from_numpy(mirrored)[:, None, None, None], frames.flip(4), frames)
        nearest = np.where(np.abs(at.frame - at.before) <= np.abs(at.after - at.frame), 1, 2)
        return Batch(frames, *map(torch.from_numpy, (region, self.people[at.tracklet], nearest)))


def drawn(count: int, regions: int, options: Options):
    """What step s sees: a function of the seed and s alone."""

    def rows_of(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rng, size = default_rng([options.seed, 11, step]), options.batch
        return rng.integers(0, count, size), rng.integers(0, regions, size), rng.random(size) < options.flip

    return rows_of


def in_order(count: int, regions: int, size: int):
    """Every sample once; the region that it loses goes round."""

    def rows_of(item: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = np.arange(item * size, min(count, (item + 1) * size))
        return rows, rows % regions, np.zeros(len(rows), bool)

    return rows_of


def region_masks(region: Tensor, size: tuple[int, int], regions: int) -> Tensor:
    """(B,) → (B, 1, H, W), 1 within the region."""
    return _all_masks(size, regions, region.device)[region]


@cache  # made anew for every batch, they would make the processor wait for the GPU
def _all_masks(size: tuple[int, int], regions: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # or a training could not use them after its errors were measured
        masks = torch.zeros(regions, 1, *size)
        for mask, rows in zip(masks, strip_rows(size[0], regions)):
            mask[:, rows] = 1
        return masks.to(device)


# ---- how well it is learnt ----


class Errors:
    """Mean absolute error and PSNR over missing pixels, of frames in [0, 1]."""

    def __init__(self):
        self.absolute = self.squared = self.pixels = 0.0

    def add(self, x: Tensor, completed: Tensor, mask: Tensor) -> None:
        off = (x.double() - completed.double()) * mask
        self.absolute += off.abs().sum().item()
        self.squared += off.square().sum().item()
        self.pixels += mask.sum().item() * x.shape[1]

    @property
    def scores(self) -> dict[str, float]:
        """`l1` as a fraction of full scale, `psnr` in dB of the mean squared error over all missing pixels."""
        mse = max(self.squared / self.pixels, 1e-12)
        return {"l1": round(self.absolute / self.pixels, 5), "psnr": round(-10 * float(np.log10(mse)), 3)}


@torch.inference_mode()
def held_out_errors(
    network: CompletionNetwork, batches: Iterator[Batch], regions: int, asked: str
) -> dict[str, Errors]:
    """Errors of the network, of its spatial generator alone, and of two fills that need no training.

    `mean_colour` fills in the mean colour of the rest of the frame, `neighbour_copy` the same region of the nearest
    unoccluded frame.
    """
    network.eval()
    found = {name: Errors() for name in ("completed", "spatial", "mean_colour", "neighbour_copy")}
    for batch in batches:
        x, before, after = batch.frames.to(device()).float() / 255
        mask = region_masks(batch.region.to(device()), x.shape[2:], regions)
        with autocast(asked):
            x1, x2 = network(x, before, after, mask)
        kept = 1 - mask
        mean = ((x * kept).sum((2, 3)) / kept.sum((2, 3)))[:, :, None, None].expand_as(x)
        nearest = torch.where((batch.nearest == 1).to(device())[:, None, None, None], before, after)
        for name, made in zip(found, (x2, x1, mean, nearest)):
            found[name].add(x, made, mask)
    return found


# ---- the training ----


@dataclass
class CompletionTrainer:
    """One training: what it is made of, and what changes while it runs (`step` and below, all in a checkpoint)."""

    options: Options
    regions: int
    scorer: Scorer
    network: CompletionNetwork
    discriminators: Discriminators
    training: Batches
    held_out: Batches
    held_out_batches: int
    workers: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)  # since the last row of the history
    seconds: float = 0.0

    def __post_init__(self):
        rates = self.options.lr, self.options.lr_discriminator
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=rates[0], fused=True)
        self.teacher = torch.optim.Adam(self.discriminators.parameters(), lr=rates[1], fused=True)

    @property
    def changing(self) -> dict[str, Any]:
        parts = ("network", "discriminators", "optimiser", "teacher")
        return {name: getattr(self, name) for name in parts}

    def run(self, folder: Path, identity: str) -> None:
        """Train to the end; checkpoints go to `folder`, and only one of the same `identity` is gone on from.

        Told to end, it writes a checkpoint between two steps and exits.
        """
        self._resume(folder, identity)
        steps = self.options.steps
        progress = Progress("train completion", steps, self.step)
        batches = load(self.training, self.workers, range(self.step, steps))
        before, began = self.seconds, time.monotonic()

        def save() -> None:
            self.seconds = before + time.monotonic() - began
            self._save(folder, identity)

        with contextlib.closing(batches), Saving(save) as saving:
            while self.step < steps or self.sums:
                self.history.append(self._stretch(batches, progress, saving))
                self.seconds = before + time.monotonic() - began
                self.history[-1]["seconds"] = round(self.seconds, 2)
                saving.unless_within(CHECKPOINT_SECONDS)

    def errors(self) -> dict[str, dict[str, float]]:
        batches = load(self.held_out, self.workers, range(self.held_out_batches))
        found = held_out_errors(self.network, batches, self.regions, self.options.precision)
        return {name: errors.scores for name, errors in found.items()}

    def _stretch(self, batches: Iterator[Batch], progress: Progress, saving: Saving) -> dict[str, Any]:
        """The steps up to the next row of the history: the means of all terms, and the held-out error."""
        self.network.train()
        self.discriminators.train()
        first = len(self.history) * self.options.report_every
        last = min(self.options.steps, first + self.options.report_every)
        while self.step < last:
            for name, value in self.take_step(next(batches)).items():
                self.sums[name] = self.sums.get(name, 0) + value
            saving.check()
            saving.unless_within(MIDWAY_SECONDS)
            progress.step()
        means = {name: float(value) / (last - first) for name, value in self.sums.items()}
        if not np.isfinite(means["loss"]):
            raise InputError(f"the completion's loss is {means['loss']} before step {last}; lower `lr`")
        with saving.at_once():
            scores = self.errors()["completed"]
        self.sums = {}
        return {"step": last, **means, "held_out_l1": scores["l1"], "held_out_psnr": scores["psnr"], "seconds": None}

    def take_step(self, batch: Batch) -> dict[str, Tensor]:
        for optimiser, rate in ((self.optimiser, self.options.lr), (self.teacher, self.options.lr_discriminator)):
            for group in optimiser.param_groups:
                group["lr"] = rate * rate_left(self.step, self.options)
        x, before, after = batch.frames.to(device(), non_blocking=True).float() / 255
        region, person = (own.to(device(), non_blocking=True) for own in (batch.region, batch.person))
        mask = region_masks(region, x.shape[2:], self.regions)
        tops = mask[:, 0, :, 0].argmax(1)
        with autocast(self.options.precision):
            x1, x2 = self.network(x, before, after, mask)
        teaching = self._teach(x, x2.detach(), tops)
        with autocast(self.options.precision):  # a new one: the old one keeps the discriminators' weights of before
            whole, local = self.discriminators(x2, tops)
            logits = self.scorer.logits(x2)
        terms = {
            "reconstruction": losses.reconstruction(x, x1, x2, mask),
            "adversarial_whole": self.options.adversarial * losses.adversarial(whole),
            "adversarial_local": self.options.adversarial * losses.adversarial(local),
            "identity": self.options.identity * losses.identity(logits, person),
        }
        loss = torch.stack(list(terms.values())).sum()
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        self.step += 1
        return {name: value.detach() for name, value in {"loss": loss, **terms, "discriminators": teaching}.items()}

    def _teach(self, x: Tensor, completed: Tensor, tops: Tensor) -> Tensor:
        """A step of the discriminators, before they judge the generators."""
        with autocast(self.options.precision):
            real, made = self.discriminators(x, tops), self.discriminators(completed, tops)
        loss = sum(losses.discriminator_loss(*pair) for pair in zip(real, made))
        self.teacher.zero_grad(set_to_none=True)
        loss.backward()
        self.teacher.step()
        return loss

    def _save(self, folder: Path, identity: str) -> None:
        state = {name: part.state_dict() for name, part in self.changing.items()}
        state |= {"identity": identity, "step": self.step, "history": self.history, "sums": self.sums}
        state["seconds"] = self.seconds
        checkpoints.save(folder, self.step, state)

    def _resume(self, folder: Path, identity: str) -> None:
        found = checkpoints.resume(folder, identity)
        if found is None:
            return
        for name, part in self.changing.items():
            part.load_state_dict(found[name])
        self.step, self.history, self.seconds = found["step"], found["history"], found["seconds"]
        self.sums = {name: value.to(device()) for name, value in found["sums"].items()}
        print(f"resumed after step {self.step}", file=sys.stderr)


def train_completion(
    regions_path: Path,
    spec_path: Path,
    weights_path: Path,
    index_path: Path,
    root: Path,
    dataset: str,
    options: Mapping[str, Any],
    out: Path,
    manifest: Path | None = None,
    stored_size: tuple[int, int] | None = None,
    workers: int = 0,
) -> None:
    """Train on the training split and write weights.pt, history.csv and completion.json into the folder `out`.

    The run of `spec_path` and `weights_path` is the ID guider. `manifest` stands for the pixels of a dataset that is
    made.
    """
    started = datetime.datetime.now(datetime.UTC)
    chosen = build(Options, options, "training")
    scorer = Scorer(spec_path, weights_path)
    torch.use_deterministic_algorithms(device().type == "cpu")
    # Nothing here reads memory that was not written, and filling it costs a fifth of the time.
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.set_num_threads(scorer.spec.training.threads)
    trainer = _trainer(regions_path, index_path, FrameReader(root, *scorer.size, stored_size), scorer, chosen, workers)
    code = provenance.code_digest("vreid.completion.train", f"vreid.models.{scorer.spec.method}")
    inputs = {"index": index_path, "regions": regions_path, "scorer": weights_path, "manifest": manifest}
    digests = {name: provenance.file_digest(path) for name, path in inputs.items() if path}
    settings = json.dumps(dataclasses.asdict(chosen), sort_keys=True)
    kind = [precision(chosen.precision), device().type]
    identity = " ".join([settings, scorer.spec.digest, code, *digests.values(), *kind])
    with only_writer(out):
        trainer.run(out / "resume", identity)
        _write(out, trainer, dataset, provenance.is_rendered(manifest), code, digests, started)
        shutil.rmtree(out / "resume", ignore_errors=True)


def _write(
    out: Path,
    trainer: CompletionTrainer,
    dataset: str,
    rendered: bool,
    code: str,
    digests: dict[str, str],
    started: datetime.datetime,
) -> None:
    scorer, chosen = trainer.scorer, trainer.options
    commit, dirty = provenance.commit()
    record = {
        "dataset": dataset,
        "rendered": rendered,
        "held_out": trainer.errors(),
        "held_out_frames": len(trainer.held_out.samples.frame),
        "training_frames": len(trainer.training.samples.frame),
        "options": dataclasses.asdict(chosen),
        "regions": trainer.regions,
        "size": list(scorer.size),
        "scorer": {"model": scorer.spec.model, "seed": scorer.spec.seed, "spec_digest": scorer.spec.digest},
        "code_digest": code,
        "inputs": digests,
        "commit": commit,
        "dirty": dirty,
        "device": device_name(),
        "precision": precision(chosen.precision),
        "threads": scorer.spec.training.threads,
        "host_cpu": provenance.cpu_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seconds": round(trainer.seconds, 2),
        "steps": trainer.step,
        "parameters": _count(trainer.network),
        "parameters_of_discriminators": _count(trainer.discriminators),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    with written_whole(out / "history.csv") as aside:
        pd.DataFrame(trainer.history).to_csv(aside, index=False)
    with written_whole(out / "completion.json") as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
    with written_whole(out / "weights.pt") as aside:
        torch.save({key: value.cpu() for key, value in trainer.network.state_dict().items()}, aside)


def _trainer(
    regions_path: Path, index_path: Path, reader: FrameReader, scorer: Scorer, options: Options, workers: int
) -> CompletionTrainer:
    if scorer.size[0] % 4 or scorer.size[1] % 4:
        raise InputError(f"clips.height, clips.width: {scorer.size} of the scorer are no multiples of 4")
    table = read_tracklets(index_path)
    occluded = of_tracklets(read_regions(regions_path, "occluded"), table, "occluded", regions_path) == 1
    own = table["split"] == "train"
    occluded = occluded[np.repeat(own.to_numpy(), table["num_frames"])]
    table = table[own].reset_index(drop=True)
    people, pids = pd.factorize(table["pid"], sort=True)
    if len(pids) != scorer.people:
        raise InputError(
            f"{index_path}: {len(pids)} people in the split `train`, but the scorer was trained on {scorer.people}; "
            "take a run that was trained on this dataset"
        )
    regions = occluded.shape[1]
    learnt, held = split_samples(samples(table["num_frames"].to_numpy(), occluded), len(table), options)
    for what, some in {"to train on": learnt, "to hold out": held}.items():
        if not len(some.frame):
            raise InputError(f"{regions_path}: no frame {what} is unoccluded and has an unoccluded neighbour")
    torch.manual_seed(options.seed)
    network = CompletionNetwork(options.width, options.attention_scale)
    discriminators = Discriminators(options.width, scorer.size, regions)
    for part in (network, discriminators):
        part.to(device(), memory_format=torch.channels_last)
    names = table["frames"].tolist()
    training = Batches(names, people, learnt, reader, drawn(len(learnt.frame), regions, options))
    held_out = Batches(names, people, held, reader, in_order(len(held.frame), regions, options.batch))
    count = -(-len(held.frame) // options.batch)
    return CompletionTrainer(options, regions, scorer, network, discriminators, training, held_out, count, workers)


def _count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())
