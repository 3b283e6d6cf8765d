"""The training loop that every method goes through.

A training is a function of its spec, its data and its code: step s sees what (seed, s) gives, so that one killed at
any moment goes on from its last checkpoint and ends with the weights of an uninterrupted one.
"""

import datetime
import json
import platform
import shutil
import sys
import time
from dataclasses import dataclass, field
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
from vreid.embed import autocast, device, features, precision, test_tracklets, to_network
from vreid.errors import InputError
from vreid.files import written_whole
from vreid.metrics import PROTOCOLS, evaluate_features
from vreid.models import method as methods
from vreid.progress import Progress
from vreid.spec import Spec, Training

CHECKPOINT_SECONDS = 15.0  # at most so much work is lost, beside the epoch that was running


def learning_rate(step: int, steps: int, spec: Training) -> float:
    """Linear warm-up, then × `decay` at each milestone; both stand at fractions of the whole training."""
    done = step / steps
    decayed = spec.lr * spec.decay ** sum(done >= milestone for milestone in spec.milestones)
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
        self.steps_per_epoch = clips.steps_per_epoch(len(pids), spec.training)
        self.batches = clips.TrainingBatches(train["frames"], people, reader, spec, method.train_clips)
        self.pids = torch.from_numpy(people).to(device())
        self.attributes = {}
        vocabulary = attributes.vocabulary_of(train.columns, source) if set(train) > set(COLUMNS) else None
        for group in ("irrelevant", "relevant") if vocabulary else ():
            targets, annotated = attributes.targets(train, vocabulary, group)
            self.attributes[group] = torch.tensor(targets).to(device()), torch.tensor(annotated).to(device())
        self.population = methods.Population(len(pids), {g: t.shape[1] for g, (t, _) in self.attributes.items()})

    def labels(self, tracklets: Tensor) -> methods.Labels:
        rows = tracklets.to(device())
        chosen = {group: (targets[rows], annotated[rows]) for group, (targets, annotated) in self.attributes.items()}
        return methods.Labels(self.pids[rows], chosen)


@dataclass
class State:
    """What changes while a training runs; all of it is in a checkpoint."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    def save(self, folder: Path, run: str) -> None:
        state = {
            "run": run,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "history": self.history,
            "seconds": self.seconds,
        }
        checkpoints.save(folder, self.step, state)

    def resume(self, folder: Path, run: str) -> None:
        """Go on from the newest whole checkpoint of the same run (spec, data and code); else start afresh."""
        found = checkpoints.load_newest(folder)
        if found is None or found["run"] != run:
            shutil.rmtree(folder, ignore_errors=True)
            return
        self.network.load_state_dict(found["network"])
        self.optimiser.load_state_dict(found["optimiser"])
        self.step, self.history, self.seconds = found["step"], found["history"], found["seconds"]
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
) -> None:
    """Train one run and write weights.pt, history.csv and train.json into the folder `out`."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    started = datetime.datetime.now(datetime.UTC)
    spec = Spec.load(spec_path)
    torch.set_num_threads(spec.training.threads)
    protocols = [protocol for protocol in PROTOCOLS if protocol.name == headline]
    torch.manual_seed(spec.seed)
    method = methods.load(spec.method)
    options = method.settings(spec)
    table = read_tracklets(index_path)
    reader = FrameReader(root, spec.clips.height, spec.clips.width, stored_size)
    data = TrainingData(table, index_path, reader, spec, method)
    tested = test_tracklets(table, index_path)
    network = method.network(options, spec, data.population, trunk_weights)
    network.to(device(), memory_format=torch.channels_last)
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    optimiser = torch.optim.Adam(weights, lr=spec.training.lr, weight_decay=spec.training.weight_decay)
    state = State(network, optimiser)
    code = provenance.code_digest("vreid.train", f"vreid.models.{spec.method}")
    inputs = [provenance.file_digest(path) for path in (index_path, trunk_weights) if path]
    run = " ".join([spec.digest, code, *inputs, precision(spec.training.precision), device().type])
    folder = out / "resume"
    state.resume(folder, run)

    def validate() -> dict[str, float]:
        found = features(network, method, tested, reader, spec, spec.clips.validation_clips, workers)
        queries = (tested["split"] == "query").to_numpy()
        pids, camids = tested["pid"].to_numpy(), tested["camid"].to_numpy()
        try:
            scores = evaluate_features(found, pids, camids, queries, protocols=protocols)
        except ValueError as error:
            raise InputError(f"{index_path}: {error}; check the splits of the dataset") from None
        return {"mAP": scores[headline]["mAP"], "R1": scores[headline]["R1"]}

    _epochs(state, data, method, options, spec, folder, run, workers, validate)
    _write(out, state, spec, data, dataset, code, started)
    shutil.rmtree(folder, ignore_errors=True)


def _epochs(state, data, method, options, spec, folder, run, workers, validate) -> None:
    total = spec.training.epochs * data.steps_per_epoch
    progress = Progress(f"train {spec.model} seed {spec.seed}", total, state.step)
    batches = clips.load(data.batches, workers, range(state.step, total))
    began, before, saved = time.monotonic(), state.seconds, time.monotonic()
    while state.step < total:
        row = _epoch(state, data, batches, method, options, spec, total, progress)
        epoch = len(state.history) + 1
        if not np.isfinite(row["loss"]):
            raise FloatingPointError(f"{spec.model}: the loss is {row['loss']} in epoch {epoch}; lower `lr`")
        validated = epoch % spec.training.validate_every == 0 or state.step == total
        scores = validate() if validated else {}
        state.seconds = before + time.monotonic() - began
        row = {"epoch": epoch, "step": state.step, **row, "seconds": round(state.seconds, 2), **scores}
        state.history.append(row)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            state.save(folder, run)
            saved = time.monotonic()


def _epoch(state, data, batches, method, options, spec, total, progress) -> dict[str, float]:
    """One epoch; the sums stay on the device until its end, so that no step waits for it."""
    state.network.train()
    sums: dict[str, Tensor] = {}
    for _ in range(data.steps_per_epoch):
        rate = learning_rate(state.step, total, spec.training)
        for group in state.optimiser.param_groups:
            group["lr"] = rate
        frames, tracklets = next(batches)
        labels = data.labels(tracklets)
        with autocast(spec.training.precision):
            outputs = state.network(to_network(frames))
        terms = method.losses(outputs, labels, options)
        loss = torch.stack(list(terms.values())).sum()
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        state.optimiser.step()
        with torch.no_grad():
            terms["dvdp"] = losses.dvdp(losses.cosine_distances(outputs.feature), labels.pids)
        for name, value in {"loss": loss, **terms}.items():
            sums[name] = sums.get(name, 0) + value.detach()
        state.step += 1
        progress.step(note=f"epoch {len(state.history) + 1}")
    return {"lr": rate} | {name: float(value) / data.steps_per_epoch for name, value in sums.items()}


def _write(out: Path, state: State, spec: Spec, data: TrainingData, dataset, code, started) -> None:
    commit, dirty = provenance.commit()
    record = {
        "spec_digest": spec.digest,
        "code_digest": code,
        "commit": commit,
        "dirty": dirty,
        "model": spec.model,
        "recipe": spec.recipe,
        "seed": spec.seed,
        "train_dataset": dataset,
        "people": data.population.people,
        "attributes": dict(data.population.attributes),
        "device": torch.cuda.get_device_name() if device().type == "cuda" else "CPU",
        "precision": precision(spec.training.precision),
        "threads": spec.training.threads,
        "host_cpu": provenance.cpu_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seconds": round(state.seconds, 2),
        "steps": state.step,
        "parameters": sum(weight.numel() for weight in state.network.parameters()),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    with written_whole(out / "history.csv") as aside:
        pd.DataFrame(state.history).to_csv(aside, index=False)
    with written_whole(out / "train.json") as aside:
        aside.write_text(json.dumps(record, indent=2) + "\n")
    with written_whole(out / "weights.pt") as aside:
        torch.save({key: value.cpu() for key, value in state.network.state_dict().items()}, aside)
