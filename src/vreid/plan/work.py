"""What a job takes: steps, clips, and multiply-adds, which are counted without running a network (`vreid.cost`)."""

from dataclasses import asdict, replace
from functools import cache
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vreid.completion import cost as completion_cost
from vreid.completion.train import Options as CompletionOptions
from vreid.cost import clip_gmac, step_gmac
from vreid.data import clips
from vreid.data.tracklets import read_tracklets
from vreid.embed import TEST_SPLITS
from vreid.models import method as methods
from vreid.models.vrstc.regions import Options as RegionOptions
from vreid.plan.manifest import Dataset, Job, Manifest
from vreid.spec import Augment, Spec, Training, build, canonical


class Counts(NamedTuple):
    """What is known of a dataset; NaN, or no lengths, where it is not."""

    people: float  # of the train split
    tracklets: float  # of the train split
    frames: float  # of all splits
    lengths: np.ndarray | None  # frames of each test tracklet; all of one length where only their sum is known


class Work(NamedTuple):
    """What a job takes; NaN where its data is not known."""

    steps: float
    clips: float  # of all steps, or all test clips
    frames: int  # of a clip; a completion learns from frames with two others beside them
    step_gmac: float  # 10⁹ multiply-adds of a step, forwards and backwards; 0 of an embedding
    clip_gmac: float  # of a test clip; of a completion, of a frame whose regions are scored
    validated: float  # clips of all validations
    gmac: float  # of all; of a training without its validations if these are not known


class Workload:
    """The work of a manifest's jobs; datasets and networks are counted once."""

    def __init__(self, manifest: Manifest):
        self.manifest = manifest
        self.counts = cache(self._counted)
        self._gmac: dict[str, tuple[float, float]] = {}

    def _counted(self, name: str) -> Counts:
        """A completed dataset that is not there has the people and tracklets of the one that it is completed from."""
        data = self.manifest.dataset(name)
        is_there = Path(data.index).exists() or not data.completed_from
        return counted(data) if is_there else self.counts(data.completed_from)

    def of(self, job: Job) -> Work:
        spec, known = self.manifest.spec(job), self.counts(job.train)
        if job.completes:
            return self.completion(spec, known, self.manifest.dataset(job.completes))
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

    def completion(self, spec: Spec, counts: Counts, data: Dataset) -> Work:
        """Of the regions' scores and of the completion network's training."""
        if np.isnan(counts.people + counts.frames):
            return Work(*[np.nan] * len(Work._fields))
        options = build(CompletionOptions, data.completion, "manifest: completion")
        regions = build(RegionOptions, data.scoring, "manifest: scoring").regions
        step = completion_cost.step_gmac(options, spec, int(counts.people), regions)
        _, clip = self.gmac(spec, int(counts.people))
        frame = clip / spec.clips.frames
        gmac = options.steps * step + counts.frames * frame
        return Work(options.steps, options.steps * options.batch, 3, step, frame, 0, gmac)

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
        frames = float(table["num_frames"].sum())
        return Counts(train["pid"].nunique(), len(train), frames, tested["num_frames"].to_numpy(int))
    train, test = data.expect.get("train", {}), data.expect.get("test", {})
    tested = test.get("tracklets") or sum(data.expect.get(split, {}).get("tracklets", 0) for split in TEST_SPLITS)
    lengths = np.full(tested, test["frames"] / tested) if tested and "frames" in test else None
    frames = train.get("frames", np.nan) + test.get("frames", np.nan)
    return Counts(train.get("people", np.nan), train.get("tracklets", np.nan), frames, lengths)


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
