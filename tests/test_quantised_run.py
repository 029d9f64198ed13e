"""A model loaded in four or eight bits, from its recipe to the merged checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import pipeline
from letheon import models, parts, recipe, run
from letheon.errors import ModelError, RecipeError
from letheon.recipe import ModelSource
from letheon.recipe._recipe import without_paths
from pipeline import Letheon, changed

HERE = Path(__file__)
WITHOUT_GOLD: dict[str, Any] = changed(
    pipeline.UNLEARN, gold={}, training__select=None, training__probe_every=None
)
QUIET = "ignore:`is_gradient_checkpointing`:FutureWarning"
DEQUANTISES = "Merging dequantises: weights of a quantised base become torch.float32 ones"


def quantised(target: Path, bits: str) -> dict[str, Any]:
    return changed(WITHOUT_GOLD, model={"path": str(target), "quantise": bits})


def logits(model: Any, tokenizer: Any) -> torch.Tensor:
    inputs = tokenizer("Question: Who is it?\nAnswer: Nobody", return_tensors="pt")
    with torch.no_grad():
        result: torch.Tensor = model.eval()(**inputs).logits
    return result


# In eight bits the attention's activations are rounded until the merge.
@pytest.mark.parametrize(("bits", "tolerance"), [("4bit", 1e-5), ("8bit", 2e-2)])
@pytest.mark.filterwarnings(QUIET)
def test_a_quantised_base_is_unlearned_and_merged(
    bits: str, tolerance: float, target: Path, letheon: Letheon, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quantised: bitsandbytes")
    loaded = recipe.load(pipeline.write(tmp_path, quantised(target, bits), "case"))
    with pytest.warns(UserWarning, match=DEQUANTISES):
        folder = run.unlearn(loaded, tmp_path / "out").path
    tokenizer = AutoTokenizer.from_pretrained(target)
    base = models.load(loaded.model).model
    before = logits(base, tokenizer)
    after = logits(PeftModel.from_pretrained(base, str(folder / "adapter")), tokenizer)
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    assert merged.dtype == torch.float32
    assert not hasattr(merged.config, "quantization_config")
    torch.testing.assert_close(logits(merged, tokenizer), after, atol=tolerance, rtol=0)
    assert (after - before).abs().max() > 0.1
    with pytest.warns(UserWarning, match=DEQUANTISES):
        assert letheon("merge", folder, "--out", tmp_path / "again").code == 0
    assert models.checksum(tmp_path / "again") == models.checksum(folder / "merged")


def identity(raw: dict[str, Any]) -> str:
    return recipe.resolve(raw, where="here").fingerprint({"data": "d"})


def test_how_the_base_is_quantised_is_part_of_the_identity(tmp_path: Path) -> None:
    plain = changed(WITHOUT_GOLD, model={"path": "a"})
    raws = [plain, *(quantised(tmp_path, bits) for bits in ("4bit", "8bit"))]
    assert len({identity(raw) for raw in raws}) == 3
    assert identity(plain) == identity(changed(plain, model__quantise=None))


def test_a_run_made_before_there_was_quantise_keeps_its_identity() -> None:
    plain = recipe.resolve(changed(WITHOUT_GOLD, model={"path": "a"}), where="here")
    assert '"quantise"' not in json.dumps(without_paths(plain.model_dump(mode="json")))


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (changed(WITHOUT_GOLD, model__quantise="4bit"), "quantise is for the model of a path"),
        (changed(quantised(HERE, "4bit"), adapter=None), "needs an adapter"),
        (quantised(HERE, "3bit"), "model.quantise = '3bit'"),
        (
            changed(pipeline.TARGET, model={"path": "a", "quantise": "8bit"}),
            "does not use model.quantise",
        ),
    ],
)
def test_what_cannot_be_quantised_is_refused(raw: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        recipe.resolve(raw, where="here")


def test_without_bitsandbytes_the_extra_is_named(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "is_bitsandbytes_available", lambda: False)
    with pytest.raises(ModelError, match=r"pip install 'letheon\[quantised\]'"):
        models.load(ModelSource(path=str(target), quantise="4bit"))


def test_without_a_device_for_it_the_devices_are_named(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quantised: bitsandbytes")
    monkeypatch.setattr("bitsandbytes.supported_torch_devices", {"abacus"})
    with pytest.raises(ModelError, match="abacus"):
        models.load(ModelSource(path=str(target), quantise="8bit"))


def test_quantised_weights_do_not_train_without_an_adapter(target: Path) -> None:
    pytest.importorskip("bitsandbytes", reason="needs the extra quantised: bitsandbytes")
    model = models.load(ModelSource(path=str(target), quantise="4bit")).model
    with pytest.raises(ModelError, match="Add an adapter"):
        parts.adapt(model, None, seed=0)
