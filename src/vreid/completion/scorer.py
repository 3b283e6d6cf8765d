"""A finished run as a judge of frames: its trunk scores regions, its classifier guides the completion."""

from pathlib import Path

import torch
from torch import Tensor, nn

from vreid.data.clips import normalise
from vreid.embed import load_network, train_record
from vreid.errors import InputError
from vreid.hardware import autocast, device
from vreid.spec import Spec


class Scorer:
    """The network of a finished run, frozen. `people` is the number that it can tell apart."""

    def __init__(self, spec_path: Path, weights_path: Path):
        self.spec = Spec.load(spec_path)
        record = train_record(weights_path.with_name("train.json"), self.spec)
        self.people = record["people"]
        *_, self.network = load_network(self.spec, weights_path, record)
        if not isinstance(getattr(self.network, "trunk", None), nn.Module):
            raise InputError(f"{spec_path}: the method {self.spec.method!r} has no trunk to score regions with")
        self.network.eval().requires_grad_(False)
        self._try(spec_path)

    def _try(self, spec_path: Path) -> None:
        """InputError unless the network tells people apart by one frame."""
        try:
            found = self.logits(torch.zeros(1, 3, *self.size, device=device()))
        except RuntimeError:
            found = None
        if found is None or found.shape != (1, self.people):
            raise InputError(
                f"{spec_path}: the model {self.spec.model!r} cannot guide a completion; name as `scorer` one with an "
                "identity classifier that takes a clip of one frame, such as the baseline"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames that it was trained on."""
        return self.spec.clips.height, self.spec.clips.width

    def maps(self, frames: Tensor) -> Tensor:
        """uint8 frames (N, 3, H, W) → feature maps (N, C, h, w)."""
        with autocast(self.spec.training.precision):
            return self.network.trunk(normalise(frames.to(device())))

    def logits(self, frames: Tensor) -> Tensor:
        """Frames (B, 3, H, W) in [0, 1] → (B, people): each as a clip of one frame."""
        return self.network(normalise(255 * frames).unsqueeze(1)).logits
