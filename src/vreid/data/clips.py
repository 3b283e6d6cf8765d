"""Clips of T frames: which frames, of which tracklets, how augmented.

What step s of a training sees is a function of (seed, s) alone. So a resumed training needs no saved state of any
random generator, and the number of loader processes changes nothing.
"""

import signal
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.random import Generator, default_rng
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vreid.data.frames import FrameReader
from vreid.data.tracklets import expand_frames
from vreid.errors import InputError
from vreid.spec import Augment, Clips, Spec, Training

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
FILL = np.round(255 * np.array(IMAGENET_MEAN)).astype(np.uint8)  # what erasing leaves
TOLD_SECONDS = 30  # from being told to end to ending


# ---- which frames of a tracklet -------------------------------------------------------------------------------------


def frame_order(num_frames: int, spec: Clips, tracklet: str) -> np.ndarray:
    """The order in which a tracklet's frames are cut into clips: (num_frames,) indices.

    `shuffled` permutes them once and for all, as the released code does; the permutation depends on the name of the
    `tracklet` alone, not on its place in a table.
    """
    if spec.order == "consecutive":
        return np.arange(num_frames)
    return default_rng(zlib.crc32(tracklet.encode())).permutation(num_frames)


def random_clip(order: np.ndarray, spec: Clips, rng: Generator) -> np.ndarray:
    """T successive entries of `order` from a random start; one shorter than T is padded by repeating its frames."""
    if len(order) < spec.frames:
        return np.resize(order, spec.frames)
    start = rng.integers(len(order) - spec.frames + 1)
    return order[start : start + spec.frames]


def random_frames(order: np.ndarray, spec: Clips, rng: Generator) -> np.ndarray:
    """T frames from anywhere in the tracklet, in its order; one shorter than T is padded by repeating its frames."""
    if len(order) < spec.frames:
        return np.resize(order, spec.frames)
    return order[np.sort(rng.choice(len(order), spec.frames, replace=False))]


def chunk_frames(order: np.ndarray, spec: Clips, rng: Generator) -> np.ndarray:
    """One random frame of each of T chunks of equal length, the last padded by repeating the last frame."""
    chunks = _chunks(order, spec.frames)
    return chunks[np.arange(spec.frames), rng.integers(chunks.shape[1], size=spec.frames)]


def dense_clips(order: np.ndarray, spec: Clips, most: int) -> np.ndarray:
    """All frames in clips of T: (clips, T), the last padded by repeating the last frame.

    The clips stand side by side, or `stride` frames apart. Of a tracklet with more than `most` clips, `most` clips at
    even distances are taken.
    """
    stride = spec.stride or spec.frames
    clips = 1 + max(0, -(-(len(order) - spec.frames) // stride))
    padded = np.concatenate([order, np.repeat(order[-1:], max(0, (clips - 1) * stride + spec.frames - len(order)))])
    starts = np.arange(clips) if clips <= most else np.linspace(0, clips - 1, most).round().astype(int)
    return padded[starts[:, None] * stride + np.arange(spec.frames)]


def first_of_chunks(order: np.ndarray, spec: Clips, most: int) -> np.ndarray:
    """One clip a tracklet, of the first frame of each of T chunks: (1, T)."""
    return _chunks(order, spec.frames)[None, :, 0]


def spread_frames(order: np.ndarray, spec: Clips, most: int) -> np.ndarray:
    """One clip a tracklet, of T frames at even distances, the first and the last among them: (1, T)."""
    return order[np.linspace(0, len(order) - 1, spec.frames).round().astype(int)][None]


def whole_tracklet(order: np.ndarray, spec: Clips, most: int) -> np.ndarray:
    """One clip of all frames, at most as many as `most` clips have, at even distances: (1, frames)."""
    frames = min(len(order), most * spec.frames)
    return order[np.linspace(0, len(order) - 1, frames).round().astype(int)][None]


def _chunks(order: np.ndarray, chunks: int) -> np.ndarray:
    length = -(-len(order) // chunks)
    return np.concatenate([order, np.repeat(order[-1:], chunks * length - len(order))]).reshape(chunks, length)


# A clip to train on: (order, spec, rng) → (T,). Clips to test: (order, spec, most) → (clips, frames).
TRAIN_CLIPS = {"successive": random_clip, "random": random_frames, "chunks": chunk_frames}
TEST_CLIPS = {"dense": dense_clips, "chunks": first_of_chunks, "spread": spread_frames, "whole": whole_tracklet}


def chosen(rules: Mapping[str, Callable], asked: str, own: str, key: str) -> Callable:
    """The rule that a configuration asks for under `key`, or the method's own."""
    name = own if asked == "own" else asked
    if name not in rules:
        raise InputError(f"{key}: {name!r} is none of own, {', '.join(rules)}")
    return rules[name]


# ---- which tracklets of a batch -------------------------------------------------------------------------------------


class TrainSet(NamedTuple):
    """Who the training tracklets show: people, numbered from 0, and camids (N,)."""

    people: np.ndarray
    camids: np.ndarray

    def of(self, person: int) -> np.ndarray:
        return np.flatnonzero(self.people == person)

    @property
    def size(self) -> int:
        """Number of people."""
        return int(self.people.max()) + 1


def steps_per_epoch(people: float, tracklets: float, spec: Training) -> float:
    """Every person once an epoch, or every tracklet; the last batch is filled up with those of the beginning."""
    if spec.batch == "tracklets":
        return -(-tracklets // (spec.people * spec.clips))
    return -(-people // spec.people)


def most_clips(people: int, spec: Training) -> int:
    """So many clips of one of so many `people` can stand in a batch."""
    if spec.batch == "tracklets":
        return spec.people * spec.clips
    return spec.clips * -(-spec.people // people)


def batch_tracklets(tracklets: TrainSet, spec: Training, seed: int, step: int) -> np.ndarray:
    """The P·K tracklets of a step, (P·K,), as `spec.batch` says.

    `people`: P people, K tracklets of each, side by side. Someone with fewer than K gives all of them, then repeats
    (other frames of the same tracklet), as few of each as possible; repeats count as other clips in the losses. With
    fewer people than P in all, people stand in a batch more than once.
    `cameras`: the same, and neighbours in the batch are of different cameras as far as a person has them.
    `tracklets`: any P·K tracklets, each once an epoch.
    """
    epoch, place = divmod(step, steps_per_epoch(tracklets.size, len(tracklets.people), spec))
    if spec.batch == "tracklets":
        return _part(default_rng([seed, 1, epoch]).permutation(len(tracklets.people)), place, spec.people * spec.clips)
    people = _part(default_rng([seed, 1, epoch]).permutation(tracklets.size), place, spec.people)
    rng = default_rng([seed, 2, step])
    drawn = [rng.permutation(tracklets.of(person)) for person in people]
    if spec.batch == "cameras":
        drawn = [own[_by_turns(tracklets.camids[own])] for own in drawn]
    return np.concatenate([np.resize(own, spec.clips) for own in drawn])


def _part(order: np.ndarray, place: int, size: int) -> np.ndarray:
    return np.resize(order, len(order) + size)[place * size :][:size]


def _by_turns(camids: np.ndarray) -> np.ndarray:
    """An order in which each camera gives one, then each that has more gives a second, and so on."""
    turn = np.array([(camids[:i] == camid).sum() for i, camid in enumerate(camids)])
    return np.argsort(turn, kind="stable")


# ---- augmentation ---------------------------------------------------------------------------------------------------


def augment(frames: Tensor, spec: Augment, rng: Generator, clip: int = 1) -> Tensor:
    """Padded random crop, horizontal flip and random erasing of uint8 frames (N, 3, H, W).

    Each frame is changed on its own, or each `clip` successive frames alike where `spec.scope` is `clip`. Erasing
    (Zhong et al. 2020) covers 2–40 % of the frame, aspect 0.3–3.3, with the ImageNet mean.
    """
    n, _, h, w = frames.shape
    repeats = clip if spec.scope == "clip" else 1
    drawn = n // repeats
    top, left = rng.integers(0, 2 * spec.pad + 1, (2, drawn))
    flipped = rng.random(drawn) < spec.flip
    rectangles = _rectangles(drawn, h, w, rng)
    erased = rng.random(drawn) < spec.erase
    given = frames.permute(0, 2, 3, 1).numpy()
    padded = np.zeros((h + 2 * spec.pad, w + 2 * spec.pad, 3), np.uint8)
    inner = padded[spec.pad : spec.pad + h, spec.pad : spec.pad + w]
    changed = np.empty((n, h, w, 3), np.uint8)  # channels last, as the network wants them
    for i in range(n):  # and not all at once: a frame stays in the processor's cache
        draw = i // repeats
        inner[:] = given[i]
        cropped = padded[top[draw] :, left[draw] :][:h, :w]
        changed[i] = cropped[:, ::-1] if flipped[draw] else cropped
        if erased[draw]:
            changed[i][rectangles[draw]] = FILL
    return torch.from_numpy(changed).permute(0, 3, 1, 2)


def _rectangles(n: int, h: int, w: int, rng: Generator) -> list[tuple[slice, slice]]:
    """One random rectangle a frame, rows and columns; one that would not fit is clipped to the frame's side."""
    area = rng.uniform(0.02, 0.4, n) * h * w
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3), n))
    height = np.clip(np.sqrt(area * aspect).round().astype(int), 1, h)
    width = np.clip(np.sqrt(area / aspect).round().astype(int), 1, w)
    top, left = rng.integers(0, h - height + 1), rng.integers(0, w - width + 1)
    return [(slice(t, t + a), slice(l, l + b)) for t, a, l, b in zip(top, height, left, width)]


def normalise(frames: Tensor) -> Tensor:
    """uint8 frames (…, 3, H, W) → float32 by ImageNet's mean and deviation, on the frames' own device."""
    scale, shift = _statistics(frames.device)
    return (frames * scale).add_(shift)


@cache  # a tensor made anew for every batch would make the processor wait for the GPU
def _statistics(device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # or a training could not use it after a validation
        mean, std = torch.tensor([IMAGENET_MEAN, IMAGENET_STD])
        return torch.stack([1 / (255 * std), -mean / std])[:, :, None, None].to(device)


# ---- batches --------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    clips: Tensor  # (B, T, 3, H, W) uint8
    tracklets: Tensor  # (B,) the row of the table that each clip is of
    places: Tensor | None = None  # (B,) in testing: which of its tracklet's clips each is


class TrainingBatches(Dataset):
    """Item s is the whole batch of step s; `choose` cuts a clip, one of TRAIN_CLIPS."""

    def __init__(
        self, templates: Sequence[str], tracklets: TrainSet, reader: FrameReader, spec: Spec, choose: Callable
    ):
        self.templates, self.tracklets, self.reader = list(templates), tracklets, reader
        self.spec, self.choose = spec, choose

    def __getitem__(self, step: int) -> Batch:
        spec = self.spec
        tracklets = batch_tracklets(self.tracklets, spec.training, spec.seed, step)
        rng = default_rng([spec.seed, 3, step])
        names = []
        for tracklet in tracklets:
            template = self.templates[tracklet]
            frames = expand_frames(template)
            order = frame_order(len(frames), spec.clips, template)
            names += [frames[i] for i in self.choose(order, spec.clips, rng)]
        frames = augment(self.reader(names), spec.augment, rng, spec.clips.frames)
        return Batch(frames.unflatten(0, (len(tracklets), -1)), torch.from_numpy(tracklets))


class EmbeddingBatches(Dataset):
    """All test clips of a table; short and long tracklets share batches, and clips of one length stand together.

    A batch holds as many frames as `clips_per_batch` clips of T, but at least one clip; `choose` is one of TEST_CLIPS.
    """

    def __init__(
        self,
        templates: Sequence[str],
        reader: FrameReader,
        spec: Clips,
        choose: Callable,
        most: int,
        clips_per_batch: int = 32,
    ):
        self.reader = reader
        self.names = [expand_frames(template) for template in templates]
        orders = [frame_order(len(names), spec, template) for names, template in zip(self.names, templates)]
        clips = [(t, place, clip) for t, o in enumerate(orders) for place, clip in enumerate(choose(o, spec, most))]
        self.counts = np.bincount([t for t, _, _ in clips], minlength=len(orders))
        clips.sort(key=lambda clip: len(clip[2]))
        self.batches = [[]]
        for clip in clips:
            frames = [len(own) for *_, own in self.batches[-1]]
            if frames and (frames[0] != len(clip[2]) or sum(frames) + len(clip[2]) > clips_per_batch * spec.frames):
                self.batches.append([])
            self.batches[-1].append(clip)

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, batch: int) -> Batch:
        tracklets, places, clips = zip(*self.batches[batch])
        names = [self.names[t][i] for t, clip in zip(tracklets, clips) for i in clip]
        frames = self.reader(names).unflatten(0, (len(clips), -1))
        return Batch(frames, torch.tensor(tracklets), torch.tensor(places))


def load(batches: Dataset, workers: int, items: range | None = None) -> Iterator[Batch]:
    """The given `items` of `batches` (by default all), in order, read ahead by `workers` processes."""
    pin = torch.cuda.is_available()
    own = torch.Generator()  # a loader draws a number when it starts, which must not be one of the network's
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=items,
        num_workers=workers,
        pin_memory=pin,
        generator=own,
        worker_init_fn=_outlive,
    )
    try:
        yield from loader
    except InputError as error:  # of a process: its message comes wrapped in a traceback
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None


def _outlive(worker: int) -> None:
    """A cluster tells all processes of a job to end at once; these read on, for who saves first, but not for ever."""
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(TOLD_SECONDS))
