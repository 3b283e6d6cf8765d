"""Where a network must not be rounded: features whose small differences tell people apart."""

import contextlib

import torch


def unrounded(device: torch.device) -> contextlib.AbstractContextManager:
    """A context without autocast, for layers that make a clip's feature; the meta device has no autocast to leave."""
    if not torch.amp.is_autocast_available(device.type):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)
