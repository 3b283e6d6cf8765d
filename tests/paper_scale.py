"""What a network costs at the scale of the paper, and whether it learns there."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vreid.models.method import Labels, Method, Population
from vreid.spec import Clips, Spec, Trunk

PEOPLE = 625  # of MARS
MARS = Population(PEOPLE, {"irrelevant": {"pose": 25}, "relevant": {"looks": 41}})
SMALL = Spec("m", 0, trunk=Trunk("small", 8, "none"), clips=Clips(frames=4, height=64, width=32))
FULL = Spec("m", 0, trunk=Trunk(weights="none"))


def on_meta(method: Method, options, last_stride: int = 1) -> nn.Module:
    """ResNet-50 at 256×128, without memory for its values."""
    spec = Spec("m", 0, trunk=Trunk(weights="none", last_stride=last_stride))
    with torch.device("meta"):
        return method.network(options, spec, MARS).eval()


def giga_multiplications(network: nn.Module, frames: int) -> float:
    """Of one clip of so many frames."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.empty(1, frames, 3, 256, 128, device="meta"))
    return counter.get_total_flops() / 2e9


def parameters(modules: Iterable[nn.Module]) -> int:
    return sum(weight.numel() for module in modules for weight in module.parameters())


def without_gradient(method: Method, options, spec: Spec, frames: int) -> list[str]:
    """Weights that two people with two clips each do not move, or move by what is not finite."""
    torch.manual_seed(0)
    network = method.network(options, spec, MARS).train()
    clips = torch.randn(4, frames, 3, spec.clips.height, spec.clips.width)
    terms = method.losses(network(clips), Labels(torch.tensor([3, 3, 9, 9]), {}), options)
    torch.stack(list(terms.values())).sum().backward()
    learned = {name: weight.grad for name, weight in network.named_parameters() if weight.requires_grad}
    return [name for name, grad in learned.items() if not moved(grad)]


def moved(gradient: Tensor | None) -> bool:
    return gradient is not None and bool(gradient.isfinite().all()) and gradient.abs().sum() > 0
