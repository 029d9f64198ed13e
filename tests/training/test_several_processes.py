"""Two processes train what one does: copies (ddp) or shards (fsdp2), killed and resumed as well."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType

import spread
import torchrun
from letheon import registry
from letheon.errors import InputError
from letheon.objectives.npo import NPO
from letheon.recipe import Training
from letheon.training import loop
from tiny import tiny_llama

OBJECTIVES = registry.names("letheon.objectives")
TOLERANCE = {"atol": 1e-5, "rtol": 0.0}


# What one start of two processes trains, by the case's name; ``runs`` of spread.py takes it.
BOTH = ("ddp", "fsdp2")
FEW = ["kl", "npo"]
HELD = [
    {"name": "l2_product", "params": {"weight": 0.1}},
    {"name": "clip_change", "params": {"limit": 0.05, "of": "absolute"}},
]
HELD_BACK: dict[str, Any] = {
    "objectives": ["npo", "gradient_difference"],
    "training": {"stabilisers": HELD, "lr": 1e-2, "accumulate": 2},
    "each": {"gradient_difference": {"forget_lr": 2e-4}},
}
BALANCED = {"balance": {"ratio": 0.5, "every": 3}, "max_grad_norm": None}
PROBED = {"probe_every": 2, "select": {"score": "calls", "direction": "down"}}
CASES: dict[str, dict[str, Any]] = {
    **{
        f"every-{kind}": {
            "objectives": OBJECTIVES,
            "training": {"parallel": kind, "accumulate": 2},
        }
        for kind in BOTH
    },
    **{
        f"full-{kind}": {"objectives": FEW, "training": {"parallel": kind}, "adapter": False}
        for kind in BOTH
    },
    **{
        f"recomputed-{kind}": {
            "objectives": FEW,
            "training": {"parallel": kind, "accumulate": 2, "gradient_checkpointing": True},
        }
        for kind in BOTH
    },
    **{
        f"offloaded-{adapter}": {
            "objectives": ["npo"],
            "training": {"offload_optimizer": True},
            "adapter": adapter,
        }
        for adapter in (True, False)
    },
    "held-back": HELD_BACK,
    "balanced": {"objectives": ["npo"], "training": BALANCED | {"parallel": "fsdp2"}},
    "bf16": {"objectives": ["npo"], "training": {"parallel": "fsdp2"}, "dtype": "bfloat16"},
    "probed": {"objectives": ["npo"], "training": {"parallel": "fsdp2", **PROBED}, "probe": True},
}


def two(folder: Path, cases: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Train in two processes; return what ``spread.runs`` would, for every case."""
    ended = torchrun.run(spread.__file__, folder, json.dumps(cases))
    assert ended.returncode == 0, ended.stderr
    return {
        case: {
            name: torch.load(folder / case / f"{name}.pt", weights_only=True)
            for name in settings["objectives"]
        }
        for case, settings in cases.items()
    }


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Every case, trained in two processes that are started once."""
    return two(tmp_path_factory.mktemp("two"), CASES)


def of(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def assert_same(found: Any, wanted: Any) -> None:
    for mine, other in zip(of(found["events"], "step"), of(wanted["events"], "step"), strict=True):
        assert mine["terms"] == pytest.approx(other["terms"], abs=1e-5, rel=0)
        assert mine["grad_norm"] == pytest.approx(other["grad_norm"], abs=1e-5, rel=0)
    for mine, other in zip(
        of(found["events"], "weights"), of(wanted["events"], "weights"), strict=True
    ):
        norms = [[m["norm"] for m in event["matrices"]] for event in (mine, other)]
        assert norms[0] == pytest.approx(norms[1], abs=1e-5)
    torch.testing.assert_close(found["params"], wanted["params"], **TOLERANCE)
    assert max(float(p.abs().max()) for k, p in found["params"].items() if "_B" in k) > 1e-3


def test_two_processes_train_what_one_does(tmp_path: Path) -> None:
    found = two(tmp_path, {"ddp": {"objectives": ["npo"], "training": {"parallel": "ddp"}}})["ddp"]
    assert_same(found["npo"], spread.runs(tmp_path, ["npo"], {})["npo"])


@pytest.mark.slow
@pytest.mark.parametrize("parallel", BOTH)
def test_every_objective_has_the_terms_and_the_adapter_of_one_process(
    parallel: str, trained: Any, tmp_path: Path
) -> None:
    found, wanted = trained[f"every-{parallel}"], spread.runs(tmp_path, OBJECTIVES, {})
    for name in OBJECTIVES:
        assert found[name]["sharded"] == (parallel == "fsdp2")
        assert_same(found[name], wanted[name])


@pytest.mark.slow
@pytest.mark.parametrize("parallel", BOTH)
def test_full_weights_with_a_reference_are_trained_as_by_one_process(
    parallel: str, trained: Any, tmp_path: Path
) -> None:
    found, wanted = trained[f"full-{parallel}"], spread.runs(tmp_path, FEW, {}, adapter=False)
    for name in FEW:
        torch.testing.assert_close(found[name]["params"], wanted[name]["params"], **TOLERANCE)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", BOTH)
def test_blocks_are_recomputed_as_one_process_keeps_them(
    parallel: str, trained: Any, tmp_path: Path
) -> None:
    found, wanted = trained[f"recomputed-{parallel}"], spread.runs(tmp_path, FEW, {})
    for name in FEW:
        assert_same(found[name], wanted[name])


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [True, False])
def test_each_process_offloads_its_own_copies(adapter: bool, trained: Any, tmp_path: Path) -> None:
    found = trained[f"offloaded-{adapter}"]["npo"]
    wanted = spread.runs(tmp_path, ["npo"], {}, adapter=adapter)["npo"]
    torch.testing.assert_close(found["params"], wanted["params"], **TOLERANCE)


@pytest.mark.slow
def test_stabilisers_and_two_rates_are_those_of_one_process(trained: Any, tmp_path: Path) -> None:
    found, wanted = trained["held-back"], spread.runs(tmp_path, **HELD_BACK)
    for name in found:
        mine, other = (of(runs[name]["events"], "step") for runs in (found, wanted))
        for key in ("penalty", "grad_norm"):
            assert [e[key] for e in mine] == pytest.approx([e[key] for e in other], rel=1e-3)
        torch.testing.assert_close(found[name]["params"], wanted[name]["params"], **TOLERANCE)
    largest = max(m["norm"] for m in of(found["npo"]["events"], "weights")[-1]["matrices"])
    assert largest == pytest.approx(0.05, rel=1e-3)


@pytest.mark.slow
def test_the_balance_finds_the_factor_of_one_process(trained: Any, tmp_path: Path) -> None:
    found = trained["balanced"]["npo"]
    wanted = spread.runs(tmp_path, ["npo"], BALANCED)["npo"]
    pairs = list(zip(*(of(x["events"], "balance") for x in (found, wanted)), strict=True))
    assert len(pairs) == 2
    for mine, other in pairs:
        for key in ("factor", "forget", "retain"):
            assert mine[key] == pytest.approx(other[key], rel=1e-4)
    torch.testing.assert_close(found["params"], wanted["params"], **TOLERANCE)


@pytest.mark.slow
def test_factors_in_fp32_are_sharded_beside_weights_in_bf16(trained: Any, tmp_path: Path) -> None:
    found, wanted = trained["bf16"], spread.runs(tmp_path, ["npo"], {}, dtype="bfloat16")
    for mine, other in zip(*(of(x["npo"]["events"], "step") for x in (found, wanted)), strict=True):
        assert mine["terms"] == pytest.approx(other["terms"], rel=1e-3)


@pytest.mark.slow
def test_shards_are_measured_as_they_are_after_the_best_are_put_back(
    trained: Any, tmp_path: Path
) -> None:
    found = trained["probed"]["npo"]
    wanted = spread.runs(tmp_path, ["npo"], PROBED, probe=True)["npo"]
    assert found["kept"] == wanted["kept"] == 2
    assert found["probed"] == pytest.approx(wanted["probed"], abs=1e-4)
    assert wanted["held"] > found["held"] == 0
    first, _, last, after = found["probed"]
    assert after == pytest.approx(first, abs=1e-4)
    assert after != pytest.approx(last, abs=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", BOTH)
def test_one_process_goes_on_where_two_were_killed(parallel: str, tmp_path: Path) -> None:
    training = {"steps": 4000, "checkpoint_every": 5, "parallel": parallel, "weights_every": 5000}
    case = {"objectives": ["npo"], "training": training, "log": True}
    started = torchrun.start(spread.__file__, tmp_path, json.dumps({".": case}))
    try:
        deadline = time.monotonic() + torchrun.SECONDS
        while len(logged(tmp_path)) < 24:
            assert started.poll() is None, started.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        pids = [int(file.read_text()) for file in tmp_path.glob("pid*")]
        assert len(pids) == 2
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
    finally:
        started.send_signal(signal.SIGINT)
        started.communicate(timeout=torchrun.SECONDS)
    before = of(logged(tmp_path), "step")
    steps = len(before) + 5
    spread.runs(tmp_path, ["npo"], {"steps": steps, "checkpoint_every": 5}, log=True)
    events = logged(tmp_path)
    resumed = of(events, "resume")[1]["step"]
    assert resumed > 0
    assert resumed % 5 == 0
    whole = of(spread.runs(tmp_path, ["npo"], {"steps": steps})["npo"]["events"], "step")
    after = of(events, "step")[len(before) :]
    assert [event["step"] for event in after] == list(range(resumed + 1, steps + 1))
    for event in [*before, *after]:
        assert event["terms"] == pytest.approx(whole[event["step"] - 1]["terms"], abs=1e-5)


@pytest.mark.slow
def test_two_processes_go_on_where_one_stopped(tmp_path: Path) -> None:
    cases = {}
    for parallel in BOTH:
        (tmp_path / parallel).mkdir()
        spread.runs(tmp_path / parallel, ["npo"], {"steps": 4}, log=True)
        training = {"steps": 9, "parallel": parallel}
        cases[parallel] = {"objectives": ["npo"], "training": training, "log": True}
    whole = spread.runs(tmp_path, ["npo"], {"steps": 9})["npo"]
    whole["events"] = of(whole["events"], "step")
    for every in two(tmp_path, cases).values():
        found = every["npo"]
        assert of(found["events"], "resume")[0]["step"] == 4
        found["events"] = whole["events"][:4] + of(found["events"], "step")
        assert_same(found, whole)


def logged(folder: Path) -> list[dict[str, Any]]:
    if not (folder / "log").exists():
        return []
    whole = (folder / "log").read_text().splitlines(keepends=True)
    return [json.loads(line) for line in whole if line.endswith("\n")]


def test_another_number_of_processes_than_asked_for_is_refused() -> None:
    training = Training(steps=1, batch_size=4, processes=2)
    with pytest.raises(InputError, match=r"Got: 1, where training.processes says 2.*torchrun"):
        loop.check(NPO(), spread.ROWS, training, tiny_llama(seed=0))


def test_what_accelerate_would_shard_itself_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    training = Training(steps=1, batch_size=4)
    with pytest.raises(InputError, match=r"Got: accelerate set to FSDP\. Start .* with torchrun"):
        loop.check(NPO(), spread.ROWS, training, tiny_llama(seed=0))
