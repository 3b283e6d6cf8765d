"""The device that networks run on, and the precision they run in."""

import contextlib
import os
import socket

import torch
from torch import Tensor

from vreid.data.clips import normalise
from vreid.errors import InputError


def device() -> torch.device:
    """The GPU, if torch can use one. Raises InputError where SLURM has given a GPU that it cannot.

    Else a node with a broken driver would train on its processors until the time limit.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    given = os.environ.get("CUDA_VISIBLE_DEVICES") if "SLURM_JOB_ID" in os.environ else ""
    if given and os.environ.get("VREID_DEVICE") != "cpu":
        raise InputError(
            f"SLURM gave this job GPU {given} of {socket.gethostname()}, and torch cannot use it (the driver, or a"
            " torch for processors alone?); exclude the node, or set VREID_DEVICE=cpu to do without"
        )
    return torch.device("cpu")


CPU = "CPU"


def device_name() -> str:
    return torch.cuda.get_device_name() if device().type == "cuda" else CPU


def precision(asked: str) -> str:
    """`auto` is bfloat16 where the hardware multiplies it (GPUs, CPUs with AVX-512 BF16), else float32."""
    if asked != "auto":
        return asked
    if device().type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported()
    return "bfloat16" if fast else "float32"


def autocast(asked: str) -> contextlib.AbstractContextManager:
    if precision(asked) == "float32":
        return contextlib.nullcontext()
    return torch.autocast(device().type, dtype=torch.bfloat16)


def to_network(frames: Tensor) -> Tensor:
    """uint8 clips (B, T, 3, H, W) → normalised float32 on the device, channels last in memory."""
    b, t = frames.shape[:2]
    moved = frames.to(device(), non_blocking=True).flatten(0, 1)
    return normalise(moved).contiguous(memory_format=torch.channels_last).unflatten(0, (b, t))
