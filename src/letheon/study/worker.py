"""A worker: takes jobs of a study until all are done; any number of them share one study."""

from __future__ import annotations

__all__ = ["work"]

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from letheon import ui
from letheon.crew import Crew
from letheon.study.execute import execute
from letheon.study.jobs import Job
from letheon.study.presence import Presence
from letheon.study.queue import Queue
from letheon.study.space import setting
from letheon.study.spec import Study

# Between two looks at the queue, in seconds, while jobs run.
_LOOK = 0.5


def work(
    study: Study,
    jobs: Mapping[str, Job],
    out: Path,
    *,
    size: int,
    storage: str | None,
    board: ui.Board,
) -> None:
    """Do jobs, up to ``size`` at a time, until all of the study are done, here or elsewhere.

    Raises the error of the first job that fails for another reason than that its model diverged;
    what was running is then queued again by whoever comes next.
    """
    presence = Presence(out)
    try:
        name = f"{study.spec.name}-{study.identity[:10]}"
        queue = Queue(name, out=out, worker=presence.name, storage=storage)
        queue.fill({key: _told(study, job) for key, job in jobs.items()})
        with Crew(size, board=board, tick=presence.beat) as crew:
            _work(study, jobs, out, queue, presence, crew, board)
    finally:
        presence.leave()


def _work(
    study: Study,
    jobs: Mapping[str, Job],
    out: Path,
    queue: Queue,
    presence: Presence,
    crew: Crew,
    board: ui.Board,
) -> None:
    while True:
        presence.beat()
        queue.put_back(presence.gone)
        done = queue.done()
        board.show("jobs of the study", len(done), len(jobs))
        if len(done) == len(jobs):
            return
        ready = [key for key, job in jobs.items() if key not in done and done.issuperset(job.needs)]
        while crew.free and (key := queue.take(ready)) is not None:
            crew.start(key, execute, study, jobs[key], out)
            ready.remove(key)
        for ended in crew.poll(_LOOK):
            if ended.error is not None:
                raise ended.error
            queue.finish(ended.name)


def _told(study: Study, job: Job) -> dict[str, Any]:
    """Say in the storage what a trial tries, for whoever reads it with Optuna's own tools."""
    if job.trial is None:
        return {"kind": job.kind}
    search = study.spec.methods[job.method].search
    values = setting(study.spec.name, job.method, job.trial, search)
    return {"kind": job.kind, "setting": values}
