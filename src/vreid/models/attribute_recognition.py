"""Recognition of a tracklet's attributes, with a temporal attention for each (Chen et al., PRCV 2019).

Two branches on the trunk, one for motion and pose and one for the ID-relevant attributes; in each, every attribute has
an attention over time of its own, since other frames show a bag than show the hair. Nothing here learns who people are:
the method is compared by what it recognises. The feature that the pipeline asks for, by which it is validated and
tested as any other, is that of the ID-relevant branch, pooled over time and space.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vreid import losses
from vreid.data.attributes import QUALITY
from vreid.models.frame_scores import FrameScores
from vreid.models.heads import start_at_shares
from vreid.models.method import Labels, Method, Outputs, Population, need_attributes
from vreid.models.trunk import build_trunk, frame_maps
from vreid.spec import Spec, within

GROUPS = ("irrelevant", "relevant")


@dataclass(frozen=True)
class Options:
    """A model's row. The defaults are those of the released code."""

    quality: bool = False  # the seven attributes of a tracklet's quality are recognised too, in the branch of motion
    dropout: float = 0.5  # of a frame's features before attention and heads
    attention_channels: int = 256  # between the two convolutions of an attention
    attention_relu: bool = True  # as released: scores below 0 are 0; where all are, frames count alike and stay so

    def __post_init__(self):
        within(self, "dropout", at_least=0, below=1)
        within(self, "attention_channels", at_least=1)

    def recognises(self, attribute: str) -> bool:
        return self.quality or attribute not in QUALITY


class AttributeHead(nn.Module):
    """One attribute: frames' features (B, T, C) → logits (B, classes) of their mean, weighted by its own attention."""

    def __init__(self, channels: int, between: int, classes: int, relu: bool = True):
        super().__init__()
        self.each = nn.Conv1d(channels, between, kernel_size=1)
        self.scores = FrameScores(between, relu)
        self.classify = nn.Linear(channels, classes)

    def forward(self, frames: Tensor) -> Tensor:
        return self.classify((self.attention(frames).unsqueeze(2) * frames).sum(1))

    def attention(self, frames: Tensor) -> Tensor:
        """The frames' weights (B, T), which sum to 1 over time."""
        return self.scores(self.each(frames.transpose(1, 2)).transpose(1, 2)).softmax(1)


class Branch(nn.Module):
    """The frames' features (B, T, C) of one branch, from maps (B, T, C, h, w)."""

    def __init__(self, channels: int):
        super().__init__()
        self.convolution = nn.Conv2d(channels, channels, kernel_size=1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        convolved = self.convolution(maps.flatten(0, 1)).relu()
        return convolved.mean((2, 3), dtype=torch.float32).unflatten(0, maps.shape[:2])


class AttributeRecognition(nn.Module):
    """Clips (B, T, 3, H, W) → Outputs, whose identity logits are none: (B, 0).

    `attributes` are NaN where no head recognises one, which are the seven of quality unless `options.quality`.
    """

    def __init__(self, options: Options, trunk: nn.Sequential, population: Population):
        super().__init__()
        self.classes, self.dropout = population.attributes, options.dropout
        self.trunk = trunk
        self.branches = nn.ModuleDict({group: Branch(trunk.channels) for group in GROUPS})
        head = partial(AttributeHead, trunk.channels, options.attention_channels, relu=options.attention_relu)
        self.heads = nn.ModuleDict(
            {
                group: nn.ModuleDict(
                    {name: head(n) for name, n in self.classes[group].items() if options.recognises(name)}
                )
                for group in GROUPS
            }
        )
        for heads in self.heads.values():
            for name, own in heads.items():
                start_at_shares(own.classify, population, [name], exclusive=True)

    def forward(self, clips: Tensor) -> Outputs:
        maps = frame_maps(self.trunk, clips)  # (B, T, C, h, w)
        frames = {group: branch(maps) for group, branch in self.branches.items()}
        logits = {group: self._recognise(group, own) for group, own in frames.items()}
        feature = frames["relevant"].mean(1)
        return Outputs(feature, feature, None, logits)

    def _recognise(self, group: str, frames: Tensor) -> Tensor:
        """(B, T, C) → (B, outputs of the group)."""
        seen, heads = F.dropout(frames, self.dropout, self.training), self.heads[group]
        nothing = partial(frames.new_full, fill_value=torch.nan)
        found = [
            heads[name](seen) if name in heads else nothing((len(frames), classes))
            for name, classes in self.classes[group].items()
        ]
        return torch.cat(found, dim=1)


def build(
    options: Options, spec: Spec, population: Population, trunk_weights: str | None = None
) -> AttributeRecognition:
    """The network of one run."""
    need_attributes(population, GROUPS, spec)
    return AttributeRecognition(options, build_trunk(spec.trunk, trunk_weights), population)


def terms(outputs: Outputs, labels: Labels, options: Options) -> dict[str, Tensor]:
    """The sum over the recognised attributes of their cross-entropies over their numbers of classes, a term a group."""
    found = {}
    for group, logits in outputs.attributes.items():
        classes = labels.classes[group]
        each = losses.attribute_cross_entropy(logits, *labels.attributes[group], classes)
        found[f"attributes_{group}"] = sum(each[name] / n for name, n in classes.items() if options.recognises(name))
    return found


# Successive frames as in the released code; its text would have random ones (`clips.train: random`).
METHOD = Method(options=Options, network=build, losses=terms)
