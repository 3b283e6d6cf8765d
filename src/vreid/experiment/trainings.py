"""What a run's weights are of: the training behind it, what that starts from, its method."""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from vreid.experiment.runs import Run
from vreid.spec import Spec, resolve

IMAGENET = "results/fetched/resnet50-imagenet.pth"


def training_of(config: Mapping[str, Any], run: Run) -> Run:
    """The run whose training made the weights: itself, or that of the model that its entry is trained as."""
    return run._replace(model=config["models"][run.model].get("trained_as", run.model))


def method_of(config: Mapping[str, Any], model: str) -> str:
    return resolve(config, model, 0).method


def start_of(weights: str, datasets: Collection[str]) -> Run | None:
    """The run that `trunk.weights` names (dataset/model), if it names one and no file."""
    train, _, model = weights.partition("/")
    return Run(train, model, 0) if train in datasets else None


def trunk_files(config: Mapping[str, Any], spec: Spec) -> list[str]:
    """The file that a trunk starts from, if any: of ImageNet, of another run, or by path."""
    weights = spec.trunk.weights
    if weights in ("imagenet", "none"):
        return [IMAGENET] if weights == "imagenet" else []
    start = start_of(weights, config["datasets"])
    return [f"{start.folder}/weights.pt" if start else weights]


def at_cost_scale(config: Mapping[str, Any], model: str) -> dict[str, Any]:
    """The spec of a model, as data, at the size at which costs are counted."""
    sizes, budget = config["cost"], config["budget"]
    scaled = budget | {name: budget[name] | sizes[name] for name in ("trunk", "clips")}
    return dataclasses.asdict(resolve({**config, "budget": scaled}, model, 0))
