"""What a model costs, counted on the meta device."""

import json

import pytest
import torch

from vreid import __main__ as command_line
from vreid.cost import clip_gmac, cost, step_gmac
from vreid.outline import outline
from vreid.results import read_cost
from vreid.spec import Spec

FULL = {"streams": ["reid", "irrelevant", "relevant"], "losses": ["softmax", "triplet", "attributes", "aitl"]}


def spec(**changes) -> Spec:
    return Spec.from_mapping({"model": "m", "seed": 0, "trunk": {"weights": "none"}, **changes})


def test_the_baseline_costs_what_its_trunk_does():
    found = cost(spec(), people=625, tracklet_frames=56)
    assert (found.clip_frames, found.tracklet_clips) == (4, 14)
    assert found.clip_gmac == pytest.approx(16.21, abs=0.01)
    assert found.tracklet_gmac == pytest.approx(14 * found.clip_gmac)
    trunk, neck, classifier = 23_508_032, 2 * 2048, 2048 * 625
    assert found.parameters == trunk + neck + classifier


def test_the_streams_of_the_full_model_add_a_quarter():
    assert cost(spec(options=FULL), 625, 56).clip_gmac == pytest.approx(20.54, abs=0.02)


def test_a_method_that_tests_one_clip_of_a_tracklet_pays_for_one():
    found = cost(spec(clips={"frames": 8, "test": "chunks"}), 625, 56)
    assert (found.tracklet_clips, found.tracklet_gmac) == (1, found.clip_gmac)


def test_a_whole_tracklet_is_counted_at_its_length():
    found = cost(spec(clips={"test": "whole"}), 625, 56)
    assert found.tracklet_clips == 1
    assert found.tracklet_gmac == pytest.approx(14 * found.clip_gmac, rel=1e-3)


def test_a_step_takes_three_forward_passes_but_for_the_gradient_of_the_frames():
    """Backwards, every product has two: the gradients of its weights and of its input; frames need none."""
    small = spec(trunk={"name": "small", "width": 8, "weights": "none"}, clips={"height": 64, "width": 32})
    network = outline(small, 10)
    stem, seen = next(part for part in network.modules() if isinstance(part, torch.nn.Conv2d)), []
    stem.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    network.eval()(torch.empty(1, 4, 3, 64, 32, device="meta"))
    first = stem.weight.numel() * 4 * seen[0][-2] * seen[0][-1] / 1e9
    assert first > 0
    assert step_gmac(small, 10) == pytest.approx(8 * 4 * (3 * clip_gmac(small, 10) - first))


@pytest.mark.parametrize(
    "method", ["case", "nvan", "sta", "gltr", "temporal", "disentangling", "attribute_recognition"]
)
def test_a_step_of_every_kind_of_network_can_be_counted(method):
    small = spec(
        method=method, trunk={"name": "small", "width": 8, "weights": "none"}, clips={"height": 64, "width": 32}
    )
    forward = 8 * 4 * clip_gmac(small, 10)
    assert 2.5 * forward < step_gmac(small, 10) < 3.2 * forward


def test_the_verb_writes_what_tables_read(tmp_path):
    specs = [{"model": name, "seed": 0, "trunk": {"weights": "none"}} for name in ("one", "two")]
    arguments = ["--specs", json.dumps(specs), "--people", "625", "--tracklet-frames", "56", "--out", str(tmp_path)]
    assert command_line.main(["cost", *arguments]) == 0
    assert [read_cost(tmp_path / f"{name}.json")["model"] for name in ("one", "two")] == ["one", "two"]
