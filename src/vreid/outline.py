"""The networks of runs before there is data for them, and what is wrong with settings that make none.

A network is built on torch's meta device, where a tensor has a shape and no values: in milliseconds, without memory or
the weights that its trunk will start from.
"""

from collections.abc import Container, Iterable
from dataclasses import replace

import torch
from torch import nn

from vreid.data import clips
from vreid.data.attributes import VOCABULARIES
from vreid.errors import InputError
from vreid.models import method as methods
from vreid.spec import Spec


def outline(spec: Spec, people: int = 2) -> nn.Module:
    """The network of a run, on the meta device, for data of `people` with MARS's attributes.

    Raises InputError where the method or its network refuses the spec.
    """
    method = methods.load(spec.method)
    attributes = {group: VOCABULARIES[0].group(group) for group in ("irrelevant", "relevant")}
    unloaded = replace(spec, trunk=replace(spec.trunk, weights="none"))
    with torch.device("meta"):
        return method.network(method.settings(spec), unloaded, methods.Population(people, attributes), None)


def check(spec: Spec, whole: bool = True) -> None:
    """Raise InputError, which names the model and the key, where a training would refuse its spec before any data.

    Unless `whole`, the method is asked for its options alone, and not whether all settings together make a network.
    """
    where = f"models.{spec.model}"
    try:
        method = methods.load(spec.method)
    except InputError as error:
        raise InputError(f"{where}.method: {error}") from None
    try:
        clips.chosen(clips.TRAIN_CLIPS, spec.clips.train, method.train_clips, "clips.train")
        clips.chosen(clips.TEST_CLIPS, spec.clips.test, method.test_clips, "clips.test")
        _check_batches(method, spec)
        outline(spec) if whole else method.settings(spec)
    except InputError as error:  # some of which name the model themselves
        raise InputError(f"{where}: {str(error).removeprefix(f'{where}: ')}") from None


def _check_batches(method: methods.Method, spec: Spec) -> None:
    compared, training = sorted(method.collapsed(method.settings(spec))), spec.training
    if compared and training.epochs and (training.batch == "tracklets" or training.clips < 2):
        raise InputError(
            f"training: the loss `{compared[0]}` compares clips of one person; let `batch` be people or cameras, and "
            "`clips` at least 2"
        )


def faults(specs: Iterable[Spec], planned: Container[str]) -> list[str]:
    """What `check` says of each spec that it refuses; whole are those of the models that are planned to run."""
    found = []
    for spec in specs:
        try:
            check(spec, whole=spec.model in planned)
        except InputError as error:
            found.append(str(error))
    return found


def strangers(names: Iterable[str]) -> set[str]:
    """Those of the names that are no method's."""
    found = set()
    for name in names:
        try:
            methods.load(name)
        except InputError:
            found.add(name)
    return found
