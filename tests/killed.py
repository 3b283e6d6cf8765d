"""Trainings in a process of their own that are killed (SIGKILL), or told to end (SIGTERM), at a chosen moment."""

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


def tell_to_end() -> None:
    """As a cluster does: all processes of a job."""
    for process in multiprocessing.active_children():
        process.terminate()
    os.kill(os.getpid(), signal.SIGTERM)


def at_call(
    number: int,
    owner: Any,
    name: str,
    condition: Callable[..., bool] = lambda *_: True,
    happens: Callable[[], None] = kill,
) -> None:
    """Let something happen before the call `number` of a function that fulfils the condition: by default, death."""
    function, calls = getattr(owner, name), []

    def counted(*arguments, **options):
        if condition(*arguments):
            calls.append(1)
            if len(calls) == number:
                happens()
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


def saving_every_step() -> None:
    train.MIDWAY_SECONDS = 0.0


MOMENTS: dict[str, Callable[[], None]] = {
    "before the first checkpoint": lambda: at_call(2, Progress, "step"),
    "in the middle of an epoch": lambda: at_call(7, Progress, "step"),
    "long in the middle of an epoch": lambda: (saving_every_step(), at_call(7, Progress, "step")),
    "with half of a checkpoint written": lambda: tear_checkpoint(3),
    "with a checkpoint written, not yet named": lambda: at_call(3, os, "replace"),
    "after the last epoch": lambda: at_call(1, os, "replace", lambda _, path: path.name == "history.csv"),
    "with all results but the weights": lambda: at_call(1, os, "replace", lambda _, path: path.name == "weights.pt"),
}
ENDINGS: dict[str, Callable[[], None]] = {
    "in the first epoch": lambda: at_call(1, train.Trainer, "take_step", happens=tell_to_end),
    "in the middle of an epoch": lambda: at_call(7, train.Trainer, "take_step", happens=tell_to_end),
    "at the end of an epoch": lambda: at_call(8, train.Trainer, "take_step", happens=tell_to_end),
    "during a validation": lambda: at_call(1, train, "validation_scores", happens=tell_to_end),
}


def _train(moment: str | float, arguments: dict, told: bool) -> None:
    on_cpu()
    train.CHECKPOINT_SECONDS = 1e9 if told else 0.0  # only when told; after every epoch
    if isinstance(moment, str):
        (ENDINGS if told else MOMENTS)[moment]()
    else:
        threading.Timer(moment, kill).start()
    train.train(**arguments)


def exit_status(target: Callable, *arguments) -> int | None:
    """Of a process of its own that calls `target`."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "vreid.train", "vreid.completion.train"])
    process = context.Process(target=target, args=arguments)
    process.start()
    process.join(timeout=300)
    return process.exitcode


def train_until(moment: str | float, **arguments) -> bool:
    """Train until a moment of MOMENTS, or for so many seconds; returns whether the training was killed."""
    status = exit_status(_train, moment, arguments, False)
    assert status in (0, -signal.SIGKILL), f"ended with {status}"
    return status != 0


def train_until_told(moment: str, **arguments) -> int | None:
    """Train until a moment of ENDINGS, at which SIGTERM comes; returns the exit status."""
    return exit_status(_train, moment, arguments, True)
