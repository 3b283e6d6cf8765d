"""TriNet: an embedding that a triplet loss alone shapes."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

import paper_scale
from vreid.errors import InputError
from vreid.models.method import Labels, Outputs
from vreid.models.trinet import METHOD, Options, build, terms

PAIRS = Labels(torch.tensor([0, 0, 1, 1]), {})


def network():
    torch.manual_seed(0)
    return build(Options(), paper_scale.SMALL, paper_scale.MARS)


def outputs_of(embedding):
    return Outputs(embedding, embedding, None)


def some_clips(number=6, frames=4):
    return torch.randn(number, frames, 3, 64, 32, generator=torch.Generator().manual_seed(1))


# ---- size ----


def test_the_head_adds_two_million_multiplications_to_the_trunk_s():
    native = paper_scale.on_meta(METHOD, Options(), last_stride=2)
    assert paper_scale.giga_multiplications(native, 1) == pytest.approx(2.67, abs=0.005)
    unified = paper_scale.on_meta(METHOD, Options())
    assert paper_scale.giga_multiplications(unified, 4) == pytest.approx(16.21, abs=0.006)


def test_the_head_is_1024_then_128_wide_and_there_is_no_classifier():
    found = paper_scale.on_meta(METHOD, Options())
    head = (2048 + 1) * 1024 + 2 * 1024 + (1024 + 1) * 128
    assert paper_scale.parameters([found]) == paper_scale.parameters([found.trunk]) + head
    assert found(torch.empty(2, 4, 3, 256, 128, device="meta")).embedding.shape == (2, 128)


@pytest.mark.parametrize("spec, frames", [(paper_scale.FULL, 1), (paper_scale.SMALL, 4), (paper_scale.SMALL, 1)])
def test_every_weight_learns(spec, frames):
    """But for the last shift, of which no difference of embeddings knows."""
    unmoved = paper_scale.without_gradient(METHOD, Options(), spec, frames)
    assert set(unmoved) <= {"head.3.bias"}


# ---- the head ----


def test_the_last_layer_starts_orthogonal():
    weight = network().head[-1].weight
    assert_close(weight @ weight.T, torch.eye(len(weight)), atol=1e-5, rtol=0)


def test_the_embedding_is_the_head_s_output_on_the_mean_over_time_and_space():
    ours, clips = network().eval(), some_clips()
    maps = ours.trunk(clips.flatten(0, 1)).unflatten(0, (6, 4))
    expected = ours.head(maps.mean((1, 3, 4)))
    found = ours(clips)
    assert_close(found.embedding, expected)
    assert found.feature is found.embedding and found.logits is None
    lengths = found.embedding.norm(dim=1)
    assert lengths.std() > 1e-3 * lengths.mean()  # nothing makes them equal


# ---- the loss ----


def test_the_loss_of_a_batch_worked_out_by_hand():
    """Four embeddings on a line, at 0, 3, 4 and 9."""
    found = terms(outputs_of(torch.tensor([[0.0], [3], [4], [9]])), PAIRS, Options())
    gaps = [3 - 4, 3 - 1, 5 - 1, 5 - 6]
    expected = sum(math.log(1 + math.exp(gap)) for gap in gaps) / 4
    assert list(found) == ["triplet"]
    assert float(found["triplet"]) == pytest.approx(expected, rel=1e-6)


def test_where_clips_coincide_the_gradient_is_finite():
    """A root has no slope at 0: the farthest positive of the first person is at distance 0."""
    embedding = torch.tensor([[1.0, 2], [1, 2], [3, 1], [4, 4]], requires_grad=True)
    terms(outputs_of(embedding), PAIRS, Options())["triplet"].backward()
    assert torch.isfinite(embedding.grad).all() and embedding.grad.abs().sum() > 0


def test_where_all_clips_coincide_the_loss_stands_at_ln_2():
    embedding = torch.ones(4, 8, requires_grad=True)
    loss = terms(outputs_of(embedding), PAIRS, Options())["triplet"]
    loss.backward()
    assert METHOD.collapsed(Options()) == {"triplet": pytest.approx(loss.item())}
    assert torch.isfinite(embedding.grad).all()


def test_tracklets_are_compared_as_clips_are_in_training():
    assert METHOD.distance == "euclidean" and METHOD.pool == "mean"


@pytest.mark.parametrize("key", ["hidden", "width"])
def test_a_head_without_outputs_is_refused(key):
    with pytest.raises(InputError, match=f"^models.m: {key}: 0 is not at least 1"):
        METHOD.settings(replace(paper_scale.SMALL, options={key: 0}))
