"""TriNet (Hermans, Beyer and Leibe 2017): a small embedding, learned by the batch-hard triplet loss alone.

No classifier, no normalisation: tracklets are compared by the Euclidean distance of what the head says. The paper
embeds frames; a clip of T frames is averaged over time before the head, and with T = 1 that is the paper's.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn

from vreid import losses
from vreid.models.method import Labels, Method, Outputs, Population
from vreid.models.streams import attended_pool
from vreid.models.trunk import build_trunk, frame_maps, head_width
from vreid.spec import Spec, within


@dataclass(frozen=True)
class Options:
    """The head's widths are those of the released code."""

    hidden: int = 1024  # outputs of the head's first layer
    width: int = 128  # of the embedding, at most the trunk's

    def __post_init__(self):
        within(self, "hidden", "width", at_least=1)


class TriNet(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs, whose feature is the embedding itself; there are no identity logits."""

    def __init__(self, options: Options, trunk: nn.Sequential):
        super().__init__()
        self.trunk = trunk
        last = nn.Linear(options.hidden, head_width(options.width, trunk.channels))
        nn.init.orthogonal_(last.weight)
        nn.init.zeros_(last.bias)
        self.head = nn.Sequential(
            nn.Linear(trunk.channels, options.hidden), nn.BatchNorm1d(options.hidden), nn.ReLU(), last
        )

    def forward(self, clips: Tensor) -> Outputs:
        embedding = self.head(attended_pool(frame_maps(self.trunk, clips)))
        return Outputs(feature=embedding, embedding=embedding, logits=None)


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> TriNet:
    return TriNet(options, build_trunk(spec.trunk, trunk_weights))


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """The soft-margin batch-hard triplet loss on Euclidean distances, not squared."""
    distances = losses.euclidean_distances(outputs.feature)
    return {"triplet": losses.soft_batch_hard_triplet(distances, labels.pids)}


def collapsed(options: Options) -> dict[str, float]:
    """With all embeddings alike, softplus stands at softplus(0)."""
    return {"triplet": math.log(2)}


METHOD = Method(options=Options, network=build, losses=terms, distance="euclidean", collapsed=collapsed)
