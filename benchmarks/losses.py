"""Triplet loss and AITL against loops over anchors: `uv run python benchmarks/losses.py`, written to losses.md.

The loops are written from the description of the released code: for every anchor, the distances to its positives and
negatives are cut out, the farthest and the nearest are found, and a hinge is appended to a list. Both sides are given
the same features and attribute predictions, and go forward and backward. Rounds take turns; a ratio is one of a round.
"""

import statistics
import time
from collections.abc import Callable

import torch
from measure import write_page
from torch import Tensor

from vreid import losses

ROUNDS, CALLS, PEOPLE_CLIPS = 15, 10, {32: (8, 4), 64: (16, 4)}
CHANNELS, OUTPUTS = 6144, (25, 41)  # of the feature; of the irrelevant and the relevant attributes of MARS


def looped_triplet(distances: Tensor, pids: Tensor, margin: float = 0.3) -> Tensor:
    hinges = []
    for anchor in range(len(pids)):
        same = pids == pids[anchor]
        farthest = distances[anchor][same].max()
        nearest = distances[anchor][~same].min()
        hinges.append(torch.clamp(margin + farthest - nearest, min=0))
    return torch.stack(hinges).mean()


def looped_aitl(distances: Tensor, attribute_distances: Tensor, pids: Tensor) -> Tensor:
    hinges = []
    for anchor in range(len(pids)):
        same = pids == pids[anchor]
        own, by_attributes = distances[anchor][same], attribute_distances[anchor][same]
        farthest, nearest = own[by_attributes.argmax()], own[by_attributes.argmin()]
        hinges.append(torch.clamp(farthest - nearest, min=0))
    return torch.stack(hinges).mean()


def ours(distances: Tensor, by_attributes: list[Tensor], pids: Tensor) -> Tensor:
    own = losses.batch_hard_triplet(distances, pids)
    return own + sum(losses.aitl(distances, each, pids, self_pair=True) for each in by_attributes)


def looped(distances: Tensor, by_attributes: list[Tensor], pids: Tensor) -> Tensor:
    return looped_triplet(distances, pids) + sum(looped_aitl(distances, each, pids) for each in by_attributes)


def seconds(loss: Callable, features: Tensor, predictions: list[Tensor], pids: Tensor, given: bool) -> float:
    """Of one forward and backward pass; from distances if they are `given`, else from the features on."""
    start = losses.cosine_distances(features).detach() if given else features
    start.requires_grad_()
    began = time.perf_counter()
    for _ in range(CALLS):
        start.grad = None
        distances = start if given else losses.cosine_distances(start)
        by_attributes = [losses.euclidean_distances(each) for each in predictions]
        loss(distances, by_attributes, pids).backward()
    return (time.perf_counter() - began) / CALLS


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lines = [
        "A triplet loss and an AITL for each of two attribute streams, as released, forward and backward, on one core.",
        "",
        "| clips | from | loops, ms | ours, ms | loops / ours | the same number |",
        "|---:|---|---:|---:|---:|---|",
    ]
    for clips, (people, each) in PEOPLE_CLIPS.items():
        pids = torch.arange(people).repeat_interleave(each)
        features, predictions = torch.randn(clips, CHANNELS), [torch.randn(clips, outputs) for outputs in OUTPUTS]
        by_attributes = [losses.euclidean_distances(each) for each in predictions]
        distances = losses.cosine_distances(features)
        same = torch.allclose(ours(distances, by_attributes, pids), looped(distances, by_attributes, pids))
        for given in (True, False):
            pairs = []
            for number in range(ROUNDS + 1):
                pair = [seconds(loss, features.clone(), predictions, pids, given) for loss in (looped, ours)]
                pairs += [pair] if number else []
            slow, fast = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
            ratio = statistics.median(loops / own for loops, own in pairs)
            start = "distances" if given else f"features of {CHANNELS:,} channels"
            lines.append(f"| {clips} | {start} | {slow:.2f} | {fast:.2f} | {ratio:.1f} | {'yes' if same else 'no'} |")
    write_page("losses.md", "Losses", "uv run python benchmarks/losses.py", lines)


if __name__ == "__main__":
    main()
