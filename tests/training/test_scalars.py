"""Scalars of the untouched model: read again on resume, never taken from another run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from letheon import registry
from letheon.adapters import BoundedLoraConfig
from letheon.errors import StorageError
from letheon.evaluation.teacher_forced import score_answers
from letheon.objectives.npo import NPO
from letheon.recipe import Training
from letheon.training import loop, scalars
from tiny import made_objective, tiny_llama, tiny_rows

FORGET = tiny_rows(7, seed=1)
ROWS = loop.Rows(FORGET, tiny_rows(9, seed=2), 0, tiny_rows(7, seed=3))
SCALARS = [
    name
    for name in registry.names("letheon.objectives")
    if made_objective(name).needs.forget_reference == "scalars"
]


def made(seed: int = 0) -> Any:
    return peft.get_peft_model(tiny_llama(seed=seed), BoundedLoraConfig(r=4))


def in_full(seed: int = 0) -> Any:
    return tiny_llama(seed=seed)


def run(model: Any, folder: Path | None, objective: str = "npo", **more: Any) -> list[Any]:
    """Train; return every step's terms."""
    events: list[dict[str, Any]] = []
    settings = {"steps": 6, "batch_size": 3, "lr": 1e-3, "checkpoint_every": 2}
    loop.run(
        model,
        made_objective(objective),
        more.get("rows", ROWS),
        Training(**settings),
        watch=more.get("watch", events.append),
        checkpoint=folder and folder / "last.pt",
    )
    return [event["terms"] for event in events if event["event"] == "step"]


def interrupt(event: dict[str, Any]) -> None:
    if event["event"] == "step" and event["step"] == 5:
        raise KeyboardInterrupt


def references(model: Any) -> list[int]:
    """Count the forward passes of the untouched model, from now on, in the list's one number."""
    count = [0]

    def hook(module: Any, *_: Any) -> None:
        count[0] += not module.training

    model.get_output_embeddings().register_forward_hook(hook)
    return count


@pytest.mark.parametrize("make", [made, in_full], ids=["adapter", "full"])
@pytest.mark.parametrize("objective", SCALARS)
def test_a_resumed_run_reads_them(objective: str, make: Callable[[], Any], tmp_path: Path) -> None:
    torch.manual_seed(3)
    whole = run(make(), None, objective)
    torch.manual_seed(3)
    model = make()
    counted = references(model)
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path, objective, watch=interrupt)
    needs = made_objective(objective).needs
    sides = (needs.forget_reference, needs.preferred_reference).count("scalars")
    assert counted == [3 * sides]  # 7 rows, 3 at a time
    model = make()  # other factors: they have no part in it
    counted = references(model)
    assert run(model, tmp_path, objective) == whole[4:]
    assert counted == [0]


def test_they_are_the_log_probabilities_of_every_row(tmp_path: Path) -> None:
    model = in_full()
    wanted = score_answers(model, FORGET, pad_id=0)
    run(model, tmp_path)
    found = load_file(tmp_path / "reference-forget.safetensors")
    assert found["lengths"].tolist() == [len(row.logp) for row in wanted]
    expected = torch.cat([torch.from_numpy(row.logp) for row in wanted])
    torch.testing.assert_close(found["logp"], expected, atol=1e-5, rtol=0)


def other_lengths(file: Path) -> None:
    saved = scalars.safe_open(file, framework="pt")
    tensors = {"logp": saved.get_tensor("logp"), "lengths": saved.get_tensor("lengths").roll(1)}
    save_file(tensors, file, metadata=saved.metadata())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda file: file.write_bytes(file.read_bytes()[:-5]),
        lambda file: file.write_bytes(b"\xff" * 100),
        lambda file: file.write_bytes(b""),
        lambda file: file.unlink(),
        lambda file: save_file({"logp": torch.zeros(3)}, file),
        other_lengths,
        lambda file: (
            run(in_full(seed=9), file.parent / "other")
            and file.write_bytes((file.parent / "other/reference-forget.safetensors").read_bytes())
        ),
        lambda file: (
            run(
                in_full(),
                file.parent / "other",
                rows=loop.Rows(FORGET[1:], ROWS.retain, pad_id=0),
            )
            and file.write_bytes((file.parent / "other/reference-forget.safetensors").read_bytes())
        ),
    ],
    ids=["cut", "noise", "empty", "gone", "foreign", "lengths", "model", "rows"],
)
def test_a_file_that_is_not_this_runs_is_made_again(
    spoil: Callable[[Path], Any], tmp_path: Path
) -> None:
    wanted = run(in_full(), tmp_path)
    file = tmp_path / "reference-forget.safetensors"
    whole = file.read_bytes()
    spoil(file)
    (tmp_path / "last.pt").unlink()
    model = in_full()
    counted = references(model)
    assert run(model, tmp_path) == wanted
    assert counted == [3]
    assert file.read_bytes() == whole


def test_without_a_checkpoint_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(made(), None)
    assert list(tmp_path.iterdir()) == []


def test_where_they_cannot_be_written_the_error_says_so() -> None:
    with pytest.raises(StorageError, match=r"nope/reference-forget\.saf.* could not be written"):
        run(in_full(), Path("/proc/nope"))


@pytest.mark.parametrize("mixed", ["no", "bf16"])
def test_they_are_computed_as_the_model_is_in_a_step(mixed: str) -> None:
    """The first step's ratio is 0, so that NPO's term is 2 log 2 / beta: in mixed precision too."""
    events: list[dict[str, Any]] = []
    training = Training(steps=1, batch_size=1, lr=1e-3, mixed_precision=mixed)
    rows = loop.Rows(FORGET[:1], ROWS.retain, pad_id=0)
    model = in_full()
    with torch.no_grad():
        model.lm_head.weight.mul_(30)  # so that rounding is seen in the log-probabilities
    loop.run(model, NPO(beta=1.0), rows, training, watch=events.append)
    first = next(event["terms"] for event in events if event["event"] == "step")
    assert first["forget"] == pytest.approx(2 * torch.log(torch.tensor(2.0)).item(), abs=1e-3)
