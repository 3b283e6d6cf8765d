"""Competitive snippet-similarity aggregation with co-attentive snippet embedding (CASE; Chen et al., CVPR 2018).

A tracklet is cut into short overlapping snippets. Two snippets are compared with the frames of the second weighted by
what the first asks for, and two tracklets by their best matching snippets alone (`distances.snippet_distance`). RGB
only: the published 86.3 / 76.1 on MARS has optical flow beside it.

Where the paper and its released code differ: a snippet's query is the mean over its frames, as the code has it (the
paper: an LSTM's); the second snippet is weighted by the first's query, as the paper has it (the code's forward pass: by
its own, which is `attention: self`).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vreid.data.clips import most_clips
from vreid.distances import SNIPPET_ATTENTION
from vreid.errors import InputError
from vreid.models.method import Labels, Method, Outputs, Population
from vreid.models.oim import OIM
from vreid.models.precision import unrounded
from vreid.models.trunk import build_trunk, frame_maps, head_width
from vreid.spec import Spec, one_of, within


@dataclass(frozen=True)
class Options:
    """How snippets become vectors, and how tracklets are compared. The defaults are the original's."""

    attention: str = "co"  # frames of the gallery's snippet weighted by the probe's query | self: by its own | mean
    width: int = 128  # channels of queries, keys and values, at most the trunk's
    fraction: float = 0.2  # of the snippet pairs of two tracklets, the nearest, that count
    scale: float = 30.0  # of the cosines in the OIM loss
    momentum: float = 0.5  # of the OIM memory
    pair_weight: float = 10.0  # of the weighted mean over pairs; assumed: the released code can be read as 10 or 1
    negatives: float = 3.0  # how much all negative pairs together weigh against all positive ones

    def __post_init__(self):
        one_of("attention", self.attention, SNIPPET_ATTENTION)
        within(self, "fraction", above=0, at_most=1)
        within(self, "momentum", at_least=0, below=1)
        within(self, "width", "scale", "negatives", above=0)
        within(self, "pair_weight", at_least=0)


def attended(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Values summed over frames, each channel c weighted by the softmax over frames t of q_c · k_tc.

    Queries (…, W), keys and values (…, T, W) → (…, W); leading dimensions broadcast.
    """
    weights = (queries.unsqueeze(-2) * keys).softmax(dim=-2)
    return (weights * values).sum(dim=-2)


class Projection(nn.Sequential):
    """A linear layer and its batch normalisation: (N, C) → (N, W)."""

    def __init__(self, channels: int, width: int):
        super().__init__(nn.Linear(channels, width), nn.BatchNorm1d(width))


class PairHead(nn.Module):
    """Are two snippets of one person? Vectors x_p, x_g (…, W) → the logit (…) of yes.

    Softmax of a linear layer W → 2 of the normalised (x_p − x_g)², of which the logit is the difference.
    """

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.classifier = nn.Linear(width, 2)

    def forward(self, probes: Tensor, gallery: Tensor) -> Tensor:
        squares = (probes - gallery).square()
        different, same = self.classifier(self.norm(squares.flatten(0, -2))).unbind(dim=1)
        return (same - different).unflatten(0, squares.shape[:-1])

    def folded(self) -> tuple[Tensor, Tensor]:
        """Weight (W,) and bias () with which the logit in testing is weight · (x_p − x_g)² + bias."""
        scale = self.norm.weight / (self.norm.running_var + self.norm.eps).sqrt()
        shift = self.norm.bias - self.norm.running_mean * scale
        weight = self.classifier.weight[1] - self.classifier.weight[0]
        return weight * scale, weight @ shift + self.classifier.bias[1] - self.classifier.bias[0]


class Case(nn.Module):
    """Snippets (B, T, 3, H, W) → Outputs.

    The feature is the snippet's vector under its own attention, which DVDP is measured on. The embedding is what the
    distance needs: that vector (W), or for co-attention the query, the T keys and the T values (W · (1 + 2T)). Of
    `extra`, `values` (B, T, W) and `identities` (B, T, people) are the frames' unit vectors and OIM logits, and `pairs`
    (B/2, B/2), in training, the logits of the snippets at even places (probes) with those at odd ones (gallery).
    """

    def __init__(self, options: Options, trunk: nn.Sequential, population: Population, most: int):
        super().__init__()
        self.attention = options.attention
        self.most = most  # snippets of one person in a batch
        self.trunk = trunk
        width = head_width(options.width, trunk.channels)
        self.value = Projection(trunk.channels, width)
        if self.attention != "mean":
            self.query = Projection(trunk.channels, width)
            self.key = Projection(trunk.channels, width)
            self.pair = PairHead(width)
        self.oim = OIM(width, population.people, options.scale, options.momentum)

    def forward(self, clips: Tensor) -> Outputs:
        maps = frame_maps(self.trunk, clips)
        with unrounded(maps.device):  # squared differences would not survive rounding
            return self._compared(maps.float().mean(dim=(-2, -1)))

    def _compared(self, frames: Tensor) -> Outputs:
        """Frame features (B, T, C) → Outputs."""
        values = F.normalize(self._projected(self.value, frames), dim=-1)
        identities = self.oim(values)
        extra = {"values": values, "identities": identities}
        if self.attention == "mean":
            feature = embedding = values.mean(dim=1)
        else:
            queries = self._projected(self.query, frames).mean(dim=1)
            keys = self._projected(self.key, frames)
            feature = embedding = attended(queries, keys, values)
            if self.attention == "co":
                embedding = torch.cat([queries, keys.flatten(1), values.flatten(1)], dim=1)
            if self.training:
                extra["pairs"] = self._pairs(feature, queries, keys, values)
        return Outputs(feature, embedding, identities.mean(dim=1), extra=extra)

    @staticmethod
    def _projected(projection: Projection, frames: Tensor) -> Tensor:
        return projection(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def _pairs(self, feature: Tensor, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        gallery = feature[1::2]
        if self.attention == "co":
            gallery = attended(queries[0::2, None], keys[1::2], values[1::2])  # (probes, gallery, W)
        return self.pair(feature[0::2, None], gallery)


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> Case:
    """The network of one run; where pairs are learned, every second clip of a person is the other side of a pair."""
    if spec.clips.test == "whole":
        raise InputError(f"models.{spec.model}: clips.test: snippets have {spec.clips.frames} frames, not all of them")
    if options.attention != "mean":
        where, training = f"models.{spec.model}: training", spec.training
        if training.batch == "tracklets":
            raise InputError(f"{where}.batch: tracklets of any people make no pairs; say cameras, or people")
        if training.clips % 2:
            raise InputError(f"{where}.clips: of {training.clips} clips a person, one has no other to be paired with")
    return Case(
        options, build_trunk(spec.trunk, trunk_weights), population, most_clips(population.people, spec.training)
    )


def pair_loss(logits: Tensor, same: Tensor, negatives: float = 3.0) -> Tensor:
    """Weighted mean of the binary cross-entropy of pairs (P, G): positives together weigh 1, the others `negatives`.

    Where one kind is missing, it is the mean of the other.
    """
    each = F.binary_cross_entropy_with_logits(logits, same.to(logits.dtype), reduction="none")
    positive = torch.where(same, each, 0.0).sum() / same.sum().clamp(min=1)
    negative = torch.where(same, 0.0, each).sum() / (~same).sum().clamp(min=1)
    shares = same.any() + negatives * (~same).any()
    return (positive + negatives * negative) / shares


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """The OIM loss of the frames' values, and the loss of all pairs of a probe and a gallery snippet of the batch."""
    identities = outputs.extra["identities"]
    of_frames = labels.pids.repeat_interleave(identities.shape[1])
    found = {"oim": F.cross_entropy(identities.flatten(0, 1), of_frames)}
    if options.attention != "mean":
        same = labels.pids[0::2, None] == labels.pids[1::2]
        found["pairs"] = options.pair_weight * pair_loss(outputs.extra["pairs"], same, options.negatives)
    return found


def remember(network: Case, outputs: Outputs, labels: Labels) -> None:
    """Frame by frame, in the order of the batch."""
    values = outputs.extra["values"]
    frames = values.shape[1]
    people = labels.pids.repeat_interleave(frames)
    network.oim.remember(values.flatten(0, 1).detach(), people, network.most * frames)


def parameters(network: Case, options: Options) -> dict[str, np.ndarray]:
    """The arguments of `distances.snippet_distance`."""
    found = {"attention": np.array(options.attention), "fraction": np.array(options.fraction)}
    if options.attention != "mean":
        weight, bias = network.pair.folded()
        found |= {"weight": weight.detach().cpu().numpy(), "bias": bias.detach().cpu().numpy()}
    return found


def collapsed(options: Options) -> dict[str, float]:
    """With all snippets alike, every pair is given the same probability, at best the share of the positives."""
    if options.attention == "mean" or not options.pair_weight:
        return {}
    positive = 1 / (1 + options.negatives)
    entropy = -positive * math.log(positive) - (1 - positive) * math.log(1 - positive)
    return {"pairs": options.pair_weight * entropy}


METHOD = Method(
    options=Options,
    network=build,
    losses=terms,
    pool="all",
    distance="snippets",
    parameters=parameters,
    remember=remember,
    collapsed=collapsed,
)
