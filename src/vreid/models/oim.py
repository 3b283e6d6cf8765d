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
    def remember(self, values: Tensor, people: Tensor, most: int) -> None:
        """Each person's entry becomes normalise(momentum · entry + (1 − momentum) · value), value by value.

        `values` (N, D) of one person are folded in one after the other, in the order of the batch, as in the original;
        those of different people at once, in `most` turns: nobody may have more among `people` (N,) (on processors an
        IndexError). It is given, since to look it up would wait for the GPU. The entries of all others stay.
        """
        turns = (people[:, None] == people).tril(-1).sum(1)  # how many values of the same person come before
        nothing = len(values)
        places = torch.full((len(self.memory), most), nothing, device=values.device)
        places[people, turns] = torch.arange(nothing, device=values.device)
        values = torch.cat([values, torch.zeros_like(values[:1])])
        memory = self.memory
        for chosen in places.unbind(1):
            mixed = F.normalize(self.momentum * memory + (1 - self.momentum) * values[chosen], dim=1)
            memory = torch.where((chosen < nothing)[:, None], mixed, memory)
        self.memory.copy_(memory)
