"""Triplet loss and AITL against loops over anchors: `uv run python benchmarks/losses.py`, written to losses.md.

The loops are written from the description of the released code: for every anchor, what is its person's and what is not
is cut out with masks, the two ends of each hinge are looked for among that, and the hinges are stacked; no more often
than there, where 32 clips take 3,751 operators and 448 waits. Both sides are given the same distances, or the same
features and attribute predictions, whose distances both find in the same way, and go forward and backward. Rounds take
turns; a ratio is one of a round. Operators are counted on the processor; a cut by a mask, and a number that is asked
for, are what a GPU has to be waited for.
"""

import statistics
import time
from collections.abc import Callable

import torch
from measure import aim, write_page
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from vreid import losses

ROUNDS, CALLS, PEOPLE_CLIPS = 25, 10, {32: (8, 4), 64: (16, 4)}
ASKED = 8  # times as fast as the loops
CHANNELS, OUTPUTS = 6144, (25, 41)  # of the feature; of the irrelevant and the relevant attributes of MARS


Loss = Callable[[Tensor, list[Tensor], Tensor], Tensor]  # of B clips: (B, ·), those of each stream, pids (B,)


def looped_triplet(distances: Tensor, pids: Tensor, margin: float = 0.3) -> Tensor:
    hinges = []
    for anchor in range(len(pids)):
        farthest = distances[anchor][pids == pids[anchor]].max()
        nearest = distances[anchor][pids != pids[anchor]].min()
        hinges.append(torch.clamp(margin + farthest - nearest, min=0))
    return torch.stack(hinges).mean()


def looped_aitl(distances: Tensor, by_attributes: Tensor, pids: Tensor) -> Tensor:
    hinges = []
    for anchor in range(len(pids)):
        same = pids == pids[anchor]
        farthest = distances[anchor][same][by_attributes[anchor][same].argmax()]
        nearest = distances[anchor][same][by_attributes[anchor][same].argmin()]
        hinges.append(torch.clamp(farthest - nearest, min=0))
    return torch.stack(hinges).mean()


def ours(distances: Tensor, by_attributes: list[Tensor], pids: Tensor) -> Tensor:
    hard = [losses.aitl(distances, each, pids, self_pair=True) for each in by_attributes]
    return (losses.batch_hard_triplet(distances, pids) + sum(hard)) / 3


def looped(distances: Tensor, by_attributes: list[Tensor], pids: Tensor) -> Tensor:
    return (looped_triplet(distances, pids) + sum(looped_aitl(distances, d, pids) for d in by_attributes)) / 3


def from_features(loss: Loss) -> Loss:
    def whole(features: Tensor, predictions: list[Tensor], pids: Tensor) -> Tensor:
        by_attributes = [losses.euclidean_distances(each) for each in predictions]
        return loss(losses.cosine_distances(features), by_attributes, pids)

    return whole


def step(loss: Loss, given: tuple) -> tuple[Tensor, Tensor]:
    """The loss, and its gradient by the distances or the features."""
    first = given[0].detach().requires_grad_()
    value = loss(first, *given[1:])
    value.backward()
    return value.detach(), first.grad


class Counted(TorchDispatchMode):
    """Counts operators, and those of them for which a GPU would have to be waited."""

    operators = waits = 0

    def __torch_dispatch__(self, operator, types, arguments=(), options=None):
        self.operators += 1
        name = operator.overloadpacket.__name__
        masks = [index for index in arguments[1] if index is not None] if name == "index" else []
        self.waits += name == "_local_scalar_dense" or any(mask.dtype == torch.bool for mask in masks)
        return operator(*arguments, **(options or {}))


def seconds(loss: Loss, given: tuple) -> float:
    began = time.perf_counter()
    for _ in range(CALLS):
        step(loss, given)
    return (time.perf_counter() - began) / CALLS


def rows(clips: int, people: int, each: int) -> dict[str, tuple[str, float]]:
    """By what is given: a line of the table, and how many times as long the loops take."""
    features, pids = torch.randn(clips, CHANNELS), torch.arange(people).repeat_interleave(each)
    predictions = [torch.randn(clips, outputs) for outputs in OUTPUTS]
    distances = losses.cosine_distances(features), [losses.euclidean_distances(each) for each in predictions], pids
    whole = from_features(looped), from_features(ours), (features, predictions, pids)
    return {
        f"{clips} clips, given distances": row(f"{clips} | distances", looped, ours, distances),
        f"{clips} clips, given features": row(f"{clips} | features", *whole),
    }


def row(name: str, looped: Loss, ours: Loss, given: tuple) -> tuple[str, float]:
    found, counts = {}, {}
    for loss in (looped, ours):
        with Counted() as counted:
            found[loss] = step(loss, given)
        counts[loss] = f"{counted.operators:,} / {counted.waits:,}"
    (value, gradient), (other, its) = found[ours], found[looped]
    apart = max(float((value - other).abs() / other), float((gradient - its).norm() / its.norm()))
    rounds = [[seconds(loss, given) for loss in (looped, ours)] for _ in range(ROUNDS + 1)][1:]
    slow, fast = (statistics.median(column) * 1000 for column in zip(*rounds, strict=True))
    ratio = statistics.median(loops / own for loops, own in rounds)
    cells = (f"{slow:.2f}", f"{fast:.2f}", f"{ratio:.1f}", counts[looped], counts[ours], f"{apart:.0e}")
    return f"| {name} | {' | '.join(cells)} |", ratio


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    found = {}
    for clips, people in PEOPLE_CLIPS.items():
        found |= rows(clips, *people)
    lines = [
        "A triplet loss and an AITL for each of two attribute streams, averaged, as released, forward and backward, "
        f"on one core; medians of {ROUNDS} rounds. Given distances, the losses alone are compared; given features (of "
        f"{CHANNELS:,} channels), what both do to find the distances counts, too. The last column holds the largest "
        "relative difference of value and gradient.",
        "",
        "| clips | given | loops, ms | ours, ms | loops / ours | operators / waits of loops | of ours | differ by |",
        "|---:|---|---:|---:|---:|---:|---:|---:|",
        *(line for line, _ in found.values()),
        "",
        *(aim(f"loops / ours, {name}", ratio, at_least=ASKED) + "  " for name, (_, ratio) in found.items()),
    ]
    write_page("losses.md", "Losses", "uv run python benchmarks/losses.py", lines)


if __name__ == "__main__":
    main()
