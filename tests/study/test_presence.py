"""Who is gone: ended processes at once, other machines when they have been silent long enough."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from letheon.study import presence
from letheon.study.presence import BEAT, STALE, Presence


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(presence, "time", found)
    return found


def change(out: Path, worker: Presence, **values: object) -> None:
    file = out / "workers" / f"{worker.name}.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_a_living_process_is_there_and_one_that_left_is_gone(tmp_path: Path) -> None:
    one, two = Presence(tmp_path), Presence(tmp_path)
    assert not two.gone(one.name)
    assert not one.gone(one.name)
    one.leave()
    assert two.gone(one.name)


def test_an_ended_process_is_gone_at_once_also_when_its_number_is_used_again(
    tmp_path: Path,
) -> None:
    one, two = Presence(tmp_path), Presence(tmp_path)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    change(tmp_path, one, pid=ended.pid)
    assert two.gone(one.name)
    change(tmp_path, two, started="1")
    assert one.gone(two.name)


def test_another_machine_is_gone_when_it_is_silent(tmp_path: Path, clock: Clock) -> None:
    here, there = Presence(tmp_path), Presence(tmp_path)
    for beat in range(3):
        change(tmp_path, there, machine="elsewhere", beats=beat)
        assert not here.gone(there.name)
        clock.now += STALE - 1
        assert not here.gone(there.name)
    clock.now += 2
    assert here.gone(there.name)
    assert not here.gone(None), "who never said its name is given the same time"
    clock.now += STALE + 1
    assert here.gone(None)


def test_a_beat_is_written_now_and_then(tmp_path: Path, clock: Clock) -> None:
    own = Presence(tmp_path)
    file = tmp_path / "workers" / f"{own.name}.json"
    own.beat()
    assert json.loads(file.read_text())["beats"] == 1
    clock.now += BEAT
    own.beat()
    assert json.loads(file.read_text())["beats"] == 2
