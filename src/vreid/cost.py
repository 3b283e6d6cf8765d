"""What a model costs, counted without running it: parameters, and multiply-adds of a test clip and of a tracklet."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from vreid.data import clips
from vreid.files import written_whole
from vreid.models import method as methods
from vreid.outline import outline
from vreid.spec import Spec


class Cost(NamedTuple):
    parameters: int
    clip_frames: int  # of a test clip; of a method that tests whole tracklets, T
    clip_gmac: float  # 10⁹ multiply-adds
    tracklet_frames: int
    tracklet_clips: int  # what the method's test rule makes of a tracklet of so many frames …
    tracklet_gmac: float  # … and what all of them take


def cost(spec: Spec, people: int, tracklet_frames: int) -> Cost:
    """The cost of a model that tells `people` apart by MARS's attributes, at the sizes of its spec.

    Convolutions and products of matrices count, fused or not; norms, activations and pooling do not.
    """
    network = outline(spec, people).eval()
    choose = clips.chosen(clips.TEST_CLIPS, spec.clips.test, methods.load(spec.method).test_clips, "clips.test")
    tested = choose(np.arange(tracklet_frames), spec.clips, spec.clips.test_clips)
    return Cost(
        parameters=sum(weight.numel() for weight in network.parameters()),
        clip_frames=spec.clips.frames,
        clip_gmac=_gmac(network, spec, spec.clips.frames),
        tracklet_frames=tracklet_frames,
        tracklet_clips=len(tested),
        tracklet_gmac=len(tested) * _gmac(network, spec, tested.shape[1]),
    )


def scale(spec: Spec) -> str:
    """What costs are counted with, in words, such as "ResNet-50 at 256×128"."""
    trunk = "ResNet-50" if spec.trunk.name == "resnet50" else f"the {spec.trunk.name} trunk of width {spec.trunk.width}"
    return f"{trunk} at {spec.clips.height}×{spec.clips.width}"


def step_gmac(spec: Spec, people: int) -> float:
    """10⁹ multiply-adds of one training step: the whole batch forwards and backwards, at the sizes of the spec.

    The backward pass is counted, not taken for twice the forward one; the losses are left out.
    """
    network, size = outline(spec, people).train(), spec.training.people * spec.training.clips
    batch = torch.empty(size, spec.clips.frames, 3, spec.clips.height, spec.clips.width, device="meta")
    with FlopCounterMode(display=False) as counter:
        outputs = network(batch)
        values = [outputs.feature, outputs.embedding, outputs.logits]
        values += [*outputs.attributes.values(), *outputs.attention.values(), *outputs.extra.values()]
        learned = [value.sum() for value in values if value is not None and value.requires_grad]
        torch.stack(learned).sum().backward()
    return counter.get_total_flops() / 2e9


def clip_gmac(spec: Spec, people: int) -> float:
    """10⁹ multiply-adds of one test clip of T frames, at the sizes of the spec."""
    return _gmac(outline(spec, people).eval(), spec, spec.clips.frames)


def _gmac(network: torch.nn.Module, spec: Spec, frames: int) -> float:
    clip = torch.empty(1, frames, 3, spec.clips.height, spec.clips.width, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(clip)
    return counter.get_total_flops() / 2e9  # it counts a multiply-add as two


def write_costs(specs: Iterable[Spec], people: int, tracklet_frames: int, folder: Path) -> None:
    """Write the cost of each model to `folder`/<model>.json."""
    for spec in specs:
        found = {"model": spec.model, "method": spec.method, "scale": scale(spec)}
        found |= cost(spec, people, tracklet_frames)._asdict()
        with written_whole(folder / f"{spec.model}.json") as aside:
            aside.write_text(json.dumps(found, indent=2) + "\n")
