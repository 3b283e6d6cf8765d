"""The multi-task model of the paper, which is every row of its Tables 1 and 2: a choice of streams and of losses.

`streams` are the parts of the Re-ID feature: the original map, and the map multiplied by the attention of the
ID-irrelevant and of the ID-relevant attribute stream (Fig. 4). `losses` are the terms of Eq. 4. The switches below
them are where the paper's text and its released code differ; config/config.yaml sets them in the recipes `paper` and
`released`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vreid import losses
from vreid.errors import InputError
from vreid.models.heads import BNNeck, start_at_shares
from vreid.models.method import Labels, Method, Outputs, Population, need_attributes
from vreid.models.streams import AttributeStream, SpatialAttention, attended_pool
from vreid.models.trunk import build_trunk, frame_maps, map_size
from vreid.spec import Spec, one_of, within

GROUPS = ("irrelevant", "relevant")
STREAMS = ("reid", *GROUPS)  # in the order of concatenation
LOSSES = ("softmax", "triplet", "itl", "aitl", "attributes")


@dataclass(frozen=True)
class Options:
    """A model's row, and the switches of a recipe. The defaults are the recipe `paper`."""

    streams: tuple[str, ...] = ("reid",)
    losses: tuple[str, ...] = ("softmax", "triplet")
    margin: float = 0.3  # of the triplet loss
    label_smoothing: float = 0.0
    reid_attention: bool = False  # the Re-ID map is first multiplied by a spatial attention of its own
    detach_streams: bool = False  # the attribute losses do not reach the trunk
    attend_input: bool = False  # the attribute streams' attention multiplies their input
    attribute_vector: str = "probabilities"  # or logits: what attribute distance is measured on
    attribute_distance: str = "cosine"  # or euclidean
    aitl_per_stream: bool = False  # one AITL term a stream, instead of one on both streams' vectors together
    self_pair: bool = False  # the anchor may be its own attribute-nearest positive
    average_metric_losses: bool = False  # triplet and AITL terms are averaged, instead of summed
    start_at_shares: bool = True  # attribute classifiers start at the shares of their classes (assumed), not at chance

    def __post_init__(self):
        _check("streams", self.streams, STREAMS)
        _check("losses", self.losses, LOSSES)
        one_of("attribute_vector", self.attribute_vector, ("probabilities", "logits"))
        one_of("attribute_distance", self.attribute_distance, ("cosine", "euclidean"))
        within(self, "margin", at_least=0)
        within(self, "label_smoothing", at_least=0, below=1)
        if "aitl" in self.losses and "attributes" not in self.losses:
            raise InputError("losses: aitl needs attributes, whose predictions choose its pairs")
        if "softmax" not in self.losses and "triplet" not in self.losses:
            raise InputError("losses: at least one of softmax and triplet must train the Re-ID feature")

    @property
    def groups(self) -> tuple[str, ...]:
        """The attribute streams that are built: those in the feature, or both when only losses need them."""
        chosen = tuple(group for group in GROUPS if group in self.streams)
        return chosen or (GROUPS if "attributes" in self.losses else ())


def _check(key: str, values: tuple[str, ...], known: tuple[str, ...]) -> None:
    for value in values:
        one_of(key, value, known)
    if not values or len(set(values)) < len(values):
        raise InputError(f"{key}: {list(values)} must name at least one, and none twice")


class Multitask(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs; the feature has C channels a stream (6144 for three on ResNet-50)."""

    def __init__(self, options: Options, trunk: nn.Sequential, map_size: tuple[int, int], population: Population):
        super().__init__()
        self.streams = tuple(name for name in STREAMS if name in options.streams)
        self.detach = options.detach_streams
        self.trunk = trunk
        channels = trunk.channels
        self.reid_attention = SpatialAttention(channels) if options.reid_attention else None
        self.attribute_streams = nn.ModuleDict(
            {
                group: AttributeStream(channels, *map_size, population.outputs(group), options.attend_input)
                for group in options.groups
            }
        )
        for group, stream in self.attribute_streams.items() if options.start_at_shares else ():
            start_at_shares(stream.classifier, population, population.attributes[group], exclusive=False)
        width = channels * len(self.streams)
        self.head = BNNeck(width, population.people)

    def forward(self, clips: Tensor) -> Outputs:
        maps = frame_maps(self.trunk, clips)  # (B, T, C, h, w)
        attributes = {g: s(maps.detach() if self.detach else maps) for g, s in self.attribute_streams.items()}
        attention = {group: stream.attention for group, stream in attributes.items()}
        if self.reid_attention is not None:
            attention["reid"] = self.reid_attention(maps)
            maps = maps * attention["reid"].unsqueeze(2)
        pooled = [attended_pool(maps, None if name == "reid" else attention[name]) for name in self.streams]
        feature = torch.cat(pooled, dim=1)
        embedding, logits = self.head(feature)
        return Outputs(feature, embedding, logits, {g: s.logits for g, s in attributes.items()}, attention)


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> Multitask:
    """The network of one run; the streams take the size of the feature map from the trunk."""
    need_attributes(population, options.groups, spec)
    trunk = build_trunk(spec.trunk, trunk_weights)
    return Multitask(options, trunk, map_size(trunk, spec.clips), population)


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """Eq. 4: the terms whose sum is minimised, by name, as they enter the sum."""
    distances = losses.cosine_distances(outputs.feature)
    pids = labels.pids
    metric = {}
    if "triplet" in options.losses:
        metric["triplet"] = losses.batch_hard_triplet(distances, pids, options.margin)
    if "itl" in options.losses:
        metric["itl"] = losses.itl(distances, pids)
    if "aitl" in options.losses:
        for name, attribute_distances in _attribute_distances(outputs, options).items():
            metric[name] = losses.aitl(distances, attribute_distances, pids, options.self_pair)
    if options.average_metric_losses:
        metric = {name: term / len(metric) for name, term in metric.items()}
    identity = {}
    if "softmax" in options.losses:
        identity["softmax"] = losses.softmax_loss(outputs.logits, pids, options.label_smoothing)
    attributes = {}
    if "attributes" in options.losses:
        for group, logits in outputs.attributes.items():
            attributes[f"attributes_{group}"] = losses.attribute_bce(logits, *labels.attributes[group])
    return identity | metric | attributes


def _attribute_distances(outputs: Outputs, options: Options) -> dict[str, Tensor]:
    """AD of Eq. 3: (B, B) over the prediction vectors of both streams together, or one a stream."""
    measure = losses.DISTANCES[options.attribute_distance]
    vectors = {group: logits.detach().float() for group, logits in outputs.attributes.items()}
    if options.attribute_vector == "probabilities":
        vectors = {group: vector.sigmoid() for group, vector in vectors.items()}
    if options.aitl_per_stream:
        return {f"aitl_{group}": measure(vector) for group, vector in vectors.items()}
    return {"aitl": measure(torch.cat(list(vectors.values()), dim=1))}


def collapsed(options: Options) -> dict[str, float]:
    """With all features alike, the hinge of the triplet loss stands at its margin."""
    if "triplet" not in options.losses:
        return {}
    shares = sum(name in options.losses for name in ("triplet", "itl"))
    shares += ("aitl" in options.losses) * (len(options.groups) if options.aitl_per_stream else 1)
    return {"triplet": options.margin / (shares if options.average_metric_losses else 1)}


METHOD = Method(options=Options, network=build, losses=terms, collapsed=collapsed)
