"""Which regions of a tracklet's frames are occluded: those unlike the same region in the rest of the tracklet.

Section 3.1 of the paper ("occlusion locating"): a region whose feature is far from the tracklet's mean feature of that
region is taken for occluded. All functions are pure.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vreid.errors import InputError
from vreid.spec import within


@dataclass(frozen=True)
class Options:
    """How occluded regions are found."""

    regions: int = 3  # horizontal strips of equal height (assumed; the paper does not give their number)
    tau: float = 0.89  # a region that scores less is occluded (the paper's value, for its own features) …
    least: float = 0.05  # … if at least this share of the regions falls below it …
    most: float = 0.15  # … and at most this (both assumed)
    quantile: float = 0.10  # else the threshold is this quantile of the scores (assumed)

    def __post_init__(self):
        within(self, "regions", at_least=1)
        if not 0 <= self.least <= self.quantile <= self.most <= 1:
            raise InputError(
                f"least, quantile, most: {self.least}, {self.quantile}, {self.most} are no rising shares from 0 to 1"
            )
        within(self, "tau", at_least=-1, at_most=1)  # a cosine


def strip_weights(rows: int, regions: int) -> Tensor:
    """(regions, rows): the share of each row of a feature map in the mean of each region.

    A row that two regions share counts for both, as far as it lies in each: 8 rows are no multiple of 3 regions.
    """
    edges = torch.linspace(0, rows, regions + 1, dtype=torch.float64)
    row = torch.arange(rows, dtype=torch.float64)
    overlap = torch.minimum(edges[1:, None], row + 1) - torch.maximum(edges[:-1, None], row)
    return (overlap.clamp(min=0) * regions / rows).float()


def region_features(maps: Tensor, regions: int) -> Tensor:
    """Feature maps (N, C, h, w) → r (N, regions, C), the mean over each region, in float32."""
    return torch.einsum("kh,nch->nkc", strip_weights(maps.shape[2], regions).to(maps.device), maps.float().mean(3))


def region_scores(features: Tensor) -> Tensor:
    """r (T, regions, C) of the frames of one tracklet → cosines (T, regions) with their mean v over the tracklet."""
    return F.cosine_similarity(features, features.mean(0, keepdim=True), dim=2)


class Threshold(NamedTuple):
    tau: float
    why: str
    share: float  # of the regions that the threshold was chosen on, how many score less


def threshold(scores: np.ndarray, options: Options) -> Threshold:
    """The options' tau if a plausible share of `scores` falls below it, else their quantile.

    tau belongs to the network that the features are of; with another network's all or no regions may fall below it.
    """
    share = float((scores < options.tau).mean())
    span = f"{options.least:.0%} to {options.most:.0%}"
    if options.least <= share <= options.most:
        return Threshold(options.tau, f"{share:.1%} of the regions score below {options.tau}, within {span}", share)
    tau = float(np.quantile(scores, options.quantile))
    why = f"{share:.1%} of the regions score below {options.tau}, not {span}: the {options.quantile:.0%} quantile"
    return Threshold(tau, why, float((scores < tau).mean()))


def references(clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest unoccluded frame before and after every frame of a tracklet.

    `clean` (T,) says which frames are unoccluded. A frame is not its own reference. Where one side has none the other
    side's stands for both (assumed); where neither has one, both are -1.
    """
    places = np.arange(len(clean))
    before = np.maximum.accumulate(np.where(clean, places, -1))
    before = np.concatenate([[-1], before[:-1]])
    after = np.minimum.accumulate(np.where(clean, places, len(clean))[::-1])[::-1]
    after = np.concatenate([after[1:], [len(clean)]])
    after = np.where(after == len(clean), before, after)
    return np.where(before < 0, after, before), after
