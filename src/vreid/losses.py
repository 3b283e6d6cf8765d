"""The losses of AITL as pure functions of a batch, with the letters of Section 3 of the paper.

A batch holds P people with K clips each. A clip has a Re-ID feature f (B, D), an attribute prediction vector g
(B, A) and a person's label `pids` (B,), with B = P·K. FD and AD are distance matrices (B, B) over features and
over attribute predictions. Nothing here loops over anchors or waits for the device.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_distances(vectors: Tensor) -> Tensor:
    """1 − cosine similarity of every pair: (B, D) → (B, B) in [0, 2], computed in float32."""
    unit = F.normalize(vectors.float(), dim=1)
    return 1 - unit @ unit.T


def euclidean_distances(vectors: Tensor) -> Tensor:
    """Euclidean distance of every pair: (B, D) → (B, B); no Gram matrix, whose rounding drowns small distances."""
    return torch.cdist(vectors.float(), vectors.float(), compute_mode="donot_use_mm_for_euclid_dist")


DISTANCES = {"cosine": cosine_distances, "euclidean": euclidean_distances}


def softmax_loss(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """L_softmax: cross-entropy of identity logits (B, people) with labels (B,), smoothed (Szegedy et al. 2016)."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def batch_hard_triplet(distances: Tensor, pids: Tensor, margin: float = 0.3) -> Tensor:
    """L_tri: mean over anchors of [margin + farthest positive − nearest negative]₊ (Hermans et al. 2017).

    The anchor stands among its own positives at distance ~0, so a person with one clip in the batch contributes
    [margin − nearest negative]₊. A batch with one person has no negatives and loss 0.
    """
    return F.relu(margin + _hardest_gap(distances, pids)).mean()


def _hardest_gap(distances: Tensor, pids: Tensor) -> Tensor:
    """Per anchor its farthest positive − its nearest negative: (B, B), (B,) → (B,); −∞ without negatives."""
    same = pids[:, None] == pids[None, :]
    positive = distances.masked_fill(~same, -torch.inf).amax(1)
    negative = distances.masked_fill(same, torch.inf).amin(1)
    return positive - negative


class IntraClassPair(NamedTuple):
    """Per anchor: index of its intra-class negative (farthest) and positive (nearest), and whether it has both."""

    negative: Tensor  # (B,) int64
    positive: Tensor  # (B,) int64
    valid: Tensor  # (B,) bool


def intra_class_pair(distances: Tensor, pids: Tensor, self_pair: bool = False) -> IntraClassPair:
    """Eq. 3: argmax and argmin of `distances` over the other clips (j ≠ a) of the anchor's person.

    Given FD it finds FN and FP, given AD it finds AN and AP. An anchor is valid when its person has at least two
    other clips in the batch (K ≥ 3): with fewer, both would be the same clip, or missing. `self_pair` leaves the
    anchor among the candidates, as the released code does; then one other clip is enough.
    """
    candidate = pids[:, None] == pids[None, :]
    if not self_pair:
        candidate = candidate & ~torch.eye(len(pids), dtype=torch.bool, device=pids.device)
    chosen = distances.detach()
    return IntraClassPair(
        negative=chosen.masked_fill(~candidate, -torch.inf).argmax(1),
        positive=chosen.masked_fill(~candidate, torch.inf).argmin(1),
        valid=candidate.sum(1) >= 2,
    )


def intra_class_gap(distances: Tensor, pair: IntraClassPair) -> Tensor:
    """Mean over valid anchors of [FD(a, negative) − FD(a, positive)]₊; 0 where no anchor is valid.

    The body that Eq. 1 and Eq. 2 share. The paper sums over anchors; the mean keeps the weight of the term
    independent of the batch size, as for the triplet loss beside it.
    """
    far = distances.gather(1, pair.negative[:, None]).squeeze(1)
    near = distances.gather(1, pair.positive[:, None]).squeeze(1)
    gap = torch.where(pair.valid, F.relu(far - near), 0.0)
    return gap.sum() / pair.valid.sum().clamp(min=1)


def dvdp(distances: Tensor, pids: Tensor) -> Tensor:
    """Eq. 1, Distance Variance among Different Positives: the gap between FN and FP, mean over anchors."""
    return intra_class_gap(distances, intra_class_pair(distances, pids))


def spread(distances: Tensor, pids: Tensor) -> Tensor:
    """Mean distance between the clips of different people, 0 for features that are all alike; (B, B), (B,) → ()."""
    others = pids[:, None] != pids[None, :]
    return torch.where(others, distances, 0.0).sum() / others.sum().clamp(min=1)


def soft_batch_hard_triplet(distances: Tensor, pids: Tensor) -> Tensor:
    """Mean over anchors of softplus(farthest positive − nearest negative), Hermans et al. 2017; ln 2 is a collapse.

    The anchor stands among its own positives, as in `batch_hard_triplet`; a batch with one person has loss 0.
    """
    return F.softplus(_hardest_gap(distances, pids)).mean()


def margin_sample_mining(distances: Tensor, pids: Tensor, margin: float = 0.6) -> Tensor:
    """[margin + farthest pair of one person − nearest pair of two people]₊ of the whole batch (Xiao et al. 2017).

    The two pairs need not share an anchor, and they alone get a gradient: of equal ones, one is taken. A clip is a
    pair with itself at distance ~0, as in `batch_hard_triplet`; a batch with one person has loss 0.
    """
    same = pids[:, None] == pids[None, :]
    positive = distances.masked_fill(~same, -torch.inf).flatten().max(0).values  # without (0), ties would share
    negative = distances.masked_fill(same, torch.inf).flatten().min(0).values
    return F.relu(margin + positive - negative)


def itl(distances: Tensor, pids: Tensor) -> Tensor:
    """Identity-hard Triplet Loss (Table 1): pairs chosen by feature distance, so that it minimises Eq. 1 itself."""
    return dvdp(distances, pids)


def aitl(distances: Tensor, attribute_distances: Tensor, pids: Tensor, self_pair: bool = False) -> Tensor:
    """Eq. 2, Attribute-aware Identity-hard Triplet Loss: pairs chosen by AD, gap measured by FD.

    No gradient reaches the attribute distances: they only choose (argmax, argmin).
    """
    return intra_class_gap(distances, intra_class_pair(attribute_distances, pids, self_pair))


def attribute_bce(logits: Tensor, targets: Tensor, annotated: Tensor) -> Tensor:
    """L_BCE of one stream: mean over annotated clips and outputs; (B, A) logits, one-hot (B, A) targets, (B,) mask."""
    per_clip = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").mean(1)
    return torch.where(annotated, per_clip, 0.0).sum() / annotated.sum().clamp(min=1)


def attribute_cross_entropy(
    logits: Tensor, targets: Tensor, annotated: Tensor, classes: Mapping[str, int]
) -> dict[str, Tensor]:
    """Cross-entropy of each attribute of a group over its own classes: attribute → mean over annotated clips.

    Logits and one-hot targets (B, outputs) hold the attributes of `classes` (attribute → number of classes) side by
    side in its order; annotated (B,). 0 where no clip is annotated. One attribute's logits reach no other's term.
    """
    widths, count = list(classes.values()), annotated.sum().clamp(min=1)
    found = {}
    for name, own, wanted in zip(classes, logits.float().split(widths, 1), targets.split(widths, 1)):
        per_clip = -(wanted * own.log_softmax(1)).sum(1)
        found[name] = torch.where(annotated, per_clip, 0.0).sum() / count
    return found
