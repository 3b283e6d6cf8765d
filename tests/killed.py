"""Trainings in a process of their own that are killed (SIGKILL) at a chosen moment."""

import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable
from typing import Any

import torch

from vreid import embed, hardware, train
from vreid.progress import Progress


def on_cpu(replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """Train and embed on the CPU even where there is a GPU: only there are weights the same to the bit."""
    for module in (hardware, embed, train):
        replace(module, "device", lambda: torch.device("cpu"))


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill_at_call(number: int, owner: Any, name: str, condition: Callable[..., bool] = lambda *_: True) -> None:
    """Let the process die instead of the call `number` of a function that fulfils the condition."""
    function, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        if condition(*arguments):
            calls.append(1)
        if len(calls) == number:
            kill()
        return function(*arguments, **options)

    setattr(owner, name, counted)


def tear_checkpoint(number: int) -> None:
    """Die when half of a checkpoint is on the disk."""
    write_bytes = pathlib.Path.write_bytes
    calls = []

    def half(path, content):
        calls.append(1)
        if len(calls) < number:
            return write_bytes(path, content)
        write_bytes(path, content[: len(content) // 2])
        kill()

    pathlib.Path.write_bytes = half


MOMENTS: dict[str, Callable[[], None]] = {
    "before the first checkpoint": lambda: kill_at_call(2, Progress, "step"),
    "in the middle of an epoch": lambda: kill_at_call(7, Progress, "step"),
    "with half of a checkpoint written": lambda: tear_checkpoint(3),
    "with a checkpoint written, not yet named": lambda: kill_at_call(3, os, "replace"),
    "after the last epoch": lambda: kill_at_call(1, os, "replace", lambda _, path: path.name == "history.csv"),
    "with all results but the weights": lambda: kill_at_call(
        1, os, "replace", lambda _, path: path.name == "weights.pt"
    ),
}


def _train(moment: str | float, arguments: dict) -> None:
    on_cpu()
    train.CHECKPOINT_SECONDS = 0.0  # after every epoch
    if isinstance(moment, str):
        MOMENTS[moment]()
    else:
        threading.Timer(moment, kill).start()
    train.train(**arguments)


def train_until(moment: str | float, **arguments) -> bool:
    """Train until a moment of MOMENTS, or for so many seconds; returns whether the training was killed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "vreid.train"])
    process = context.Process(target=_train, args=(moment, arguments))
    process.start()
    process.join(timeout=120)
    assert process.exitcode in (0, -signal.SIGKILL), f"ended with {process.exitcode}"
    return process.exitcode != 0
