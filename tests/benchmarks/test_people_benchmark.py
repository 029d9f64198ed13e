from __future__ import annotations

import inspect

from letheon.benchmarks import people
from letheon.data.people import make_people


def test_the_benchmark_is_the_generator() -> None:
    small = {"n_forget": 3, "n_retain": 4, "n_unseen": 2, "rows_per_person": 3, "n_authors": 5}
    assert people.load(seed=7, n_world=6, **small) == make_people(7, n_world=6, **small)


def test_its_defaults_are_the_generators() -> None:
    ours, theirs = (inspect.signature(f).parameters for f in (people.load, make_people))
    assert list(ours) == list(theirs)
    assert all(ours[n].default == theirs[n].default for n in ours if n != "seed")
