"""The convolutional trunk that every model shares: frames (N, 3, H, W) → feature maps (N, C, h, w)."""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.resnet import BasicBlock

from vreid.errors import InputError
from vreid.spec import Clips, Trunk, one_of


def build_trunk(spec: Trunk, weights: str | Path | None = None) -> nn.Sequential:
    """The trunk with the weights of a file, or untrained where `spec.weights` is `none`.

    The file is a state dict of torchvision's ResNet-50, or the weights of one of our own trainings, whose trunk is
    taken. The result has the attributes `channels`, its number of output channels, and `stage_channels`, those of each
    stage by name (layer1 to layer4).
    """
    one_of("trunk.name", spec.name, TRUNKS)
    trunk, channels = TRUNKS[spec.name](spec.width, spec.last_stride)
    if weights is not None:
        _load(trunk, _read(Path(weights)), weights)
    elif spec.weights != "none":
        raise InputError(f"trunk.weights: {spec.weights!r} needs its file: give it with --trunk-weights")
    trunk.channels = channels
    trunk.stage_channels = {f"layer{number}": channels * 2**number // 16 for number in (1, 2, 3, 4)}
    return trunk


def map_size(trunk: nn.Sequential, spec: Clips) -> tuple[int, int]:
    """Height and width of the feature maps of a run's frames."""
    with torch.no_grad():
        frame = torch.zeros(1, 3, spec.height, spec.width)
        height, width = trunk.eval()(frame).shape[-2:]  # in training mode the frame would enter the statistics
    trunk.train()
    return height, width


def head_width(published: int, channels: int) -> int:
    """Channels of a head or branch over the trunk's feature: as published for ResNet-50, but at most the trunk's own.

    So that no head of a few hundred channels stands on a small trunk. Features of several parts may be longer than the
    trunk's: Table 3 says how long each is.
    """
    return min(published, channels)


def frame_maps(trunk: nn.Module, clips: Tensor) -> Tensor:
    """Clips (B, T, 3, H, W) → feature maps (B, T, C, h, w), each frame on its own."""
    return trunk(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])


def _resnet50(_width: int, last_stride: int) -> tuple[nn.Sequential, int]:
    """ResNet-50; with last stride 1, 256×128 frames give 16×8 maps; submodules keep torchvision's names."""
    network = resnet50(weights=None)
    network.layer4[0].conv2.stride = network.layer4[0].downsample[0].stride = (last_stride, last_stride)
    return nn.Sequential(OrderedDict((n, m) for n, m in network.named_children() if n not in ("avgpool", "fc"))), 2048


def _small(width: int, last_stride: int) -> tuple[nn.Sequential, int]:
    """Stem and four BasicBlocks of width·(1, 2, 4, 8) channels; with last stride 1, 64×32 frames give 8×4 maps."""
    stages = [
        ("conv1", nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)),
        ("bn1", nn.BatchNorm2d(width)),
        ("relu", nn.ReLU(inplace=True)),
    ]
    inputs = width
    for number, (factor, stride) in enumerate(((1, 1), (2, 2), (4, 2), (8, last_stride)), start=1):
        outputs = factor * width
        shortcut = None
        if (inputs, stride) != (outputs, 1):
            projection = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)
            shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        stages.append((f"layer{number}", BasicBlock(inputs, outputs, stride, shortcut)))
        inputs = outputs
    return nn.Sequential(OrderedDict(stages)), inputs


TRUNKS = {"resnet50": _resnet50, "small": _small}


def _load(trunk: nn.Sequential, state: dict[str, Tensor], source: object) -> None:
    ours = {key.removeprefix("trunk."): value for key, value in state.items() if key.startswith("trunk.")}
    wanted = trunk.state_dict()
    # Files of torchvision's older weights do not hold the counters of batch normalisation.
    counters = {key: value for key, value in wanted.items() if key.endswith("num_batches_tracked")}
    found = counters | (ours or state)
    for key, value in wanted.items():
        if key not in found or found[key].shape != value.shape:
            was = tuple(found[key].shape) if key in found else "nothing"
            raise InputError(
                f"{source}: {key} should have shape {tuple(value.shape)}, found {was}: another trunk's weights?"
            )
    trunk.load_state_dict({key: found[key] for key in wanted})


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"{path}: no such weights file for the trunk") from None
    except Exception as error:
        raise InputError(f"{path}: not a file of weights ({error}); fetch or train it again") from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path}: not a state dict, which has a tensor a name; fetch or train it again")
    return state
