"""Li et al., ICCV 2019, GLTR: a tracklet as a sequence of frame features, seen at short and at long range.

Frame features (T, 128) go through the dilated temporal pyramid, whose parallel convolutions each see three frames, r
apart, and then, side by side with what they make of them, through self-attention among frames. The mean over time is
the feature, by which tracklets are compared, before any neck: behind it branches that start at almost nothing would
count as much as the frames themselves. Any number of frames will do: a tracklet is tested in one pass. (Natively at the
Euclidean distance of features of unit length, which ranks as the cosine distance does.)
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vreid import losses
from vreid.errors import InputError
from vreid.models.baseline_loss import at_margin, softmax_and_triplet
from vreid.models.heads import BNNeck
from vreid.models.method import Labels, Method, Outputs, Population
from vreid.models.nonlocal_block import NonLocal
from vreid.models.trunk import build_trunk, head_width
from vreid.spec import Spec, within

FRAMES_AT_ONCE = 64  # through the trunk in testing: a long tracklet takes no more memory than so many frames


@dataclass(frozen=True)
class Options:
    """The sequence model, and the switches of a recipe, whose defaults are the unified one."""

    channels: int = 128  # of a frame's feature and of each branch; all together at most the trunk's
    dilations: tuple[int, ...] = (1, 2, 3)  # a branch each
    bnneck: bool = True  # or normalisation, ReLU, dropout and a linear layer, before which tracklets are compared
    dropout: float = 0.5  # of that head
    triplet: bool = False  # a batch-hard triplet loss beside the cross-entropy, which draws its features together
    margin: float = 0.3  # of the triplet loss
    label_smoothing: float = 0.0

    def __post_init__(self):
        within(self, "channels", at_least=1)
        if not self.dilations or min(self.dilations) < 1:
            raise InputError(f"dilations: {list(self.dilations)} must name at least one, each at least 1")
        within(self, "dropout", "label_smoothing", at_least=0, below=1)
        within(self, "margin", at_least=0)


class DilatedPyramid(nn.Module):
    """Sequences (B, T, D) → (B, T, D·(1 + branches)): the sequence itself, then one convolution over time a dilation.

    At frame t the branch of dilation r sees the frames t − r, t and t + r, with zeros beyond the ends. Branches have
    neither bias nor activation, and start at almost zero.
    """

    def __init__(self, channels: int, dilations: tuple[int, ...]):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel_size=3, padding=r, dilation=r, bias=False) for r in dilations
        )
        for branch in self.branches:
            nn.init.normal_(branch.weight, std=0.001)

    def forward(self, sequence: Tensor) -> Tensor:
        over_time = sequence.transpose(1, 2)  # (B, D, T)
        return torch.cat([over_time, *(branch(over_time) for branch in self.branches)], dim=1).transpose(1, 2)


class DropoutHead(nn.Module):
    """Features (B, D) → the same as embeddings, and logits (B, people) of what is left of them after dropout."""

    def __init__(self, channels: int, people: int, dropout: float):
        super().__init__()
        self.classifier = nn.Sequential(
            nn.BatchNorm1d(channels), nn.ReLU(), nn.Dropout(dropout), nn.Linear(channels, people)
        )
        nn.init.normal_(self.classifier[-1].weight, std=0.001)  # assumed, as is the zero bias
        nn.init.zeros_(self.classifier[-1].bias)

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        return feature, self.classifier(feature)


class Gltr(nn.Module):
    """Clips (B, T, 3, H, W) of any T → Outputs; features have 512 channels: a frame's, and three branches."""

    def __init__(self, options: Options, trunk: nn.Sequential, population: Population):
        super().__init__()
        self.trunk = trunk
        parts = 1 + len(options.dilations)
        own = head_width(options.channels * parts, trunk.channels) // parts
        if own < 1:
            raise InputError(f"dilations: {parts} branches share {trunk.channels} channels of the trunk; name fewer")
        width = own * parts
        self.reduce = nn.Linear(trunk.channels, own)
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out")
        nn.init.zeros_(self.reduce.bias)
        self.pyramid = DilatedPyramid(own, options.dilations)
        self.attention = NonLocal(width)  # among the T frames of a sequence
        if options.bnneck:
            self.head = BNNeck(width, population.people)
        else:
            self.head = DropoutHead(width, population.people, options.dropout)

    def forward(self, clips: Tensor) -> Outputs:
        frames = self.reduce(self._pooled_frames(clips))  # (B, T, 128)
        feature = self.attention(self.pyramid(frames)).float().mean(1)
        return Outputs(feature, feature, self.head(feature)[1])

    def _pooled_frames(self, clips: Tensor) -> Tensor:
        """(B, T, C) of the trunk; in training all frames at once, whose statistics normalise them."""
        frames = clips.flatten(0, 1)
        parts = frames.split(len(frames) if self.training else FRAMES_AT_ONCE)
        return torch.cat([self.trunk(part).float().mean((2, 3)) for part in parts]).unflatten(0, clips.shape[:2])


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> Gltr:
    """The network of one run."""
    return Gltr(options, build_trunk(spec.trunk, trunk_weights), population)


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """Cross-entropy, and on demand a batch-hard triplet loss beside it."""
    if options.triplet:
        return softmax_and_triplet(outputs, labels, options)
    return {"softmax": losses.softmax_loss(outputs.logits, labels.pids, options.label_smoothing)}


def collapsed(options: Options) -> dict[str, float]:
    return at_margin(options) if options.triplet else {}


METHOD = Method(options=Options, network=build, losses=terms, test_clips="whole", collapsed=collapsed)
