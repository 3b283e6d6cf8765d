"""Clips of T frames: which frames, of which tracklets, how augmented.

What step s of a training sees is a function of (seed, s) alone. So a resumed training needs no saved state of any
random generator, and the number of loader processes changes nothing.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
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


def dense_clips(order: np.ndarray, spec: Clips, most: int) -> np.ndarray:
    """All frames in clips of T: (clips, T), the last padded by repeating the last frame.

    Of a tracklet with more than `most` clips, `most` clips at even distances are taken.
    """
    clips = -(-len(order) // spec.frames)
    padded = np.concatenate([order, np.repeat(order[-1:], clips * spec.frames - len(order))])
    dense = padded.reshape(clips, spec.frames)
    return dense if clips <= most else dense[np.linspace(0, clips - 1, most).round().astype(int)]


# ---- which tracklets of a batch -------------------------------------------------------------------------------------


def steps_per_epoch(people: int, spec: Training) -> int:
    """Every person once an epoch; the last batch is filled up with people of the epoch's beginning."""
    return -(-people // spec.people)


def batch_tracklets(tracklets_of: Sequence[np.ndarray], spec: Training, seed: int, step: int) -> np.ndarray:
    """The P·K tracklets of a step: P people, K tracklets of each, side by side.

    `tracklets_of[person]` are a person's tracklets. Someone with fewer than K gives all of them, then repeats
    (other frames of the same tracklet), as few of each as possible; repeats count as other clips in the losses. With
    fewer people than P in all, people stand in a batch more than once.
    """
    epoch, place = divmod(step, steps_per_epoch(len(tracklets_of), spec))
    people = default_rng([seed, 1, epoch]).permutation(len(tracklets_of))
    chosen = np.resize(people, len(people) + spec.people)[place * spec.people :][: spec.people]
    rng = default_rng([seed, 2, step])
    return np.concatenate([np.resize(rng.permutation(tracklets_of[person]), spec.clips) for person in chosen])


# ---- augmentation ---------------------------------------------------------------------------------------------------


def augment(frames: Tensor, spec: Augment, rng: Generator) -> Tensor:
    """Padded random crop, horizontal flip and random erasing of uint8 frames (N, 3, H, W), each frame on its own.

    Erasing (Zhong et al. 2020) covers 2–40 % of the frame, aspect 0.3–3.3, with the ImageNet mean.
    """
    n, _, h, w = frames.shape
    top, left = rng.integers(0, 2 * spec.pad + 1, (2, n, 1))
    columns = np.where(rng.random((n, 1)) < spec.flip, np.arange(w)[::-1], np.arange(w)) + left
    rows = np.arange(h) + top
    padded = torch.nn.functional.pad(frames, (spec.pad,) * 4)
    index = (
        torch.arange(n)[:, None, None],
        slice(None),
        torch.from_numpy(rows)[:, :, None],
        torch.from_numpy(columns)[:, None],
    )
    cropped = padded[index].permute(0, 3, 1, 2)  # (N, H, W, 3) in memory: channels last
    erased = torch.from_numpy(_rectangles(n, h, w, rng) & (rng.random((n, 1, 1)) < spec.erase))
    mean = (torch.tensor(IMAGENET_MEAN) * 255).round().to(torch.uint8)[:, None, None]
    return torch.where(erased[:, None], mean, cropped)


def _rectangles(n: int, h: int, w: int, rng: Generator) -> np.ndarray:
    """One random rectangle a frame, as masks (n, h, w); one that would not fit is clipped to the frame's side."""
    area = rng.uniform(0.02, 0.4, n) * h * w
    aspect = np.exp(rng.uniform(np.log(0.3), np.log(3.3), n))
    height = np.clip(np.sqrt(area * aspect).round().astype(int), 1, h)
    width = np.clip(np.sqrt(area / aspect).round().astype(int), 1, w)
    top, left = rng.integers(0, h - height + 1), rng.integers(0, w - width + 1)
    y, x = np.arange(h)[None, :, None], np.arange(w)[None, None, :]
    inside_rows = (y >= top[:, None, None]) & (y < (top + height)[:, None, None])
    return inside_rows & (x >= left[:, None, None]) & (x < (left + width)[:, None, None])


def normalise(frames: Tensor) -> Tensor:
    """uint8 frames (…, 3, H, W) → float32 by ImageNet's mean and deviation, on the frames' own device."""
    mean = torch.tensor(IMAGENET_MEAN, device=frames.device)[:, None, None]
    std = torch.tensor(IMAGENET_STD, device=frames.device)[:, None, None]
    return (frames.float() / 255 - mean) / std


# ---- batches --------------------------------------------------------------------------------------------------------


class Batch(NamedTuple):
    clips: Tensor  # (B, T, 3, H, W) uint8
    tracklets: Tensor  # (B,) the row of the table that each clip is of


class TrainingBatches(Dataset):
    """Item s is the whole batch of step s. `people` (N,) are the tracklets' people, numbered from 0."""

    def __init__(self, templates: Sequence[str], people: np.ndarray, reader: FrameReader, spec: Spec, choose: Callable):
        self.templates, self.reader, self.spec, self.choose = list(templates), reader, spec, choose
        self.tracklets_of = [np.flatnonzero(people == person) for person in range(people.max() + 1)]

    def __getitem__(self, step: int) -> Batch:
        spec = self.spec
        tracklets = batch_tracklets(self.tracklets_of, spec.training, spec.seed, step)
        rng = default_rng([spec.seed, 3, step])
        names = []
        for tracklet in tracklets:
            template = self.templates[tracklet]
            frames = expand_frames(template)
            order = frame_order(len(frames), spec.clips, template)
            names += [frames[i] for i in self.choose(order, spec.clips, rng)]
        frames = augment(self.reader(names), spec.augment, rng)
        return Batch(frames.unflatten(0, (len(tracklets), -1)), torch.from_numpy(tracklets))


class EmbeddingBatches(Dataset):
    """All test clips of a table, `clips_per_batch` at a time; short and long tracklets share batches."""

    def __init__(
        self,
        templates: Sequence[str],
        reader: FrameReader,
        spec: Clips,
        choose: Callable,
        most: int,
        clips_per_batch: int = 32,
    ):
        self.reader, self.size = reader, clips_per_batch
        self.names = [expand_frames(template) for template in templates]
        orders = [frame_order(len(names), spec, template) for names, template in zip(self.names, templates)]
        clips = [choose(order, spec, most) for order in orders]
        self.tracklet = np.repeat(np.arange(len(clips)), [len(c) for c in clips])
        self.frames = np.concatenate(clips)

    def __len__(self) -> int:
        return -(-len(self.tracklet) // self.size)

    def __getitem__(self, batch: int) -> Batch:
        part = slice(batch * self.size, (batch + 1) * self.size)
        tracklets, frames = self.tracklet[part], self.frames[part]
        names = [self.names[t][i] for t, clip in zip(tracklets, frames) for i in clip]
        return Batch(self.reader(names).unflatten(0, frames.shape), torch.from_numpy(tracklets))


def load(batches: Dataset, workers: int, items: range | None = None) -> Iterator[Batch]:
    """The given `items` of `batches` (by default all), in order, read ahead by `workers` processes."""
    pin = torch.cuda.is_available()
    loader = DataLoader(batches, batch_size=None, sampler=items, num_workers=workers, pin_memory=pin)
    try:
        yield from loader
    except InputError as error:  # of a process: its message comes wrapped in a traceback
        raise InputError(str(error).rpartition("InputError: ")[2].strip()) from None
