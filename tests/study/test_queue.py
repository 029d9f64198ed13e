"""The queue: a job is taken once, is put back when its worker is gone, and survives a torn line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from threading import Thread

import pytest

from letheon.errors import InputError
from letheon.study.queue import Queue

JOBS = {f"job/{k}": {"kind": "trial"} for k in range(8)}


def queue(out: Path, worker: str, storage: str | None = None) -> Queue:
    return Queue("study", out=out, worker=worker, storage=storage)


# Making a database's tables takes seconds.
@pytest.mark.parametrize("database", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_workers_never_take_the_same_job(tmp_path: Path, database: bool) -> None:
    storage = f"sqlite:///{tmp_path}/queue.db" if database else None
    taken: list[str] = []

    def work(worker: str) -> None:
        own = queue(tmp_path, worker, storage)
        own.fill(JOBS)
        while (key := own.take(JOBS)) is not None:
            taken.append(key)
            own.finish(key)

    queue(tmp_path, "first", storage)  # a new database's tables are made by one
    workers = [Thread(target=work, args=(f"w{k}",)) for k in range(2 if database else 3)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert Counter(taken) == dict.fromkeys(JOBS, 1)
    assert queue(tmp_path, "late", storage).done() == set(JOBS)


def test_what_a_lost_worker_did_is_queued_again_once(tmp_path: Path) -> None:
    lost, one, two = (queue(tmp_path, name) for name in ("lost", "one", "two"))
    lost.fill(JOBS)
    assert lost.take(["job/3"]) == "job/3"
    assert one.take(["job/3"]) is None
    assert one.put_back(lambda worker: worker == "nobody") == []
    assert one.put_back(lambda worker: worker == "lost") == ["job/3"]
    assert two.put_back(lambda worker: worker == "lost") == []
    assert two.take(["job/3"]) == "job/3"
    assert one.take(["job/3"]) is None
    lost.finish("job/3")  # it was not gone after all: too late
    assert one.done() == set()
    two.finish("job/3")
    assert one.done() == {"job/3"}


def test_a_worker_lost_before_it_said_its_name_is_asked_for_as_none(tmp_path: Path) -> None:
    one = queue(tmp_path, "one")
    one.fill(JOBS)
    (tmp_path / "claims" / "0").touch()
    assert one.take(["job/0"]) is None
    asked = []
    assert one.put_back(lambda worker: asked.append(worker) or True) == ["job/0"]
    assert asked == [None]
    assert one.take(["job/0"]) == "job/0"


def test_a_job_queued_twice_counts_once(tmp_path: Path) -> None:
    one, two = queue(tmp_path, "one"), queue(tmp_path, "two")
    one._add("job/0", {})
    two._add("job/0", {})
    assert one.take(["job/0"]) == "job/0"
    assert two.take(["job/0"]) is None
    one.finish("job/0")
    assert two.take(["job/0"]) is None
    assert two.done() == {"job/0"}


def test_a_torn_last_line_is_cut_off(tmp_path: Path) -> None:
    queue(tmp_path, "one").fill(JOBS)
    with (tmp_path / "journal.log").open("a") as file:
        file.write('{"op_code":6,"worker_id":"lo')
    again = queue(tmp_path, "two")
    assert again.take(JOBS) == "job/0"
    assert queue(tmp_path, "three").take(JOBS) == "job/1"


@pytest.mark.parametrize("url", ["nope", "postgresql://nobody/nothing"])
def test_a_database_that_cannot_be_opened_is_said(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="--storage is the URL"):
        queue(tmp_path, "one", url)
