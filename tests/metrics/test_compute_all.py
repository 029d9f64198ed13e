from __future__ import annotations

import ast
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest

import letheon.metrics
from letheon.errors import MetricError
from letheon.metrics import MACHINERY, Score, compute_all, plain

FOLDER = Path(letheon.metrics.__file__).parent
FILES = {path.stem for path in FOLDER.glob("*.py")} - {"__init__"}
METRICS = sorted(FILES - set(MACHINERY))


def test_machinery_names_existing_files() -> None:
    assert set(MACHINERY) < FILES
    assert list(MACHINERY) == sorted(MACHINERY)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_keeps_the_contract(name: str, make_records) -> None:
    scores, skipped = compute_all(
        make_records(forget=0.6), make_records(forget=0.3, seed=1), names=[name]
    )
    assert scores
    assert not skipped
    for score in scores:
        assert isinstance(score, Score)
        assert math.isfinite(score.value)
        assert score.n > 0
        if score.low is not None:
            assert score.low <= score.value <= score.high
        json.dumps(score.to_json(), allow_nan=False)
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    assert ast.get_docstring(tree)
    exported = ast.literal_eval(
        next(
            node.value
            for node in tree.body
            if isinstance(node, ast.Assign) and node.targets[0].id == "__all__"
        )
    )
    assert "compute" in exported
    assert [score.name for score in scores if not plain(score.name)] == []


def test_all_scores_have_their_own_name_and_nothing_is_skipped(make_records) -> None:
    scores, skipped = compute_all(make_records(), make_records(forget=0.4, seed=1))
    names = [score.name for score in scores]
    assert len(names) == len(set(names))
    assert skipped == []
    assert {
        "forget_quality",
        "model_utility",
        "gold_distance",
        "forget.fact_probability",
        "forget.rouge_l_recall",
        "forget.extraction_strength",
        "retain.exact_memorisation",
        "min_k_auc",
        "ks_d",
        "privleak",
        "fluency.repetition",
    } <= set(names)


def test_what_does_not_apply_is_reported(make_records) -> None:
    records = {k: v for k, v in make_records().items() if k in ("forget", "retain")}
    scores, skipped = compute_all(records)
    reasons = dict(skipped)
    assert sorted(reasons) == [
        "forget_quality",
        "gold_distance",
        "membership",
        "model_utility",
        "privleak",
    ]
    assert "gold model" in reasons["forget_quality"]
    assert "unseen" in reasons["membership"]
    assert "retain_utility" in {score.name for score in scores}
    assert "model_utility" not in {score.name for score in scores}


def test_a_named_metric_that_lacks_something_is_an_error(make_records) -> None:
    with pytest.raises(MetricError, match="gold model"):
        compute_all(make_records(), None, names=["forget_quality"])
    with pytest.raises(MetricError, match="Did you mean privleak"):
        compute_all(make_records(), None, names=["privlek"])
    with pytest.raises(MetricError, match="Unknown metric"):
        compute_all(make_records(), None, names=["records"])


def test_all_scores_of_a_run_take_under_two_seconds(make_records) -> None:
    records, gold = make_records(units=40), make_records(forget=0.3, units=40, seed=1)
    start = time.process_time()
    compute_all(records, gold)
    assert time.process_time() - start < 2


def test_importing_every_metric_loads_no_torch() -> None:
    imports = "; ".join(f"import letheon.metrics.{name}" for name in sorted(FILES))
    heavy = "[m for m in ('torch', 'nltk', 'pyarrow') if m in sys.modules]"
    code = f"import sys; {imports}; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_score_is_explained_whatever_split_part_or_variant_it_is_of() -> None:
    assert plain("retain.probability") == plain("probability") != ""
    assert plain("model_utility_arithmetic") == plain("model_utility")
    assert plain("gold_distance.fact_probability") == plain("gold_distance")
    assert plain("someone.elses") == ""
