"""MSML (Xiao et al. 2017): beside the softmax loss, one positive and one negative pair of the whole batch.

The paper embeds frames; a clip of T frames is averaged over time, and with T = 1 that is the paper's.

With the common neck, pairs are mined where identities are classified, after it (assumed). Before it features share a
large common part, and since the farthest positive of a whole batch is seldom nearer than its nearest negative, a still
larger one lowers the loss by drawing all people together; after it features are centred.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from vreid import losses
from vreid.models.heads import BNNeck, Classifier
from vreid.models.method import Labels, Method, Outputs, Population
from vreid.models.streams import attended_pool
from vreid.models.trunk import build_trunk, frame_maps
from vreid.spec import Spec, within


@dataclass(frozen=True)
class Options:
    """The defaults are the unified recipe."""

    margin: float = 0.6  # assumed: that of the authors' sample code; the one used on MARS is unknown
    weight: float = 1.0  # of the term beside the softmax loss; 0 for that loss alone
    neck: bool = True  # BNNeck before the classifier; without it dropout, and the feature of length 1 is compared
    dropout: float = 0.5  # before the classifier where there is no neck
    label_smoothing: float = 0.0

    def __post_init__(self):
        within(self, "margin", "weight", at_least=0)
        within(self, "dropout", "label_smoothing", at_least=0, below=1)


class Msml(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs."""

    def __init__(self, options: Options, trunk: nn.Sequential, people: int):
        super().__init__()
        self.trunk = trunk
        channels = trunk.channels
        self.neck = options.neck
        self.head = BNNeck(channels, people) if options.neck else Classifier(channels, people, options.dropout)

    def forward(self, clips: Tensor) -> Outputs:
        feature = attended_pool(frame_maps(self.trunk, clips))
        embedding, logits = self.head(feature)
        return Outputs(feature, embedding if self.neck else F.normalize(embedding), logits)


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> Msml:
    return Msml(options, build_trunk(spec.trunk, trunk_weights), population.people)


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """Cross-entropy + margin sample mining on Euclidean distances of features of length 1."""
    found = {"softmax": losses.softmax_loss(outputs.logits, labels.pids, options.label_smoothing)}
    if options.weight:
        distances = losses.euclidean_distances(F.normalize(outputs.embedding.float()))
        found["msml"] = options.weight * losses.margin_sample_mining(distances, labels.pids, options.margin)
    return found


def collapsed(options: Options) -> dict[str, float]:
    """With all features alike, the two extreme pairs are equally far apart."""
    return {"msml": options.weight * options.margin} if options.weight else {}


METHOD = Method(options=Options, network=build, losses=terms, collapsed=collapsed)
