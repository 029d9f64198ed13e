"""Workers: each job once and after what it needs, also after a failure; the crew's own errors."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from letheon import crew as crews
from letheon import ui
from letheon.crew import Crew
from letheon.errors import InputError, RunError
from letheon.study import Study, worker
from letheon.study.jobs import Job, jobs_of
from letheon.study.worker import work

Watch = Callable[[dict[str, Any]], None]


class Counting:
    """Stands for the work of a job: notes what was done, and in which order."""

    def __init__(self, fail: str | None = None) -> None:
        self.done: list[str] = []
        self.fail = fail
        self._lock = Lock()

    def __call__(self, study: Study, job: Job, out: Path, watch: Watch) -> None:
        with self._lock:
            missing = set(job.needs) - set(self.done)
            assert not missing, f"{job.key} before {missing}"
            if job.key == self.fail:
                raise InputError("No.", remedy="None.")
            self.done.append(job.key)


def start(study: Study, out: Path) -> None:
    with ui.Board() as board:
        work(study, jobs_of(study), out, size=0, storage=None, board=board)


def test_two_workers_share_a_study(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting()
    monkeypatch.setattr(worker, "execute", counting)
    monkeypatch.setattr(worker, "_LOOK", 0.01)
    workers = [Thread(target=start, args=(study, tmp_path / "out")) for _ in range(2)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    assert Counter(counting.done) == dict.fromkeys(jobs_of(study), 1)
    assert list((tmp_path / "out/workers").iterdir()) == []


def test_after_a_failure_the_same_call_goes_on(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counting = Counting(fail="trial/npo-lora/001/tune-0")
    monkeypatch.setattr(worker, "execute", counting)
    monkeypatch.setattr(worker, "_LOOK", 0.01)
    with pytest.raises(InputError, match=r"No\."):
        start(study, tmp_path / "out")
    before = list(counting.done)
    counting.fail = None
    start(study, tmp_path / "out")
    assert counting.done[: len(before)] == before
    assert Counter(counting.done) == dict.fromkeys(jobs_of(study), 1)


# --- processes of their own, which need nothing imported


@pytest.fixture
def board() -> ui.Board:
    return ui.Board()


def own_process(watch: Watch) -> int:
    watch({"event": "resume", "step": 1, "steps": 4})
    return os.getpid()


def refused(watch: Watch) -> None:
    raise InputError("No.", got="this", remedy="That.")


def killed(watch: Watch) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ended(crew: Crew) -> crews.Ended:
    while not (found := crew.poll(0.1)):
        pass
    return found[0]


@pytest.mark.slow
def test_jobs_have_processes_of_their_own_and_their_errors_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(crews, "_PRELOAD", [])
    with ui.Board() as board, Crew(1, board=board) as crew:
        crew.start("first", own_process)
        assert not crew.free
        first = ended(crew)
        assert crew.free
        assert first.value not in (None, os.getpid())
        crew.start("second", refused)
        error = ended(crew).error
        assert isinstance(error, InputError)
        assert str(error) == "No. Got: this. That."
        crew.start("third", killed)
        error = ended(crew).error
        assert isinstance(error, RunError)
        assert "third, exit code -9" in str(error)
    assert "first: 1/4" in capsys.readouterr().err


def test_a_crew_of_none_works_here(board: ui.Board) -> None:
    ticks: list[int] = []
    with Crew(0, board=board, tick=lambda: ticks.append(1)) as crew:
        crew.start("here", own_process)
        assert not crew.free
        assert ended(crew).value == os.getpid()
        crew.start("refused", refused)
        assert isinstance(ended(crew).error, InputError)
    assert ticks
