"""The queue against a deque and against lightly's memory bank."""

from collections import deque

import pytest
import torch
from framework_steps import unit_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from lightly.models.modules import NNMemoryBankModule
from torch.nn.functional import normalize

from vlrepro.errors import UserError
from vlrepro.models.queue import Queue


def sorted_rows(rows: torch.Tensor) -> list[list[float]]:
    return sorted(rows.tolist())


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 12), batches=st.lists(st.integers(1, 30), max_size=8), seed=st.integers(0, 2**31))
def test_holds_the_last_rows_that_entered(size, batches, seed):
    torch.manual_seed(seed)
    queue = Queue(size, 3)
    model = deque(queue.rows.tolist(), maxlen=size)
    for number, count in enumerate(batches):
        rows = normalize(unit_rows(count, 3, seed + number).float(), dim=1)
        queue.enqueue(rows)
        model.extend(normalize(rows, dim=1).tolist())
        assert sorted_rows(queue.rows) == sorted(model)
    assert queue.entered.item() == sum(batches)
    assert queue.full == (sum(batches) >= size)


def test_wraps_around_in_place():
    # 5 places, batches of 3: the second batch fills places 3, 4 and 0.
    queue = Queue(5, 2)
    angles = torch.arange(9.0)
    rows = torch.stack([angles.cos(), angles.sin()], 1)
    for batch in rows.split(3):
        queue.enqueue(batch)
    assert torch.allclose(queue.rows, rows[[5, 6, 7, 8, 4]])


def test_stores_unit_rows_in_single_precision():
    queue = Queue(6, 4)
    assert torch.allclose(queue.rows.norm(dim=1), torch.ones(6))
    rows = (7 * unit_rows(4, 4)).to(torch.bfloat16)
    queue.enqueue(rows)
    assert queue.rows.dtype == torch.float32
    assert torch.allclose(queue.rows[:4], normalize(rows.float(), dim=1))


def test_random_rows_come_from_torchs_generator():
    torch.manual_seed(3)
    first = Queue(4, 3).rows
    torch.manual_seed(3)
    assert torch.equal(first, Queue(4, 3).rows)
    assert not torch.equal(first, Queue(4, 3).rows)


def test_nearest_equals_lightly_and_a_loop():
    bank, queue = NNMemoryBankModule((32, 6)), Queue(32, 6)
    rows = unit_rows(32, 6).float()
    bank(rows, update=True)
    queue.enqueue(rows)
    queries = torch.randn(20, 6)
    found, _ = queue.nearest(queries)
    assert torch.allclose(found, bank(queries), atol=1e-6)
    for query, row in zip(queries, found, strict=True):
        cosines = [torch.nn.functional.cosine_similarity(query, other, dim=0).item() for other in rows]
        assert torch.allclose(row, rows[cosines.index(max(cosines))])


def test_tells_rows_that_entered_from_random_ones():
    queue = Queue(4, 2)
    queue.rows.copy_(torch.tensor([[-1.0, 0.0]] * 4))
    queue.enqueue(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
    found, real = queue.nearest(torch.tensor([[2.0, 0.1], [-3.0, 0.0], [0.1, 0.2]]))
    assert real.tolist() == [True, False, True]
    assert torch.allclose(found, torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8]]))
    queue.enqueue(torch.tensor([[-1.0, 0.0]] * 3))
    assert queue.nearest(torch.tensor([[-3.0, 0.0]]))[1].item()


def test_nothing_that_enters_or_leaves_has_a_gradient():
    queue = Queue(4, 3)
    rows = unit_rows(2, 3).float().requires_grad_()
    queue.enqueue(rows)
    found, _ = queue.nearest(rows)
    assert not queue.rows.requires_grad
    assert not found.requires_grad


def test_what_was_found_stays_when_the_queue_moves_on():
    queue = Queue(3, 4)
    found, _ = queue.nearest(unit_rows(2, 4))
    before = found.clone()
    queue.enqueue(unit_rows(3, 4))
    assert torch.equal(found, before)


def test_state_dict_holds_rows_and_place():
    queue, other = Queue(5, 3), Queue(5, 3)
    queue.enqueue(unit_rows(7, 3))
    other.load_state_dict(queue.state_dict())
    more = unit_rows(2, 3)
    for one in (queue, other):
        one.enqueue(more)
    assert torch.equal(queue.rows, other.rows)
    assert queue.entered == other.entered == 9


def test_refuses_to_be_empty():
    with pytest.raises(UserError, match="queue_size"):
        Queue(0, 3)
