"""The training loop that every method goes through.

A training is a function of its spec, its data and its code: step s sees what (seed, s) gives, so that one killed at
any moment goes on from its last checkpoint and ends with the weights of an uninterrupted one.
"""

import contextlib
import datetime
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from vreid import checkpoints, losses, provenance
from vreid.data import attributes, clips
from vreid.data.frames import FrameReader
from vreid.data.tracklets import COLUMNS, read_tracklets
from vreid.distances import DISTANCES, Distance
from vreid.embed import features, test_tracklets
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.hardware import autocast, device, device_name, precision, to_network
from vreid.locks import only_writer
from vreid.metrics import PROTOCOLS, evaluate_features
from vreid.models import method as methods
from vreid.progress import Progress
from vreid.spec import Spec, Training
from vreid.termination import Saving

HISTORY = ("epoch", "step", "lr", "loss", "dvdp", "spread", "seconds", "mAP", "R1")  # where no epoch says more
COLLAPSED = 1e-3  # a mean cosine distance between people below this tells nobody apart
SHRUNK = 0.1  # nor does one that is so small a share of what it was in the first epoch
PARKED = 0.02  # a loss whose median is no further than this from its value for equal features stands there
DRAWN_TOGETHER = 0.6  # and one that stays above it is no excuse for so small a share of the first epoch's distance
# So much work is lost at most, at the end of an epoch and within one. Being told to end is not enough: many clusters
# tell it to the first process of a job alone.
CHECKPOINT_SECONDS = 15.0
MIDWAY_SECONDS = 60.0


def learning_rate(step: int, steps: int, spec: Training) -> float:
    """Linear warm-up, then × `decay` at each milestone, or falling to × `decay` from the one milestone to the end.

    All stand at fractions of the whole training.
    """
    done, top = step / steps, spec.lr * spec.lr_scale
    if spec.schedule == "exponential":
        (start,) = spec.milestones
        decayed = top * spec.decay ** (max(0.0, done - start) / max(1 - start, 1e-9))
    else:
        decayed = top * spec.decay ** sum(done >= milestone for milestone in spec.milestones)
    if done >= spec.warmup:
        return decayed
    return decayed * (spec.warmup_from + (1 - spec.warmup_from) * done / spec.warmup)


class TrainingData:
    """The train split of an index: clips, and the labels of its tracklets, on the device."""

    def __init__(self, table: pd.DataFrame, source: object, reader: FrameReader, spec: Spec, method: methods.Method):
        train = table[table["split"] == "train"].reset_index(drop=True)
        people, pids = pd.factorize(train["pid"], sort=True)
        if len(pids) < 2:
            raise InputError(f"{source}: {len(pids)} people in the split `train`; a training needs at least two")
        tracklets = clips.TrainSet(people, train["camid"].to_numpy())
        cut = clips.chosen(clips.TRAIN_CLIPS, spec.clips.train, method.train_clips, "clips.train")
        self.steps_per_epoch = clips.steps_per_epoch(tracklets.size, len(tracklets.people), spec.training)
        self.batches = clips.TrainingBatches(train["frames"], tracklets, reader, spec, cut)
        self.pids = torch.from_numpy(people).to(device())
        self.attributes, known, shares = {}, {}, {}
        vocabulary = attributes.vocabulary_of(train.columns, source) if set(train) > set(COLUMNS) else None
        for group in ("irrelevant", "relevant") if vocabulary else ():
            targets, annotated = attributes.targets(train, vocabulary, group)
            self.attributes[group] = torch.tensor(targets).to(device()), torch.tensor(annotated).to(device())
            known[group] = vocabulary.group(group)
            if annotated.any():
                each = np.split(targets[annotated].mean(0), np.cumsum(list(known[group].values()))[:-1])
                shares |= zip(known[group], each)
        self.population = methods.Population(len(pids), known, shares)

    def labels(self, tracklets: Tensor) -> methods.Labels:
        rows = tracklets.to(device(), non_blocking=True)
        chosen = {group: (targets[rows], annotated[rows]) for group, (targets, annotated) in self.attributes.items()}
        return methods.Labels(self.pids[rows], chosen, self.population.attributes)


@dataclass
class Trainer:
    """One training: what it is made of, and what changes while it runs (`step` and below, all in a checkpoint)."""

    spec: Spec
    method: methods.Method
    options: Any
    data: TrainingData
    network: nn.Module
    optimiser: torch.optim.Optimizer
    validate: Callable[[nn.Module], dict[str, float]]
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, Tensor] = field(default_factory=dict)  # of the epoch that is running
    seconds: float = 0.0
    stepped: float = 0.0  # those of all steps, without validations
    waited: float = 0.0  # and those of them in which the processor had no batch; a GPU may have had work left

    @property
    def steps(self) -> int:
        return self.spec.training.epochs * self.data.steps_per_epoch

    def run(self, folder: Path, identity: str, workers: int) -> None:
        """Train to the end; checkpoints go to `folder`, and only one of the same `identity` is gone on from.

        Told to end, it writes a checkpoint between two steps and exits.
        """
        self._resume(folder, identity)
        progress = Progress(f"train {self.spec.model} seed {self.spec.seed}", self.steps, self.step)
        batches = clips.load(self.data.batches, workers, range(self.step, self.steps))
        began = time.monotonic()
        before = self.seconds

        def save() -> None:
            self.seconds = before + time.monotonic() - began
            self._save(folder, identity)

        with contextlib.closing(batches), Saving(save) as saving:
            while len(self.history) < self.spec.training.epochs:
                self.history.append(self._epoch(batches, progress, saving))
                self.seconds = before + time.monotonic() - began
                self.history[-1]["seconds"] = round(self.seconds, 2)
                if "mAP" in self.history[-1] and 2 * self.step >= self.steps:
                    self._refuse_collapse()
                saving.unless_within(CHECKPOINT_SECONDS)
        self._refuse_collapse()  # of a training resumed at its end, too

    def _epoch(self, batches: Iterator[clips.Batch], progress: Progress, saving: Saving) -> dict[str, Any]:
        """One epoch, as a row of the history; the sums stay on the device until its end: no step waits for it."""
        epoch = len(self.history) + 1
        if not self.sums:  # so that a network with dropout resumes exactly too
            torch.manual_seed(1_000_003 * self.spec.seed + epoch)
        self.network.train()
        for _ in range(epoch * self.data.steps_per_epoch - self.step):
            rate = learning_rate(self.step, self.steps, self.spec.training)
            asked = time.monotonic()
            batch = next(batches)
            there = time.monotonic()
            for name, value in self.take_step(batch, rate).items():
                self.sums[name] = self.sums.get(name, 0) + value
            self.waited += there - asked
            self.stepped += time.monotonic() - asked
            saving.check()
            saving.unless_within(MIDWAY_SECONDS)
            progress.step(note=f"epoch {epoch}")
        asked = time.monotonic()
        means = {name: float(value) / self.data.steps_per_epoch for name, value in self.sums.items()}
        self.stepped += time.monotonic() - asked  # until the device is done with the steps
        if not np.isfinite(means["loss"]):
            raise InputError(
                f"models.{self.spec.model}: the loss is {means['loss']} in epoch {epoch}; lower `training.lr`"
            )
        validated = epoch % self.spec.training.validate_every == 0 or self.step == self.steps
        with saving.at_once():
            scores = self.validate(self.network) if validated else {}
        self.sums = {}
        rate = learning_rate(self.step - 1, self.steps, self.spec.training)
        return {"epoch": epoch, "step": self.step, "lr": rate, **means, "seconds": None, **scores}

    def take_step(self, batch: clips.Batch, rate: float) -> dict[str, Tensor]:
        """One step; returns the loss, its terms, and the batch's DVDP."""
        labels = self.data.labels(batch.tracklets)
        with autocast(self.spec.training.precision):
            outputs = self.network(to_network(batch.clips))
        terms = self.method.losses(outputs, labels, self.options)
        if taken := terms.keys() & set(HISTORY):
            raise InputError(f"models.{self.spec.model}: a term of its loss may not be named {taken.pop()!r}")
        loss = torch.stack(list(terms.values())).sum()
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["share"]
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        if self.method.remember:
            self.method.remember(self.network, outputs, labels)
        self.step += 1
        distances = losses.cosine_distances(outputs.feature.detach())
        pair = losses.intra_class_pair(distances, labels.pids)
        gap = losses.intra_class_gap(distances, pair)
        dvdp = torch.where(pair.valid.any(), gap, torch.nan)  # with K < 3 there is none
        seen = {"dvdp": dvdp, "spread": losses.spread(distances, labels.pids)}
        return {name: value.detach() for name, value in {"loss": loss, **terms, **seen}.items()}

    def _refuse_collapse(self) -> None:
        """A training that makes features alike, or whose metric loss never leaves their value, is no result.

        Hard mining comes to that value from above, and on hard data may stay above or leave it late. So over the second
        half of what there is, a loss is refused that is not below the value while people are drawn together; and at
        the end of the training one that stands at it while they are no further apart than in the first epoch.
        """
        last = self.history[-1] if self.history else {}
        recent = self.history[len(self.history) // 2 :] if len(self.history) >= 6 else []  # a shorter one may pass by
        first = self.history[0].get("spread", 0) if recent else 0
        where = f"models.{self.spec.model}: the training has collapsed by epoch {len(self.history)}"
        mend = "lower `training.lr`, or warm up longer"
        if last.get("spread", 1.0) < max(COLLAPSED, SHRUNK * first):
            raise InputError(f"{where}, different people are at mean cosine distance {last['spread']:.1e}; {mend}")
        apart = float(np.median([epoch["spread"] for epoch in recent])) if recent else 0.0
        for term, alike in self.method.collapsed(self.options).items():
            # A model may do without the term; and with a margin of 0, equal features cost nothing, as good ones do.
            values = [epoch[term] / alike for epoch in recent if alike and term in epoch] or [0.0]
            parked = abs(float(np.median(values)) - 1) <= PARKED and apart <= first
            drawn_together = min(values) >= 1 and apart < DRAWN_TOGETHER * first
            if drawn_together or (parked and self.step == self.steps):
                stands = f"the term `{term}` stands at {last[term]:.4f}, where equal features give {alike:.4f}"
                distance = f"people are at mean cosine distance {apart:.2g}, after {first:.2g} at first"
                raise InputError(f"{where}, {stands}, and {distance}; {mend}")

    def _save(self, folder: Path, identity: str) -> None:
        state = {
            "identity": identity,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "history": self.history,
            "sums": self.sums,
            "random": random_state(),
            "seconds": self.seconds,
            "stepped": self.stepped,
            "waited": self.waited,
        }
        checkpoints.save(folder, self.step, state)

    def _resume(self, folder: Path, identity: str) -> None:
        found = checkpoints.resume(folder, identity)
        if found is None:
            return
        self.network.load_state_dict(found["network"])
        self.optimiser.load_state_dict(found["optimiser"])
        self.step, self.history = found["step"], found["history"]
        self.seconds, self.stepped, self.waited = found["seconds"], found["stepped"], found["waited"]
        self.sums = {name: value.to(device()) for name, value in found["sums"].items()}
        set_random_state(found["random"])
        print(f"resumed after epoch {len(self.history)}, step {self.step}", file=sys.stderr)


def train(
    spec_path: Path,
    index_path: Path,
    root: Path,
    dataset: str,
    headline: str,
    out: Path,
    trunk_weights: Path | None = None,
    stored_size: tuple[int, int] | None = None,
    workers: int = 0,
    manifest: Path | None = None,
) -> None:
    """Train one run and write weights.pt, history.csv and train.json into the folder `out`.

    It goes on from a checkpoint only if spec, data, trunk weights, code, precision and kind of device are the same.
    `manifest` stands for the pixels of a dataset that is made, which the index says nothing of; a filmed one has none.
    """
    torch.use_deterministic_algorithms(device().type == "cpu")  # on a GPU some have no such form
    torch.utils.deterministic.fill_uninitialized_memory = False  # nothing here reads such memory; filling it costs 5 %
    started = datetime.datetime.now(datetime.UTC)
    spec = Spec.load(spec_path)
    torch.set_num_threads(spec.training.threads)
    torch.manual_seed(spec.seed)
    method = methods.load(spec.method)
    options = method.settings(spec)
    table = read_tracklets(index_path)
    reader = FrameReader(root, spec.clips.height, spec.clips.width, stored_size)
    data = TrainingData(table, index_path, reader, spec, method)
    tested = test_tracklets(table, index_path)

    def validate(network: nn.Module) -> dict[str, float]:
        found = features(network, method, tested, reader, spec, spec.clips.validation_clips, workers).features
        if method.finish:
            found = method.finish(found, options, None)
        distance = partial(DISTANCES[method.distance], **method.parameters(network, options))
        return validation_scores(found, tested, headline, distance, index_path)

    network = method.network(options, spec, data.population, trunk_weights)
    network.to(device(), memory_format=torch.channels_last)
    trainer = Trainer(spec, method, options, data, network, optimiser_of(network, spec.training), validate)
    code = provenance.code_digest("vreid.train", f"vreid.models.{spec.method}")
    inputs = {"index": index_path, "manifest": manifest, "trunk_weights": trunk_weights}
    digests = {name: provenance.file_digest(path) for name, path in inputs.items() if path}
    kind = [headline, precision(spec.training.precision), device().type]
    identity = " ".join([spec.digest, code, *digests.values(), *kind])
    with only_writer(out):
        trainer.run(out / "resume", identity, workers)
        _write(out, trainer, dataset, provenance.is_rendered(manifest), code, digests, started)
        shutil.rmtree(out / "resume", ignore_errors=True)


def random_state() -> dict[str, Tensor]:
    """That of torch's generators, of which a network with dropout draws."""
    state = {"cpu": torch.get_rng_state()}
    return state | {"cuda": torch.cuda.get_rng_state()} if device().type == "cuda" else state


def set_random_state(state: dict[str, Tensor]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"])


def optimiser_of(network: nn.Module, spec: Training) -> torch.optim.Optimizer:
    """Adam or SGD over what is learned; each group's `share` of the learning rate is 1, or `trunk_rate`."""
    learned = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
    trunk = [weight for name, weight in learned if name.startswith("trunk.")]
    rest = [weight for name, weight in learned if not name.startswith("trunk.")]
    groups = [{"params": rest, "share": 1.0}, {"params": trunk, "share": spec.trunk_rate}]
    # One operation for all weights, and not some for each.
    settings = {"lr": spec.lr, "weight_decay": spec.weight_decay, "fused": True}
    if spec.optimiser == "adam":
        return torch.optim.Adam(groups, **settings)
    return torch.optim.SGD(groups, **settings, momentum=spec.momentum, nesterov=spec.optimiser == "nesterov")


def validation_scores(
    found: np.ndarray, tested: pd.DataFrame, headline: str, distance: Distance, source: object
) -> dict[str, float]:
    """mAP and R1 of features (N, D) under one protocol."""
    queries = (tested["split"] == "query").to_numpy()
    pids, camids = tested["pid"].to_numpy(), tested["camid"].to_numpy()
    protocols = [protocol for protocol in PROTOCOLS if protocol.name == headline]
    try:
        scores = evaluate_features(found, pids, camids, queries, protocols=protocols, distance=distance)[headline]
    except ValueError as error:
        raise InputError(f"{source}: {error}; check the splits of the dataset") from None
    return {"mAP": scores["mAP"], "R1": scores["R1"]}


def _write(
    out: Path,
    trainer: Trainer,
    dataset: str,
    rendered: bool,
    code: str,
    digests: dict[str, str],
    started: datetime.datetime,
) -> None:
    spec, population = trainer.spec, trainer.data.population
    commit, dirty = provenance.commit()
    record = {
        "spec_digest": spec.digest,
        "code_digest": code,
        "inputs": digests,
        "commit": commit,
        "dirty": dirty,
        "model": spec.model,
        "rendered": rendered,
        "recipe": spec.recipe,
        "seed": spec.seed,
        "train_dataset": dataset,
        "people": population.people,
        "attributes": population.attributes,
        "device": device_name(),
        "precision": precision(spec.training.precision),
        "threads": spec.training.threads,
        "host_cpu": provenance.cpu_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seconds": round(trainer.seconds, 2),
        "seconds_in_steps": round(trainer.stepped, 2),
        "seconds_waited": round(trainer.waited, 2),
        "steps": trainer.step,
        "validation_clips": spec.clips.validation_clips,
        "parameters": sum(weight.numel() for weight in trainer.network.parameters()),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    with written_whole(out / "history.csv") as aside:
        pd.DataFrame(trainer.history, columns=None if trainer.history else HISTORY).to_csv(aside, index=False)
    with written_whole(out / "train.json") as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
    with written_whole(out / "weights.pt") as aside:
        torch.save({key: value.cpu() for key, value in trainer.network.state_dict().items()}, aside)
