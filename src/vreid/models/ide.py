"""IDE, the image baseline of MARS (Zheng et al., ECCV 2016): a classifier of people on single frames.

No frame knows of another: each is classified on its own, and a tracklet is the largest value (or the mean) of each
channel over its frames. Tracklets are compared by Euclidean distance of the normalised features, or after the linear
map of a metric that is learned on the training tracklets. Here ResNet-50 stands where CaffeNet stood.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import default_rng
from torch import Tensor, nn

from vreid import losses
from vreid.models import metric_learning
from vreid.models.heads import BNNeck, Classifier
from vreid.models.method import Labels, Method, Outputs, Population, Tracklets
from vreid.models.trunk import build_trunk, frame_maps
from vreid.spec import Spec, one_of, within

METRICS = {"kissme": metric_learning.kissme, "xqda": metric_learning.xqda}


@dataclass(frozen=True)
class Options:
    """The defaults are the unified recipe."""

    neck: bool = True  # BNNeck before the classifier, and its output compared; without it a linear layer alone
    label_smoothing: float = 0.0
    pooling: str = "max"  # or mean: of a tracklet's frames; max is the released script's
    metric: str = "euclidean"  # or kissme, or xqda: what the training tracklets teach of distance

    def __post_init__(self):
        one_of("pooling", self.pooling, ("max", "mean"))
        one_of("metric", self.metric, ("euclidean", *METRICS))
        within(self, "label_smoothing", at_least=0, below=1)


class FrameClassifier(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs; each frame goes its own way until the end."""

    def __init__(self, options: Options, trunk: nn.Sequential, people: int):
        super().__init__()
        self.pooling = options.pooling
        self.trunk = trunk
        self.head = BNNeck(trunk.channels, people) if options.neck else Classifier(trunk.channels, people)

    def forward(self, clips: Tensor) -> Outputs:
        feature = frame_maps(self.trunk, clips).float().mean((3, 4))  # (B, T, C)
        embedding, logits = (found.unflatten(0, clips.shape[:2]) for found in self.head(feature.flatten(0, 1)))
        return Outputs(self._pooled(feature), self._pooled(embedding), logits.mean(1), extra={"frames": logits})

    def _pooled(self, frames: Tensor) -> Tensor:
        return frames.amax(1) if self.pooling == "max" else frames.mean(1)


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> FrameClassifier:
    return FrameClassifier(options, build_trunk(spec.trunk, trunk_weights), population.people)


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """Cross-entropy of every frame (B·T of them)."""
    logits = outputs.extra["frames"]
    pids = labels.pids.repeat_interleave(logits.shape[1])
    return {"softmax": losses.softmax_loss(logits.flatten(0, 1), pids, options.label_smoothing)}


def finish(features: np.ndarray, options: Options, training: Callable[[], Tracklets] | None) -> np.ndarray:
    """Features (N, D) of length 1, in mid-training and for `euclidean`; else what the learned metric makes of them."""
    unit = _normalised(features)
    if training is None or options.metric == "euclidean":
        return unit
    known = training()
    learn = METRICS[options.metric]
    learned = learn(_normalised(known.features), known.pids, known.camids, default_rng(0))  # always the same pairs
    return learned(unit).astype(np.float32)


def _normalised(features: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(lengths > 0, lengths, 1)


METHOD = Method(
    options=Options,
    network=build,
    losses=terms,
    train_clips="random",  # of T frames that do not know of each other, those far apart say more
    pool=lambda options: options.pooling,
    finish=finish,
    distance="euclidean",
)
