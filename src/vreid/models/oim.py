"""Online Instance Matching (Xiao et al. 2017): people are told apart by a memory of what they look like."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class OIM(nn.Module):
    """A memory of one unit vector a person, which takes the place of a classifier's weights.

    Values (N, D), of unit length → logits (N, people), `scale` times their cosines with the memory, no gradient into
    the memory. It is learned by `remember` alone, from zeros; it is a buffer, so that a checkpoint holds it.
    """

    memory: Tensor  # (people, D)

    def __init__(self, width: int, people: int, scale: float = 30.0, momentum: float = 0.5):
        super().__init__()
        self.scale, self.momentum = scale, momentum
        self.register_buffer("memory", torch.zeros(people, width))

    def forward(self, values: Tensor) -> Tensor:
        return self.scale * values @ self.memory.T

    @torch.no_grad()
    def remember(self, values: Tensor, people: Tensor) -> None:
        """Each person's entry becomes normalise(momentum · entry + (1 − momentum) · value), value by value.

        `values` (N, D) are folded in one after the other, in the order of the batch, as in the original. The entries of
        people who are not among `people` (N,) stay.
        """
        for value, person in zip(values.split(1), people.split(1)):  # by tensors: a number would wait for the GPU
            mixed = self.momentum * self.memory[person] + (1 - self.momentum) * value
            self.memory[person] = F.normalize(mixed, dim=1)
