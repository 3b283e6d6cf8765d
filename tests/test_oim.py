"""The memory of the OIM loss: what it says, and how it learns."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from vreid.models.oim import OIM


def unit(*shape, seed=0):
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def filled(people=6, width=4, momentum=0.5) -> OIM:
    oim = OIM(width, people, momentum=momentum)
    oim.memory.copy_(unit(people, width, seed=1))
    return oim


def remembered_one_by_one(memory, values, people, momentum):
    """The update rule as it is written, value by value."""
    memory = memory.clone()
    for value, person in zip(values, people):
        mixed = momentum * memory[person] + (1 - momentum) * value
        memory[person] = mixed / mixed.norm()
    return memory


def test_the_logits_are_thirty_times_the_cosines_with_the_memory():
    oim = filled()
    values = unit(5, 4)
    expected = [[30 * float(value @ entry) for entry in oim.memory] for value in values]
    assert_close(oim(values), torch.tensor(expected))


def test_a_new_memory_tells_nobody_apart():
    assert OIM(4, 6)(unit(5, 4)).count_nonzero() == 0


def test_the_first_value_of_a_person_is_remembered_as_it_is():
    oim, values = OIM(4, 3), unit(1, 4)
    oim.remember(values, torch.tensor([2]), most=1)
    assert_close(oim.memory[2], values[0])


def test_two_orthogonal_views_are_remembered_half_way_between():
    oim = OIM(2, 1)
    oim.memory[0] = torch.tensor([1.0, 0.0])
    oim.remember(torch.tensor([[0.0, 1.0]]), torch.tensor([0]), most=1)
    assert_close(oim.memory[0], torch.tensor([0.5, 0.5]).sqrt())


@pytest.mark.parametrize("momentum", [0.5, 0.9, 0.0])
@pytest.mark.parametrize(
    "people",
    [[0, 0, 0, 0, 1, 1, 1, 1], [3, 1, 3, 1, 0, 3, 3, 5], [2, 4, 1, 0, 3, 5], [5], [2] * 16],
)
def test_values_are_folded_in_one_after_the_other(people, momentum):
    oim = filled(momentum=momentum)
    values, people = unit(len(people), 4, seed=2), torch.tensor(people)
    expected = remembered_one_by_one(oim.memory, values, people, momentum)
    oim.remember(values, people, most=len(people))
    assert_close(oim.memory, expected)


def test_of_one_person_there_may_be_no_more_values_than_was_said():
    oim = filled()
    oim.remember(unit(3, 4), torch.tensor([1, 1, 2]), most=2)
    with pytest.raises(IndexError):
        oim.remember(unit(3, 4), torch.tensor([1, 1, 1]), most=2)


def test_the_last_view_of_a_person_counts_most():
    """So the mean of a person's values in a batch would be another memory."""
    first, last = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    oim = OIM(3, 1)
    oim.memory[0] = torch.tensor([0.0, 1.0, 0.0])
    oim.remember(torch.stack([first, last]), torch.tensor([0, 0]), most=2)
    assert oim.memory[0] @ last > oim.memory[0] @ first + 0.1


def test_those_who_are_not_in_the_batch_stay_as_they_are_remembered():
    oim = filled()
    before = oim.memory.clone()
    oim.remember(unit(4, 4), torch.tensor([1, 3, 1, 3]), most=2)
    assert [person for person in range(6) if torch.equal(oim.memory[person], before[person])] == [0, 2, 4, 5]


def test_no_gradient_reaches_the_memory_and_the_values_get_theirs():
    oim, values = filled(), unit(5, 4).requires_grad_()
    F.cross_entropy(oim(values), torch.tensor([0, 1, 2, 3, 4])).backward()
    assert not list(oim.parameters()) and not oim.memory.requires_grad
    assert values.grad.abs().sum() > 0


def test_what_is_remembered_does_not_hold_the_graph_of_the_step():
    oim, values = filled(), unit(5, 4).requires_grad_()
    oim.remember(values * 2, torch.tensor([0, 1, 2, 3, 4]), most=1)
    assert oim.memory.grad_fn is None


def test_the_memory_is_part_of_a_checkpoint():
    oim = filled()
    other = OIM(4, 6)
    other.load_state_dict(oim.state_dict())
    assert torch.equal(other.memory, oim.memory)


def test_the_same_batch_gives_the_same_memory_to_the_bit():
    values, people = unit(64, 4), torch.arange(64) % 5
    one, other = filled(), filled()
    for oim in (one, other):
        oim.remember(values, people, most=len(people))
    assert torch.equal(one.memory, other.memory)
