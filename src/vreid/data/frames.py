"""Frames: JPEG bytes → uint8 pixels."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vreid.data.jpeg import decoded
from vreid.data.pack import Packs
from vreid.errors import InputError

KEPT_BYTES = 2**27  # of decoded frames, by each reader
WORTH_KEEPING = 10_000  # frames of a rendered dataset; fewer, as of a real one, would hardly be asked for again


class FrameReader:
    """Reads frames of one dataset, or of its packs, which lie in `root` as *.pack, as uint8 (N, 3, height, width).

    A frame of another size is resized (DukeMTMC-VideoReID's differ from box to box), unless `stored_size` says what
    every frame of the dataset measures (MARS: 256×128): then it is an error, since something else than the dataset
    lies there. An undecodable frame is an error at once; it is not tried again.
    Small frames are kept decoded, up to 128 MiB of them.
    """

    def __init__(self, root: str | Path, height: int, width: int, stored_size: tuple[int, int] | None = None):
        packs = sorted(Path(root).glob("[!.]*.pack"))  # and not what a killed process left
        self.encoded = Packs(packs) if packs else Loose(Path(root))
        self.size = (height, width)
        self.stored_size = stored_size
        self._kept: dict[str, Tensor] = {}
        room = KEPT_BYTES // (3 * height * width)
        self._room = room if room >= WORTH_KEEPING else 0

    def __call__(self, names: Sequence[str]) -> Tensor:
        self.encoded.prefetch(name for name in names if name not in self._kept)
        frames = torch.empty(len(names), *self.size, 3, dtype=torch.uint8).permute(0, 3, 1, 2)  # as JPEGs are decoded
        for i, name in enumerate(names):
            frame = self._kept.get(name)
            if frame is None:
                frame = self._frame(name)
                if len(self._kept) < self._room:
                    self._kept[name] = frame
            frames[i] = frame
        return frames

    def _frame(self, name: str) -> Tensor:
        where = f"{self.encoded.where}/{name}"
        try:
            frame = decoded(self.encoded(name))
        except ValueError as error:
            raise InputError(f"{where}: {error}; {self.encoded.mend}") from None
        size = tuple(frame.shape[1:])
        if self.stored_size and size != self.stored_size:
            raise InputError(
                f"{where}: the frame is {size[0]}×{size[1]} pixels, but every frame of this dataset should be "
                f"{self.stored_size[0]}×{self.stored_size[1]}; {self.encoded.mend}, or correct its `frame_size`"
            )
        return frame if size == self.size else resized(frame, self.size)


class Loose:
    """Frames by name, each a file of its own below a folder."""

    mend = "unpack the dataset again"

    def __init__(self, root: Path):
        self.root = self.where = root

    def prefetch(self, names: Iterable[str]) -> None:
        """Nothing: each file would have to be opened."""

    def __call__(self, name: str) -> np.ndarray:
        """The bytes of a frame, uint8 (size,)."""
        path = self.root / name
        try:
            encoded = np.fromfile(path, dtype=np.uint8)
        except OSError as error:
            raise InputError(f"{path}: the frame cannot be read ({error.strerror}); index the dataset again") from None
        if not len(encoded):
            raise InputError(f"{path}: the frame is empty (0 bytes); unpack the dataset again")
        return encoded


def resized(frame: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 (3, h, w) → uint8 (3, *size), bilinear, smoothed where it shrinks."""
    scaled = interpolate(frame[None].float(), size, mode="bilinear", antialias=True)
    return scaled[0].round().clamp(0, 255).to(torch.uint8)
