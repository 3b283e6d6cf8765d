"""Classifiers of attributes start from the shares that their classes have in training, whatever the method."""

import numpy as np
import pytest
import torch

from vreid.data.attributes import IRRELEVANT, RELEVANT_MARS
from vreid.models import method as methods
from vreid.models.method import Population
from vreid.spec import Clips, Spec, Trunk

CLASSES = {"irrelevant": IRRELEVANT, "relevant": RELEVANT_MARS}
SIZES = {name: count for own in CLASSES.values() for name, count in own.items()}
SHARES = {name: np.random.default_rng(count).dirichlet(np.ones(count)) for name, count in SIZES.items()}
WHOLE = {
    "multitask": {"streams": ("reid", "irrelevant", "relevant"), "losses": ("softmax", "attributes")},
    "disentangling": {"groups": "six"},
    "attribute_recognition": {"quality": True},
}


def network(method: str, shares: dict, **options):
    spec = Spec("model", 0, method, options=options, trunk=Trunk("small", 8, "none"), clips=Clips(4, 64, 32))
    torch.manual_seed(0)
    found = methods.load(method)
    return found.network(found.settings(spec), spec, Population(5, CLASSES, shares))


def biases(method: str, built) -> dict[str, torch.Tensor]:
    """Attribute → the biases of its classes."""
    if method == "attribute_recognition":
        return {name: head.classify.bias for heads in built.heads.values() for name, head in heads.items()}
    if method == "disentangling":
        heads = [(branch.attributes, branch.recognise) for branch in built.branches.values()]
    else:
        heads = [(CLASSES[group], stream.classifier) for group, stream in built.attribute_streams.items()]
    return {name: own for classes, head in heads for name, own in zip(classes, head.bias.split(list(classes.values())))}


@pytest.mark.parametrize("method", WHOLE)
def test_without_evidence_the_classes_are_as_likely_as_in_training(method):
    found = biases(method, network(method, SHARES, **WHOLE[method]))
    assert found.keys() == SHARES.keys()
    for name, bias in found.items():
        said = bias.sigmoid() if method == "multitask" else bias.softmax(0)
        expected = torch.tensor(SHARES[name]).clamp(1e-3, 1 - 1e-3)
        torch.testing.assert_close(said.double(), expected, atol=5e-3, rtol=0)


@pytest.mark.parametrize("method", WHOLE)
def test_what_is_never_seen_and_what_always_is_have_a_finite_start(method):
    one_sided = {name: [1.0] + [0.0] * (count - 1) for name, count in SIZES.items()}
    for bias in biases(method, network(method, one_sided, **WHOLE[method])).values():
        assert bias.isfinite().all() and bias.argmax() == 0


@pytest.mark.parametrize("method", WHOLE)
def test_nothing_else_of_the_network_depends_on_the_shares(method):
    one, other = (network(method, shares, **WHOLE[method]).state_dict() for shares in (SHARES, {}))
    differing = {name for name in one if not torch.equal(one[name], other[name])}
    assert differing and all(name.endswith("bias") for name in differing)
