"""The command line under torchrun: one run folder, one voice, and an end when a process fails."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import pipeline
import torchrun
from letheon import processes, recipe, run
from letheon.errors import InputError
from letheon.folder import RunFolder
from letheon.metrics.records import read
from pipeline import UNLEARN, Letheon, changed, listing


def command(case: Path, out: Path, home: Path) -> list[str | Path]:
    return ["unlearn", case, "--out", out, "--models", home]


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp2"])
def test_a_run_of_two_processes_is_that_of_one(
    parallel: str, sine_run: Path, home: Path, tmp_path: Path
) -> None:
    raw = changed(UNLEARN, training__parallel=parallel, training__processes=2)
    out = tmp_path / "out"
    before = listing(home)
    ended = torchrun.run(
        "-m", "letheon", *command(pipeline.write(tmp_path, raw, "case"), out, home), "--json"
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == json.loads((out / "scores.json").read_text())
    assert ended.stderr.count("stopped after step 6") == 1

    RunFolder(out).verify_manifest()
    assert (listing(out), listing(home)) == (listing(sine_run), before)
    assert RunFolder(out).identity() == RunFolder(sine_run).identity()
    environment = json.loads((out / "environment.json").read_text())
    assert environment["processes"] == {"count": 2, "parallel": parallel}

    mine, theirs = (RunFolder(folder).progress() for folder in (out, sine_run))
    for kind, key in (("step", "terms"), ("probe", "scores"), ("kept", "scores")):
        pairs = zip(*([e for e in x if e["event"] == kind] for x in (mine, theirs)), strict=True)
        for event, other in pairs:
            assert event["step"] == other["step"]
            assert event[key] == pytest.approx(other[key], abs=1e-5)
    for name in ("adapter/adapter_model.safetensors", "merged/model.safetensors"):
        found, wanted = load_file(out / name), load_file(sine_run / name)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
    assert (out / "private/texts.jsonl").read_text() == (
        sine_run / "private/texts.jsonl"
    ).read_text()
    found, wanted = read(out / "examples.parquet"), read(sine_run / "examples.parquet")
    for split, columns in wanted.items():
        np.testing.assert_allclose(found[split]["nll"], columns["nll"], atol=1e-4)


@pytest.mark.slow
def test_a_target_of_full_weights_is_trained_in_shards(home: Path, tmp_path: Path) -> None:
    case = pipeline.write(tmp_path, changed(pipeline.TARGET, training__parallel="fsdp2"), "case")
    ended = torchrun.run("-m", "letheon", "train", case, "--out", tmp_path / "out")
    assert ended.returncode == 0, ended.stderr
    RunFolder(tmp_path / "out").verify_manifest()
    one = next(home.glob("target-*")) / "merged/model.safetensors"
    torch.testing.assert_close(
        load_file(tmp_path / "out/merged/model.safetensors"), load_file(one), atol=1e-5, rtol=0
    )


FAILS = """
    import os, sys
    from letheon import cli
    from letheon.errors import StorageError
    from letheon.training import loop

    rank, kind, *sys.argv[1:] = sys.argv[1:]
    step = loop._global_counts

    def fail(*args):
        fail.calls += 1
        if fail.calls == 3 and os.environ["RANK"] == rank:
            raise StorageError("It broke.", remedy="Mend it.") if kind == "ours" else KeyError("x")
        return step(*args)

    fail.calls, loop._global_counts = 0, fail
    cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "kind", "line"),
    [
        ("0", "ours", "error: It broke. Mend it."),
        ("1", "ours", "error: It broke. Mend it."),
        ("1", "unforeseen", "KeyError: 'x'"),
    ],
)
def test_a_process_that_fails_alone_ends_all_with_one_message(
    rank: str, kind: str, line: str, home: Path, tmp_path: Path
) -> None:
    script = tmp_path / "fails.py"
    script.write_text(textwrap.dedent(FAILS))
    case = pipeline.write(tmp_path, UNLEARN)
    ended = torchrun.run(script, rank, kind, *command(case, tmp_path / "out", home))
    assert ended.returncode == 1
    assert torchrun.said(ended.stderr) == [line]
    assert (tmp_path / "out/checkpoints/last.pt").exists()
    # It was no other run: one process ends it.
    run.unlearn(recipe.load(case), tmp_path / "out", home=home).verify_manifest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--set", "adapter.r=99"], "error: A rank cannot be above"),
        (["--set", "training.lr=1e30"], "error: The gradient must stay finite; at step"),
        (["--out", "/proc/nope"], "error: /proc/nope could not be written"),
    ],
)
def test_what_all_processes_fail_of_is_said_once(
    words: list[str], line: str, recipes: Path, home: Path, tmp_path: Path
) -> None:
    words = [*map(str, command(recipes / "gd-sine.yaml", tmp_path / "out", home)), *words]
    ended = torchrun.run("-m", "letheon", *words)
    assert ended.returncode == 1
    (found,) = torchrun.said(ended.stderr)
    assert found.startswith(line)


# --- in this process: what a launcher says in the environment


def test_a_launcher_must_say_which_process_this_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(InputError, match=r"WORLD_SIZE 2, but no LOCAL_RANK.*nproc-per-node 2"):
        processes.join()


def test_fewer_processes_than_the_launcher_says_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    processes.join()  # alone: accelerate keeps what it found first
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="Got: 1, where WORLD_SIZE says 2"):
        processes.join()


def test_commands_that_do_their_work_once_are_refused(
    monkeypatch: pytest.MonkeyPatch, letheon: Letheon
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "Got: list in 2 processes. Start it without torchrun." in letheon.refuses("list")


def test_the_other_processes_are_silent(monkeypatch: pytest.MonkeyPatch, letheon: Letheon) -> None:
    assert letheon("list", "bounds").out
    monkeypatch.setenv("RANK", "1")
    ended = letheon("list", "bounds")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_shards_in_fp16_are_refused(letheon: Letheon, recipes: Path) -> None:
    line = letheon.refuses(
        *("validate", recipes / "gd-sine.yaml", "--set", "training.parallel=fsdp2"),
        *("--set", "training.mixed_precision=fp16"),
    )
    assert "parallel fsdp2 goes with mixed_precision bf16 or no, not with fp16" in line
    line = letheon.refuses("validate", recipes / "gd-sine.yaml", "--set", "training.parallel=fsdp")
    assert "training.parallel = 'fsdp'" in line
