"""What the ledger counts: storages, once, for as long as they live."""

from __future__ import annotations

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from letheon.ledger import Ledger


def test_a_storage_counts_once_and_until_it_is_given_back() -> None:
    with Ledger() as ledger:
        first = torch.empty(1000)
        view = first.view(10, 100)[2:]
        assert ledger.now == 4000
        first.add_(1)
        assert ledger.now == 4000, "in place nothing is taken"
        second = torch.zeros(500, dtype=torch.float64)
        assert (ledger.now, ledger.peak) == (8000, 8000)
        del first
        assert ledger.now == 8000, "a view holds the storage"
        del view
        assert (ledger.now, ledger.peak) == (4000, 8000)
        ledger.restart()
        assert ledger.peak == 4000
        del second
    assert ledger.now == 0


def test_what_a_backward_pass_needs_is_alive_until_then() -> None:
    with Ledger() as ledger:
        x = torch.ones(100, requires_grad=True)
        y = x.sin().exp().sum()
        assert ledger.now == 2 * 400 + 4, "x and the exponential, the sum; the sine no more"
        y.backward()
        del y
        assert ledger.now == 2 * 400, "x and its gradient"


def test_without_numbers_the_count_is_the_same() -> None:
    def work() -> torch.Tensor:
        x = torch.ones(64, 32, requires_grad=True)
        loss = torch.nn.functional.gelu(x @ torch.ones(32, 16)).square().sum()
        loss.backward()
        return x

    with Ledger() as real:
        work()
    with FakeTensorMode(), Ledger() as fake:
        work()
    assert real.peak == fake.peak > 0
