"""No step of any model looks at a value on the device: on one whose tensors have none, all of it runs.

Which leaves copies from the processor, and the optimiser, of which PyTorch has no form for such tensors.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from snakemake.utils import update_config

import tiny
from vreid import hardware
from vreid import train as training
from vreid.data.frames import FrameReader
from vreid.models import method as methods
from vreid.spec import Spec, resolve

CONFIG = Path(__file__).resolve().parent.parent / "config"
OVERLAYS = ("config.yaml", "native.yaml")


def specs() -> list[Spec]:
    config = {}
    for name in OVERLAYS:
        update_config(config, yaml.safe_load((CONFIG / name).read_text()))
    config["budget"]["trunk"] |= {"weights": "none"}
    found = [resolve(config, model, 0) for model in config["models"]]
    return [replace(s, training=replace(s.training, precision="float32")) for s in found if not s.trained_as]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("tiny")
    return root, tiny.write_dataset(root)


@pytest.fixture
def nowhere(monkeypatch):
    """A device that does nothing; to look at a value there is an error."""
    for module in (hardware, training):
        monkeypatch.setattr(module, "device", lambda: torch.device("meta"))


@pytest.mark.parametrize("spec", specs(), ids=lambda spec: spec.model)
def test_a_step_looks_at_no_value(spec, world, nowhere):
    root, table = world
    method = methods.load(spec.method)
    options = method.settings(spec)
    reader = FrameReader(root, spec.clips.height, spec.clips.width)
    data = training.TrainingData(table, "tiny", reader, spec, method)
    network = method.network(options, spec, data.population, None).to("meta", memory_format=torch.channels_last)
    optimiser = torch.optim.SGD([{"params": list(network.parameters()), "share": 1.0}], lr=0.1, foreach=False)
    trainer = training.Trainer(spec, method, options, data, network.train(), optimiser, lambda network: {})
    seen = trainer.take_step(data.batches[0], 1e-3)
    assert {"loss", "dvdp", "spread"} <= seen.keys() and all(value.is_meta for value in seen.values())
    assert trainer.step == 1
