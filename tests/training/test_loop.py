from __future__ import annotations

import math
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import peft
import pytest
import torch

from letheon.adapters import BoundedLoraConfig
from letheon.errors import DivergedError, InputError
from letheon.objectives.finetune import FineTune
from letheon.objectives.gradient_difference import GradientDifference
from letheon.objectives.npo import NPO
from letheon.recipe import Requirement, Selection, Training
from letheon.training import loop
from letheon.training.checkpoint import Checkpoint, load_trained, scaler_state, trained_state
from letheon.training.parallel import wrap
from tiny import tiny_llama, tiny_rows

ROWS = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)


def adapted(bound: str = "sine") -> Any:
    return peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, bound=bound, seed=0))


def run(model: Any, objective: Any = None, **settings: Any) -> tuple[loop.Outcome, list[dict]]:
    events: list[dict] = []
    keywords = {k: settings.pop(k) for k in ("probe", "checkpoint") if k in settings}
    training = Training(**{"steps": 4, "batch_size": 3, "lr": 1e-2, **settings})
    objective = objective or GradientDifference()
    outcome = loop.run(model, objective, ROWS, training, watch=events.append, **keywords)
    return outcome, events


def losses(events: list[dict]) -> list[dict[str, float]]:
    return [e["terms"] for e in events if e["event"] == "step"]


def test_fine_tuning_lowers_the_loss() -> None:
    model = tiny_llama(seed=0)
    _, events = run(model, FineTune(), steps=60, batch_size=9)
    assert losses(events)[-1]["retain"] < 0.3 * losses(events)[0]["retain"]


def test_only_the_adapter_moves() -> None:
    model = adapted()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    run(model)
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved == {k for k, p in model.named_parameters() if p.requires_grad}


def test_the_reference_is_the_model_before_the_first_step() -> None:
    """NPO's first step sees ratio 0, so its term is (2 / beta) log 2 whatever the model."""
    for model in (adapted(), tiny_llama(seed=0)):
        _, events = run(model, NPO(beta=0.2), steps=2)
        assert losses(events)[0]["forget"] == pytest.approx(10 * math.log(2), rel=1e-5)
        assert losses(events)[1]["forget"] != pytest.approx(10 * math.log(2), rel=1e-3)


def test_a_kl_reference_with_full_weights_says_that_it_holds_a_second_model() -> None:
    _, events = run(tiny_llama(seed=0), GradientDifference(retain="kl"), steps=1)
    assert any(e["event"] == "note" and "second copy" in e["text"] for e in events)
    assert losses(events)[0]["retain"] == pytest.approx(0, abs=1e-6)


def test_a_loss_that_is_not_finite_names_step_and_term_and_keeps_the_checkpoint(
    tmp_path: Path,
) -> None:
    checkpoint = tmp_path / "last.pt"
    model = adapted("identity")

    def poison(_: Any) -> dict[str, float]:
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.fill_(math.nan)
        return {}

    with pytest.raises(DivergedError, match=r"step 3 the term 'forget'"):
        run(model, steps=6, checkpoint_every=2, probe_every=2, probe=poison, checkpoint=checkpoint)
    assert torch.load(checkpoint, weights_only=True)["step"] == 2


def test_the_best_checkpoint_that_meets_the_requirement_is_kept() -> None:
    model = adapted()
    seen = iter([(0.1, 0.99), (0.5, 0.99), (0.9, 0.5), (0.2, 0.99)])
    states: list[dict[str, torch.Tensor]] = []

    def probe(m: Any) -> dict[str, float]:
        states.append({k: p.detach().clone() for k, p in m.named_parameters() if p.requires_grad})
        quality, utility = next(seen)
        return {"quality": quality, "utility": utility}

    select = Selection(
        score="quality",
        direction="up",
        require=(Requirement(score="utility", value=0.98),),
    )
    outcome, _ = run(model, steps=4, probe_every=1, probe=probe, select=select)
    assert outcome.kept == 2
    for name, p in model.named_parameters():
        if p.requires_grad:
            torch.testing.assert_close(p.detach(), states[1][name])


@pytest.mark.parametrize(("first", "probed"), [(1, [2, 4, 5]), (3, [4, 5]), (9, [5])])
def test_nothing_is_probed_before_the_first_step_that_may_be_kept(
    first: int, probed: list[int]
) -> None:
    _, events = run(
        adapted(), steps=5, probe_every=2, probe_from=first, probe=lambda m: {"quality": 1.0}
    )
    assert [e["step"] for e in events if e["event"] == "probe"] == probed


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({"stop_at": Requirement(score="quality", value=0.5)}, "reached quality"),
        ({"stop_below": Requirement(score="quality", value=2.5)}, "fell short of quality"),
    ],
)
def test_a_probe_can_stop_a_run(rule: dict[str, Requirement], reason: str) -> None:
    outcome, _ = run(adapted(), steps=9, probe_every=3, probe=lambda m: {"quality": 1.0}, **rule)
    assert (outcome.steps, outcome.reason) == (3, reason)


def test_a_run_ends_when_probes_get_no_better_and_keeps_the_best(tmp_path: Path) -> None:
    """Probes at 2, 4, ...: the best is the second, so that with patience 3 the fifth ends it."""
    gaps = [0.5, 0.2, 0.4, 0.2, 0.3, 0.1, 0.0]
    settings: dict[str, Any] = {"steps": 14, "probe_every": 2, "select": Selection(), "patience": 3}

    def answers(left: list[float]) -> Any:
        return lambda model: {"gate_gap": left.pop(0)}

    outcome, events = run(adapted(), probe=answers(gaps.copy()), **settings)
    assert (outcome.steps, outcome.kept) == (10, 4)
    assert outcome.reason == "gate_gap no better in 3 probes"
    assert events[-1]["reason"] == outcome.reason
    # a killed run does not start to count again
    last = tmp_path / "last.pt"
    with pytest.raises(IndexError):
        run(adapted(), probe=answers(gaps[:4]), checkpoint=last, checkpoint_every=2, **settings)
    resumed, _ = run(adapted(), probe=answers(gaps[4:]), checkpoint=last, **settings)
    assert (resumed.steps, resumed.kept) == (10, 4)


def test_patience_starts_with_the_first_probe() -> None:
    values = iter([0.2, 0.3, 0.3])
    outcome, _ = run(
        adapted(),
        steps=9,
        probe_every=1,
        probe_from=5,
        probe=lambda m: {"gate_gap": next(values)},
        select=Selection(),
        patience=2,
    )
    assert (outcome.steps, outcome.kept) == (7, 5)


def test_patience_needs_something_to_go_by() -> None:
    for settings in ({"select": Selection()}, {"probe_every": 2}):
        with pytest.raises(ValueError, match="patience goes by select and probe_every"):
            Training(steps=4, patience=2, **settings)


def test_an_unknown_score_names_those_that_the_probe_gives() -> None:
    with pytest.raises(InputError, match=r"gate_gap.*The probe gives: quality"):
        run(adapted(), probe=lambda m: {"quality": 1.0}, select=Selection())


def test_more_pieces_than_rows_are_refused() -> None:
    with pytest.raises(InputError, match="3 rows for 4 pieces"):
        run(adapted(), accumulate=4)


def test_a_resumed_run_has_the_losses_of_an_unbroken_one(tmp_path: Path) -> None:
    _, whole = run(adapted(), NPO(), steps=7)
    checkpoint = tmp_path / "last.pt"
    interrupted = Interrupt(after=5)
    with pytest.raises(KeyboardInterrupt):
        loop.run(
            adapted(),
            NPO(),
            ROWS,
            Training(steps=7, batch_size=3, lr=1e-2, checkpoint_every=2),
            watch=interrupted,
            checkpoint=checkpoint,
        )
    _, rest = run(adapted(), NPO(), steps=7, checkpoint=checkpoint)
    assert rest[0] == {"event": "resume", "step": 4, "steps": 7}
    assert losses(rest) == losses(whole)[4:]


def test_mixed_precision_is_the_steps_own_and_not_the_models() -> None:
    """What is probed and scored afterwards is the model that is saved, in its own precision."""
    model, fresh = adapted(), adapted()
    run(model, mixed_precision="bf16")
    assert "forward" not in model.__dict__
    load_trained(fresh, trained_state(model))
    ids = torch.arange(2, 20)[None]
    torch.testing.assert_close(model(ids).logits, fresh(ids).logits, rtol=0, atol=0)


def test_mixed_precision_does_not_stay_in_a_model_of_several_processes() -> None:
    """accelerate patches the model in place, also where it wraps it."""
    model, one = adapted(), loop.accelerator_for(Training(steps=1, mixed_precision="bf16"))
    two = SimpleNamespace(num_processes=2, prepare_model=one.prepare_model)
    assert wrap(model, two) is model
    assert "forward" not in model.__dict__


def test_the_reference_is_rounded_as_the_model_is() -> None:
    model = adapted()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(5)  # so that rounding is seen in the logits
    _, events = run(model, NPO(beta=0.2), steps=1, mixed_precision="bf16")
    assert losses(events)[0]["forget"] == pytest.approx(10 * math.log(2), rel=1e-4)


def test_a_checkpoint_keeps_the_gradient_scaler(tmp_path: Path) -> None:
    model = adapted()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
    scaler, again = (torch.amp.GradScaler("cpu", init_scale=2.0**k) for k in (5, 16))
    now = Checkpoint(1, trained_state(model), optimizer.state_dict(), (), None)
    now.scaler = scaler_state(scaler)
    now.save(tmp_path / "last.pt")
    Checkpoint.load(tmp_path / "last.pt").restore(model, optimizer, again)
    assert again.get_scale() == 2.0**5
    assert scaler_state(None) is None


class Interrupt:
    def __init__(self, *, after: int) -> None:
        self.after = after

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "step" and event["step"] == self.after:
            raise KeyboardInterrupt


SCRIPT = """
    import json, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    import peft
    from tiny import tiny_llama, tiny_rows
    from letheon.adapters import BoundedLoraConfig
    from letheon.objectives.npo import NPO
    from letheon.recipe import Training
    from letheon.training import loop

    folder = Path(sys.argv[1])
    model = peft.get_peft_model(tiny_llama(seed=0), BoundedLoraConfig(r=4, seed=0))
    rows = loop.Rows(tiny_rows(6, seed=1), tiny_rows(9, seed=2), pad_id=0)
    def watch(event):
        with (folder / "log").open("a") as log:
            log.write(json.dumps(event) + "\\n")
    training = Training(steps=4000, batch_size=3, lr=1e-3, checkpoint_every=5, weights_every=5000)
    loop.run(model, NPO(), rows, training, watch=watch, checkpoint=folder / "last.pt")
"""


@pytest.mark.slow
def test_a_run_killed_with_sigkill_goes_on_with_the_losses_of_an_unbroken_one(
    tmp_path: Path,
) -> None:
    import json

    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, str(script), str(tmp_path), str(Path(__file__).parents[1])]

    def until(lines: int) -> None:
        process = subprocess.Popen(command)
        deadline = time.monotonic() + 120
        log = tmp_path / "log"
        while not (log.exists() and len(log.read_text().splitlines()) >= lines):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.kill()
        process.wait()

    until(23)
    first = len((tmp_path / "log").read_text().splitlines())
    until(first + 20)
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()[:-1]]
    resumed = next(e["step"] for e in events[1:] if e["event"] == "resume")
    assert resumed > 0
    assert resumed % 5 == 0
    steps = {}
    for event in events:
        if event["event"] == "step":
            steps.setdefault(event["step"], []).append(event["terms"])
    _, whole = run(adapted(), NPO(), steps=max(steps), lr=1e-3)
    for step, seen in steps.items():
        for terms in seen:
            for name, value in terms.items():
                assert value == pytest.approx(losses(whole)[step - 1][name], rel=1e-6, abs=1e-7)
