"""The queue of a study's jobs in an Optuna storage, which several workers share.

A job is an Optuna trial that names it. A worker takes one that waits by creating a file of the
trial's in ``claims/``, which succeeds for one worker alone on any file system, and then lets the
trial run. Optuna's own change from WAITING to RUNNING is as exclusive in a journal and in databases
that lock rows, but not in SQLite: there two workers may change a trial that both saw waiting.

What a worker that is gone was doing fails and is queued again: of several trials with one job only
the first that has not failed counts, so that it does no harm when two workers queue it at once.
"""

from __future__ import annotations

__all__ = ["Queue"]

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import (
    DuplicatedStudyError,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from letheon.errors import InputError, StorageError

_JOB = "job"
_LIVE = (TrialState.WAITING, TrialState.RUNNING, TrialState.COMPLETE)


class Queue:
    """The jobs of the study ``name``, taken by ``worker``.

    ``storage`` is a database's URL as SQLAlchemy reads it; default the file ``journal.log`` in
    ``out``, which a network file system may hold.
    """

    def __init__(self, name: str, *, out: Path, worker: str, storage: str | None = None) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._worker = worker
        self._claims = out / "claims"
        with _storing():
            self._claims.mkdir(parents=True, exist_ok=True)
            self._storage = _journal(out) if storage is None else _database(storage)
            self._study = _study(self._storage, name)

    def fill(self, jobs: Mapping[str, Mapping[str, Any]]) -> None:
        """Queue the jobs that are not yet: by key, with what a reader of the storage may want."""
        known = self._current()
        with _storing():
            for key, told in jobs.items():
                if key not in known:
                    self._add(key, told)

    def done(self) -> set[str]:
        """Return the keys of the jobs that are done."""
        return {k for k, t in self._current().items() if t.state == TrialState.COMPLETE}

    def take(self, keys: Iterable[str]) -> str | None:
        """Take the first of ``keys`` that waits, for this worker alone; None when none does."""
        current = self._current()
        for key in keys:
            trial = current.get(key)
            if trial is not None and trial.state == TrialState.WAITING and self._claim(trial):
                return key
        return None

    def finish(self, key: str) -> None:
        """Mark a job that this worker took as done; one that was taken from it is another's."""
        trial = self._current().get(key)
        if trial is not None and self._owner(trial) == self._worker:
            self._set(trial, TrialState.COMPLETE)

    def put_back(self, gone: Callable[[str | None], bool]) -> list[str]:
        """Queue again what workers that are ``gone`` were doing; return the keys.

        ``gone`` is asked of None where a worker was lost before it had said its name.
        """
        with _storing():
            claimed = {file.name for file in self._claims.iterdir()}
        found = []
        for key, trial in self._current().items():
            taken = trial.state != TrialState.COMPLETE and str(trial._trial_id) in claimed
            if taken and gone(self._owner(trial)) and self._set(trial, TrialState.FAIL):
                told = {k: v for k, v in trial.user_attrs.items() if k != _JOB}
                with _storing():
                    self._add(key, told)
                found.append(key)
        return found

    def _current(self) -> dict[str, FrozenTrial]:
        """Return the trial that counts of each job: the first that has not failed."""
        with _storing():
            trials = self._storage.get_all_trials(self._study, deepcopy=False, states=_LIVE)
        found: dict[str, FrozenTrial] = {}
        for trial in sorted(trials, key=lambda trial: trial.number):
            found.setdefault(trial.user_attrs[_JOB], trial)
        return found

    def _add(self, key: str, told: Mapping[str, Any]) -> None:
        waiting = create_trial(state=TrialState.WAITING, user_attrs={_JOB: key, **told})
        self._storage.create_new_trial(self._study, template_trial=waiting)

    def _claim(self, trial: FrozenTrial) -> bool:
        with _storing():
            try:
                with self._claims.joinpath(str(trial._trial_id)).open("x") as file:
                    file.write(self._worker)
            except FileExistsError:
                return False
        return self._set(trial, TrialState.RUNNING)

    def _owner(self, trial: FrozenTrial) -> str | None:
        file = self._claims / str(trial._trial_id)
        with _storing():
            return (file.read_text() or None) if file.is_file() else None

    def _set(self, trial: FrozenTrial, state: TrialState) -> bool:
        try:
            with _storing():
                return bool(self._storage.set_trial_state_values(trial._trial_id, state))
        except UpdateFinishedTrialError:  # another worker was first
            return False


@contextmanager
def _storing() -> Iterator[None]:
    try:
        yield
    except (OSError, StorageInternalError, SQLAlchemyError) as error:
        raise StorageError(
            f"The study's queue could not be read or written: {error}.",
            remedy="Free space or mend the database; the same command goes on.",
        ) from error


def _journal(out: Path) -> BaseStorage:
    # An absolute path: workers may start in other folders.
    file = (out / "journal.log").resolve()
    lock = JournalFileOpenLock(str(file))
    _mend(file, lock)
    return JournalStorage(JournalFileBackend(str(file), lock_obj=lock))


def _mend(file: Path, lock: JournalFileOpenLock) -> None:
    """Cut off a last line that a full disk or a lost machine left half written.

    The next one would be appended to it, and no worker could read the journal any more.
    """
    if not file.is_file() or _whole(file.read_bytes()):
        return
    lock.acquire()
    try:
        text = file.read_bytes()
        if not _whole(text):
            os.truncate(file, text.rfind(b"\n") + 1)
    finally:
        lock.release()


def _whole(text: bytes) -> bool:
    return not text or text.endswith(b"\n")


def _database(url: str) -> BaseStorage:
    try:
        return RDBStorage(url)
    except (ImportError, SQLAlchemyError) as error:
        raise InputError(
            "--storage is the URL of a database that SQLAlchemy can open.",
            got=f"{url}: {error}",
            remedy="For example sqlite:///study.db, or leave it out: the journal is a file.",
        ) from None


def _study(storage: BaseStorage, name: str) -> int:
    try:
        return int(storage.create_new_study([StudyDirection.MINIMIZE], name))
    except DuplicatedStudyError:
        return int(storage.get_study_id_from_name(name))
