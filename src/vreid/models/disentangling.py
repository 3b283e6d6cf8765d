"""Attribute-driven feature disentangling and temporal re-weighting (Zhao et al., CVPR 2019), on our attributes.

A frame has a global feature and one sub-feature a branch, which is made responsible for its attributes by their
recognition. A branch that is sure of what it sees in a frame sees it well, so a tracklet's sub-feature is the mean over
its frames weighted by that confidence; the global feature is the plain mean.

The original learns six groups of attributes from single annotated images of another dataset. Here they are those of the
tracklets: the two groups of our annotation (`groups: two`) or, on MARS, the ID-relevant one cut into five (`six`). No
code was released; what the options call assumed was not found in print.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vreid import losses
from vreid.errors import InputError
from vreid.models.baseline_loss import at_margin, softmax_and_triplet
from vreid.models.heads import BNNeck, start_at_shares
from vreid.models.method import Labels, Method, Outputs, Population, need_attributes
from vreid.models.trunk import build_trunk, frame_maps, head_width
from vreid.spec import Spec, one_of, within

GROUPS = ("irrelevant", "relevant")
# The branches of `six` beside that of the irrelevant group (assumed). Shoes, which the original has, are not annotated.
PARTS = {
    "person": ("gender", "age"),
    "head": ("hair", "hat"),
    "upper body": ("top length", "top color"),
    "lower body": ("bottom length", "bottom color", "bottom type"),
    "bags": ("shoulder bag", "backpack", "hand bag"),
}


@dataclass(frozen=True)
class Options:
    """A model's row, and the switches of a recipe. The defaults are the recipe `unified`."""

    groups: str = "two"  # the branches: one a group of attributes, or six (PARTS and the irrelevant group)
    weighting: str = "confidence"  # of a sub-feature's frames, or uniform: the ablation
    temperature: float = 0.1  # of the softmax of the confidences over time (assumed)
    detach_weights: bool = True  # no loss reaches the attribute heads through the weights (assumed)
    branch_channels: int = 512  # of a sub-feature (assumed); at most the trunk's
    branch_weight: float = 1.0  # of the mean over the branches of their identity losses (assumed)
    attribute_weight: float = 1.0  # lambda of the attribute loss (assumed)
    label_smoothing: float = 0.0
    triplet: bool = True  # a batch-hard triplet loss on the feature; the original's is not known
    margin: float = 0.3  # of the triplet loss
    compare_normalised: bool = True  # tracklets are compared after the batch normalisation of the neck, or before

    def __post_init__(self):
        one_of("groups", self.groups, ("two", "six"))
        one_of("weighting", self.weighting, ("confidence", "uniform"))
        within(self, "temperature", "branch_channels", above=0)
        within(self, "branch_weight", "attribute_weight", "margin", at_least=0)
        within(self, "label_smoothing", at_least=0, below=1)


# ---- confidence ----


def sureness(logits: Tensor, classes: Iterable[int]) -> Tensor:
    """How sure a branch is of its attributes: (…, outputs) → (…), 0 (all uniform) to 1 (all certain).

    1 − the entropy of each attribute's softmax, over ln of its number of classes; the mean over the attributes, whose
    logits stand side by side, `classes` wide.
    """
    sure = []
    for own in logits.float().split(list(classes), dim=-1):
        log_p = own.log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        sure.append(1 - entropy / math.log(own.shape[-1]))
    return torch.stack(sure).mean(0)


def frame_weights(sure: Tensor, temperature: float) -> Tensor:
    """Sureness of frames (B, T) → their weights (B, T), which sum to 1 over time."""
    return (sure / temperature).softmax(1)


# ---- the network ----


class BranchOutputs(NamedTuple):
    feature: Tensor  # (B, C) of the clip
    frames: Tensor  # (B, T, outputs) attribute logits of each frame
    weights: Tensor  # (B, T) over time
    identity: Tensor  # (B, people) logits


class Branch(nn.Module):
    """The sub-feature of some attributes: maps (B, T, C, h, w) → BranchOutputs.

    1×1 convolution, batch normalisation, ReLU and pooling make a frame's sub-feature; linear heads recognise its
    attributes, of which there are `attributes`: name → number of classes. (The original branches at the trunk's last
    stage; a shared trunk saves that cost.)
    """

    def __init__(
        self, channels: int, width: int, options: Options, attributes: Mapping[str, int], population: Population
    ):
        super().__init__()
        self.attributes, self.options = dict(attributes), options
        self.convolution = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.recognise = nn.Linear(width, sum(self.attributes.values()))  # the heads, side by side
        start_at_shares(self.recognise, population, self.attributes, exclusive=True)
        self.identify = nn.Linear(width, population.people)

    def forward(self, maps: Tensor) -> BranchOutputs:
        features = self.convolution(maps.flatten(0, 1)).mean((2, 3), dtype=torch.float32).unflatten(0, maps.shape[:2])
        frames = self.recognise(features)
        weights = self.weights(frames)
        feature = (weights.unsqueeze(2) * features).sum(1)
        return BranchOutputs(feature, frames, weights, self.identify(feature))

    def weights(self, frames: Tensor) -> Tensor:
        """Attribute logits (B, T, outputs) → the frames' weights (B, T)."""
        if self.options.weighting == "uniform":
            return frames.new_full(frames.shape[:2], 1 / frames.shape[1], dtype=torch.float32)
        seen = frames.detach() if self.options.detach_weights else frames
        return frame_weights(sureness(seen, self.attributes.values()), self.options.temperature)


class Disentangling(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs; the feature is the global one, then the branches': 2048 + 512 a branch.

    `attributes` are the heads on a clip's sub-features, which is the weighted mean of its frames' logits. In `extra`,
    `frames_<group>` (B, T, outputs) are the logits of each frame, `identity_<branch>` (B, people) those of the people
    and `weights_<branch>` (B, T) the weights of the frames.
    """

    def __init__(
        self,
        options: Options,
        trunk: nn.Sequential,
        branches: Mapping[str, Mapping[str, int]],
        population: Population,
    ):
        super().__init__()
        self.after_neck = options.compare_normalised
        self.groups = {group: list(population.attributes[group]) for group in GROUPS}
        self.trunk = trunk
        width = head_width(options.branch_channels, trunk.channels)
        self.branches = nn.ModuleDict(
            {name: Branch(trunk.channels, width, options, own, population) for name, own in branches.items()}
        )
        self.head = BNNeck(trunk.channels + width * len(branches), population.people)

    def forward(self, clips: Tensor) -> Outputs:
        maps = frame_maps(self.trunk, clips)  # (B, T, C, h, w)
        found = {name: branch(maps) for name, branch in self.branches.items()}
        whole = maps.mean((1, 3, 4), dtype=torch.float32)
        feature = torch.cat([whole, *(branch.feature for branch in found.values())], dim=1)
        embedding, logits = self.head(feature)
        frames = self._by_group({name: branch.frames for name, branch in found.items()})
        clip = self._by_group({name: self.branches[name].recognise(branch.feature) for name, branch in found.items()})
        extra = {
            **{f"frames_{group}": value for group, value in frames.items()},
            **{f"identity_{name}": branch.identity for name, branch in found.items()},
            **{f"weights_{name}": branch.weights for name, branch in found.items()},
        }
        return Outputs(feature, embedding if self.after_neck else feature, logits, clip, extra=extra)

    def _by_group(self, logits: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Branch → (…, outputs) to group → (…, outputs), attributes in the vocabulary's order."""
        each = {}
        for name, own in logits.items():
            classes = self.branches[name].attributes
            each |= zip(classes, own.split(list(classes.values()), dim=-1))
        return {group: torch.cat([each[name] for name in names], dim=-1) for group, names in self.groups.items()}


def branches_of(groups: str, population: Population, spec: Spec) -> dict[str, dict[str, int]]:
    """Branch → the attributes that it is responsible for, with their numbers of classes."""
    if groups == "two":
        return {group: dict(population.attributes[group]) for group in GROUPS}
    classes = population.attributes["relevant"]
    if {name for part in PARTS.values() for name in part} != set(classes):
        raise InputError(
            f"models.{spec.model}: groups: six are cut from MARS's attributes, which this data has not; two"
        )
    parts = {part: {name: classes[name] for name in names} for part, names in PARTS.items()}
    return {"irrelevant": dict(population.attributes["irrelevant"]), **parts}


def build(options: Options, spec: Spec, population: Population, trunk_weights: str | None = None) -> Disentangling:
    """The network of one run."""
    need_attributes(population, GROUPS, spec)
    branches = branches_of(options.groups, population, spec)
    return Disentangling(options, build_trunk(spec.trunk, trunk_weights), branches, population)


# ---- the loss ----


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """Identity of the feature and of each sub-feature, attributes of every frame, and the triplet of `unified`."""
    of_branches = [logits for name, logits in outputs.extra.items() if name.startswith("identity_")]
    identities = [losses.softmax_loss(logits, labels.pids, options.label_smoothing) for logits in of_branches]
    shared = softmax_and_triplet(outputs, labels, options)
    found = {
        "softmax": shared.pop("softmax"),
        "softmax_branches": options.branch_weight * torch.stack(identities).mean(),
        "attributes": options.attribute_weight * _attribute_loss(outputs, labels),
    }
    return found | (shared if options.triplet else {})


def _attribute_loss(outputs: Outputs, labels: Labels) -> Tensor:
    """Mean over all attributes, annotated clips and their frames, each of which has its clip's labels."""
    found = []
    for group, (targets, annotated) in labels.attributes.items():
        frames = outputs.extra[f"frames_{group}"]
        number = frames.shape[1]
        wanted, known = targets.repeat_interleave(number, 0), annotated.repeat_interleave(number)
        found += losses.attribute_cross_entropy(frames.flatten(0, 1), wanted, known, labels.classes[group]).values()
    return torch.stack(found).mean()


def collapsed(options: Options) -> dict[str, float]:
    return at_margin(options) if options.triplet else {}


# Clips as for temporal segments, one frame a chunk (assumed), and one clip of evenly spread frames to test (assumed).
# The original compares normalised features by Euclidean distance, which ranks as the cosine does.
METHOD = Method(
    options=Options, network=build, losses=terms, train_clips="chunks", test_clips="spread", collapsed=collapsed
)
