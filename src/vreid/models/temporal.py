"""Four ways to make one feature of a clip's frames (Gao and Nevatia 2018, arXiv:1805.02104): `aggregation`.

`pooling` is the mean over time and space: without a neck, on maps of stride 2, the method's own (recipe `native`); with
our neck and losses it is our baseline itself under another name. `attention` weighs the frames, `rnn` reads them in
order, `3d` has convolutions over time in the trunk.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor, nn

from vreid import losses
from vreid.models.baseline_loss import at_margin, softmax_and_triplet
from vreid.models.frame_scores import FrameScores
from vreid.models.heads import BNNeck, Classifier
from vreid.models.inflate import SCOPES, clip_maps, inflate
from vreid.models.method import Labels, Method, Outputs, Population
from vreid.models.precision import unrounded
from vreid.models.streams import attended_pool
from vreid.models.trunk import build_trunk, head_width, map_size
from vreid.spec import Spec, one_of, within


@dataclass(frozen=True)
class Options:
    """The aggregation of a row, and the switches of a recipe. The defaults are the unified recipe."""

    aggregation: str = "pooling"  # pooling | attention | rnn | 3d
    attention_kernel: str = "gap"  # map: the kernel covers the map; gap (assumed): the map is pooled first
    attention_channels: int = 256  # between the attention's two convolutions
    attention_weights: str = "softmax"  # of the frames; or sigmoid, divided by their sum
    attention_relu: bool = True  # as released: scores below 0 are 0; where all are, frames count alike and stay so
    hidden: int = 512  # of the LSTM, and so the channels of its feature; at most the trunk's
    inflated: str = "block"  # assumed: 3-D is a convolution of every block, or of the last block of each stage
    margin: float = 0.3  # of the triplet loss
    distance: str = "cosine"  # of the triplet loss and of the test: cosine, as our baseline, or euclidean
    label_smoothing: float = 0.0
    neck: bool = True  # batch normalisation before the classifier, as our baseline has it

    def __post_init__(self):
        one_of("aggregation", self.aggregation, AGGREGATIONS)
        one_of("attention_kernel", self.attention_kernel, KERNELS)
        one_of("attention_weights", self.attention_weights, WEIGHTS)
        one_of("inflated", self.inflated, SCOPES)
        one_of("distance", self.distance, losses.DISTANCES)
        within(self, "attention_channels", "hidden", at_least=1)
        within(self, "margin", at_least=0)
        within(self, "label_smoothing", at_least=0, below=1)


# ---- aggregations: feature maps (B, T, C, h, w) → feature (B, `channels`), weights of frames (B, T) or None -------


class Pooling(nn.Module):
    """The mean over time and space."""

    def __init__(self, channels: int, map_size: tuple[int, int], options: Options):
        super().__init__()
        self.channels = channels

    def forward(self, maps: Tensor) -> tuple[Tensor, None]:
        return attended_pool(maps), None


class Attention(nn.Module):
    """The mean of the frames, weighted by what a convolution in space and one in time find in them."""

    def __init__(self, channels: int, map_size: tuple[int, int], options: Options):
        super().__init__()
        self.channels = channels
        self.spatial = KERNELS[options.attention_kernel](channels, options.attention_channels, map_size)
        self.scores = FrameScores(options.attention_channels, options.attention_relu)
        self.weigh = WEIGHTS[options.attention_weights]

    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        b, t = maps.shape[:2]
        seen = self.spatial(maps.flatten(0, 1)).reshape(b, t, -1)
        weights = self.weigh(self.scores(seen))
        return (frame_vectors(maps) * weights.unsqueeze(2)).sum(1), weights


class Recurrent(nn.Module):
    """The mean of what an LSTM says after each frame."""

    def __init__(self, channels: int, map_size: tuple[int, int], options: Options):
        super().__init__()
        self.channels = head_width(options.hidden, channels)
        self.lstm = nn.LSTM(channels, self.channels, batch_first=True)

    def forward(self, maps: Tensor) -> tuple[Tensor, None]:
        with unrounded(maps.device):
            said, _ = self.lstm(frame_vectors(maps))
        return said.mean(1), None


def frame_vectors(maps: Tensor) -> Tensor:
    """The mean over space, in float32: (B, T, C, h, w) → (B, T, C)."""
    return maps.float().mean((3, 4))


KERNELS: dict[str, Callable[[int, int, tuple[int, int]], nn.Module]] = {
    "map": lambda inputs, outputs, map_size: nn.Conv2d(inputs, outputs, map_size),
    "gap": lambda inputs, outputs, map_size: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1)),
}
WEIGHTS: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda scores: scores.softmax(1),
    "sigmoid": lambda scores: scores.sigmoid() / scores.sigmoid().sum(1, keepdim=True),
}


class Aggregation(NamedTuple):
    """How frames become one feature, and what becomes of the trunk before."""

    module: Callable[[int, tuple[int, int], Options], nn.Module]
    trunk: Callable[[nn.Sequential, Options], nn.Sequential] = lambda trunk, options: trunk


AGGREGATIONS = {
    "pooling": Aggregation(Pooling),
    "attention": Aggregation(Attention),
    "rnn": Aggregation(Recurrent),
    "3d": Aggregation(Pooling, lambda trunk, options: inflate(trunk, options.inflated)),
}


# ---- the method -----------------------------------------------------------------------------------------------------


class Temporal(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs; `attention` shows the weights of the frames where there are such."""

    def __init__(self, options: Options, trunk: nn.Sequential, map_size: tuple[int, int], population: Population):
        super().__init__()
        aggregation = AGGREGATIONS[options.aggregation]
        self.trunk = aggregation.trunk(trunk, options)
        self.aggregation = aggregation.module(trunk.channels, map_size, options)
        head = BNNeck if options.neck else Classifier
        self.head = head(self.aggregation.channels, population.people)

    def forward(self, clips: Tensor) -> Outputs:
        maps = clip_maps(self.trunk, clips)
        feature, weights = self.aggregation(maps)
        attention = {} if weights is None else {"frames": weights[..., None, None].expand(-1, -1, *maps.shape[3:])}
        return Outputs(feature, *self.head(feature), attention=attention)


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> Temporal:
    """The network of one run; 2-D weights are loaded before the trunk is inflated."""
    trunk = build_trunk(spec.trunk, trunk_weights)
    return Temporal(options, trunk, map_size(trunk, spec.clips), population)


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """The baseline's loss, on its distance or the Euclidean one."""
    return softmax_and_triplet(outputs, labels, options, options.distance)


def finish(features: np.ndarray, options: Options, training: object) -> np.ndarray:
    """Tracklets are ranked by Euclidean distance; that of features of unit length ranks as cosine distance does."""
    if options.distance == "euclidean":
        return features
    return features / np.linalg.norm(features, axis=1, keepdims=True).clip(min=1e-12)


METHOD = Method(
    options=Options,
    network=build,
    losses=terms,
    finish=finish,
    distance="euclidean",
    collapsed=at_margin,
)
