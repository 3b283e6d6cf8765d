"""What a job takes: steps, clips, and multiply-adds, which are counted without running a network (`vreid.cost`)."""

from dataclasses import asdict, replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vreid.cost import clip_gmac, step_gmac
from vreid.data import clips
from vreid.data.tracklets import read_tracklets
from vreid.embed import TEST_SPLITS
from vreid.models import method as methods
from vreid.plan.manifest import Dataset, Job, Manifest
from vreid.spec import Augment, Spec, Training, canonical


class Counts(NamedTuple):
    """What is known of a dataset; NaN, or no lengths, where it is not."""

    people: float  # of the train split
    tracklets: float  # of the train split
    lengths: np.ndarray | None  # frames of each test tracklet; all of one length where only their sum is known


class Work(NamedTuple):
    """What a job takes; NaN where its data is not known."""

    steps: float
    clips: float  # of all steps, or all test clips
    frames: int  # of a clip
    step_gmac: float  # 10⁹ multiply-adds of a step, forwards and backwards; 0 of an embedding
    clip_gmac: float  # of a test clip
    validated: float  # clips of all validations
    gmac: float  # of all; of a training without its validations if these are not known


class Workload:
    """The work of a manifest's jobs; datasets and networks are counted once."""

    def __init__(self, manifest: Manifest):
        self.manifest = manifest
        self.counts = cache(lambda name: counted(manifest.dataset(name)))
        self._gmac: dict[str, tuple[float, float]] = {}

    def of(self, job: Job) -> Work:
        spec, known = self.manifest.spec(job), self.counts(job.train)
        tested = test_clips(spec, self.counts(job.test), spec.clips.test_clips) if job.test else 0.0
        if np.isnan(known.people + tested):
            return Work(*[np.nan] * len(Work._fields))
        if not job.test:
            return self.training(spec, int(known.people), steps(spec, known), known)
        _, each = self.gmac(spec, int(known.people))
        return Work(0, np.round(tested), spec.clips.frames, 0.0, each, 0, tested * each)

    def training(self, spec: Spec, people: int, steps: float, counts: Counts) -> Work:
        validations = ceil(spec.training.epochs / spec.training.validate_every)
        validated = validations and validations * test_clips(spec, counts, spec.clips.validation_clips)
        step, clip = self.gmac(spec, people)
        size = spec.training.people * spec.training.clips
        gmac = steps * step + float(np.nan_to_num(validated)) * clip
        return Work(steps, steps * size, spec.clips.frames, step, clip, validated, gmac)

    def gmac(self, spec: Spec, people: int) -> tuple[float, float]:
        """Of a step and of a test clip; counted once for specs that differ in what changes neither."""
        batch = Training(people=spec.training.people, clips=spec.training.clips)
        trunk = replace(spec.trunk, weights="none")
        bare = replace(spec, seed=0, recipe="", trained_as="", augment=Augment(), trunk=trunk, training=batch)
        key = canonical([asdict(bare) | {"model": ""}, people])
        if key not in self._gmac:
            self._gmac[key] = step_gmac(bare, people), clip_gmac(bare, people)
        return self._gmac[key]


def counted(data: Dataset) -> Counts:
    """From the index if it is there, else what is expected."""
    if Path(data.index).exists():
        table = read_tracklets(data.index)
        train, tested = (table[table["split"].isin(splits)] for splits in (["train"], TEST_SPLITS))
        return Counts(train["pid"].nunique(), len(train), tested["num_frames"].to_numpy(int))
    train, test = data.expect.get("train", {}), data.expect.get("test", {})
    tested = test.get("tracklets") or sum(data.expect.get(split, {}).get("tracklets", 0) for split in TEST_SPLITS)
    lengths = np.full(tested, test["frames"] / tested) if tested and "frames" in test else None
    return Counts(train.get("people", np.nan), train.get("tracklets", np.nan), lengths)


def steps(spec: Spec, counts: Counts) -> float:
    """Steps of the whole training."""
    epochs = spec.training.epochs
    return epochs and epochs * clips.steps_per_epoch(counts.people, counts.tracklets, spec.training)


def test_clips(spec: Spec, counts: Counts, most: int) -> float:
    """Clips of T frames that the test rule makes of all test tracklets; of other lengths, by their frames."""
    if counts.lengths is None:
        return np.nan
    choose = clips.chosen(clips.TEST_CLIPS, spec.clips.test, methods.load(spec.method).test_clips, "clips.test")
    lengths, times = np.unique(np.maximum(1, counts.lengths.round().astype(int)), return_counts=True)
    frames = [choose(np.arange(length), spec.clips, most).size for length in lengths]
    return float(np.dot(times, frames)) / spec.clips.frames
