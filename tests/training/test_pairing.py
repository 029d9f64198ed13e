from __future__ import annotations

from collections import Counter

from letheon.training.pairing import Pairing, shards


def test_a_step_is_a_pure_function_of_seed_and_step() -> None:
    one = Pairing(n_forget=7, n_retain=30, forget=3, retain=5, seed=4)
    other = Pairing(n_forget=7, n_retain=30, forget=3, retain=5, seed=4)
    late = other.step(9)
    assert [one.step(k) for k in range(10)][9] == late
    assert one.step(0) != Pairing(n_forget=7, n_retain=30, forget=3, retain=5, seed=5).step(0)


def test_every_epoch_sees_every_row_once() -> None:
    pairing = Pairing(n_forget=7, n_retain=12, forget=3, retain=4, seed=0)
    forget = [row for k in range(7) for row in pairing.step(k)[0]]
    retain = [row for k in range(3) for row in pairing.step(k)[1]]
    assert [Counter(forget[i : i + 7]) for i in (0, 7, 14)] == [Counter(range(7))] * 3
    assert Counter(retain) == Counter(range(12))


def test_an_epoch_is_counted_over_the_forget_side_where_there_is_one() -> None:
    assert Pairing(n_forget=7, n_retain=90, forget=3, retain=3, seed=0).steps(2) == 5
    assert Pairing(n_forget=0, n_retain=90, forget=0, retain=3, seed=0).steps(1) == 30


def test_a_side_without_rows_stays_empty() -> None:
    assert Pairing(n_forget=0, n_retain=4, forget=0, retain=2, seed=0).step(3)[0] == []


def test_shards_keep_every_row_and_put_similar_lengths_together() -> None:
    lengths = {0: 9, 1: 1, 2: 8, 3: 2, 4: 5}
    cut = shards(list(lengths), lengths.__getitem__, 2)
    assert sorted(row for part in cut for row in part) == list(range(5))
    assert [sorted(lengths[r] for r in part) for part in cut] == [[1, 2], [5, 8, 9]]
