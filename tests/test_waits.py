"""No step of any model waits for the device: on one whose tensors have no values, all of it runs."""

from pathlib import Path

import pytest
import torch
import yaml
from snakemake.utils import update_config

from vreid.data.attributes import IRRELEVANT, RELEVANT_MARS
from vreid.models import method as methods
from vreid.spec import Spec, resolve

CONFIG = Path(__file__).resolve().parent.parent / "config"
OVERLAYS = ("config.yaml", "native.yaml")
PEOPLE = 12


def specs() -> list[Spec]:
    config = {}
    for name in OVERLAYS:
        update_config(config, yaml.safe_load((CONFIG / name).read_text()))
    config["budget"]["trunk"] |= {"weights": "none"}
    found = [resolve(config, model, 0) for model in config["models"]]
    return [spec for spec in found if not spec.trained_as]


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.model)
def test_a_step_looks_at_no_value(spec):
    method = methods.load(spec.method)
    options = method.settings(spec)
    groups = {"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS}
    population = methods.Population(PEOPLE, groups)
    network = method.network(options, spec, population, None).train().to("meta")
    size = spec.training.people * spec.training.clips
    clips = torch.empty(size, spec.clips.frames, 3, spec.clips.height, spec.clips.width, device="meta")
    known = torch.empty(size, dtype=torch.bool, device="meta")
    attributes = {g: (torch.empty(size, population.outputs(g), device="meta"), known) for g in groups}
    labels = methods.Labels(torch.empty(size, dtype=torch.int64, device="meta"), attributes, groups)
    outputs = network(clips)
    terms = method.losses(outputs, labels, options)
    torch.stack(list(terms.values())).sum().backward()
    if method.remember:
        method.remember(network, outputs, labels)
    assert all(weight.grad is None or weight.grad.is_meta for weight in network.parameters())
