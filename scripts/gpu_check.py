"""What an accelerator is needed for: its tests, its benches, and one end-to-end run.

    python scripts/gpu_check.py --data ../shared/data/tofu --out runs/gpu
    python scripts/gpu_check.py --data ../shared/data/tofu --out runs/gpu-small --reduced

Stages: ``tests`` (pytest --gpu -m gpu), ``benches`` (bench/accelerator.py), ``run`` (a GPT-Neo of
134M parameters trained on TOFU's full set, two gold models, GD + LoRA, GD + sine and NPO + sine on
forget10). Made for one card in under 25 minutes. The same command goes on where the last one ended
or was killed; ``--stop-after SECONDS`` ends it in time, with exit code 0 and what is left.

``OUT/results`` holds the small files that are kept: gpu.md, gpu.json, comparison.json. At full size
they are copied into docs/results as well. ``--reduced`` runs the same code on a CPU with a model of
a few hundred thousand parameters, for minutes; its results say nothing and stay in OUT.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _steps import Clock, Ledger, Step, TimeOverError, finish

from letheon.errors import DataError, InputError, LetheonError

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("tests", "benches", "run")
BENCHES = ("layer", "step")
COMMAND = "python scripts/gpu_check.py --data PATH-TO-TOFU --out runs/gpu"


def main(argv: Sequence[str] | None = None) -> int:
    """Do what is not done yet; return the exit code."""
    args = _arguments(argv)
    clock = Clock(args.stop_after)  # before torch and its kin are imported, which takes seconds
    try:
        return check(args, clock)
    except LetheonError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def check(args: argparse.Namespace, clock: Clock) -> int:
    """Do the stages that were asked for, and write what is known so far into ``results``."""
    import _gpu_run
    import torch

    from letheon.folder import RunFolder

    on_card = torch.cuda.is_available()
    _refuse(args, on_card)
    ledger = Ledger(args.out / "steps")
    folder = RunFolder(args.out)
    folder.check_free()
    found = _gpu_run.plain_recipes(reduced=args.reduced)
    mark = hashlib.sha256(json.dumps([found, _gpu_run.POINTS]).encode()).hexdigest()[:12]
    size = "reduced" if args.reduced else "full"
    folder.claim(f"gpu_check, {size}, recipes {mark}")
    _gpu_run.write_recipes(found, args.out, args.data.resolve())
    every = [
        Step("tests", "tests", partial(run_tests, args.out, clock, on_card)),
        *(
            Step("benches", f"bench-{name}", partial(run_bench, name, args, clock))
            for name in BENCHES
        ),
        *_gpu_run.steps(args.out, ledger, clock, args.minutes),
    ]
    asked = [step for step in every if args.stage in (None, step.stage)]
    left, failed = finish(asked, ledger, clock, say=say)
    whole = all(ledger.result(step.name) is not None for step in every)
    for file in write_results(args.out, ledger, size, publish=whole and size == "full"):
        say(f"wrote {file}")
    say(f"{ledger.seconds():.0f} s in all commands")
    say(f"left: {', '.join(left)}; the same command goes on" if left else "nothing is left")
    if failed:
        say(f"FAILED: {', '.join(failed)}")
    return 1 if failed else 0


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)


def run_tests(out: Path, clock: Clock, on_card: bool) -> dict[str, Any]:
    """Run the tests marked gpu; without a card they are collected and skipped."""
    words = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "-p", "no:cacheprovider"]
    code, text = command([*words, *(["--gpu"] if on_card else [])], clock)
    (out / "tests.log").write_text(text)
    last = text.strip().splitlines()[-1] if text.strip() else "no output"
    say(text.strip()[-2000:])
    return {"summary": last} | ({} if code == 0 else {"failed": f"exit code {code}: {last}"})


def run_bench(name: str, args: argparse.Namespace, clock: Clock) -> dict[str, Any]:
    """Run one bench in a process of its own, so that its memory is its own."""
    place = (args.out / f"bench-{name}.json").resolve()
    words = [sys.executable, str(ROOT / "bench" / "accelerator.py"), name, "--json", str(place)]
    code, text = command([*words, *(["--reduced"] if args.reduced else [])], clock)
    say(text.strip())
    if code:
        return {"failed": f"exit code {code}: {text.strip()[-500:]}"}
    return dict(json.loads(place.read_text()))


def command(words: Sequence[str], clock: Clock) -> tuple[int, str]:
    """Run a command in the repository; return its exit code and what it said, errors if it failed.

    Raises TimeOverError when the time is over before it ends; it is ended with it.
    """
    try:
        done = subprocess.run(
            words,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=clock.left(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeOverError from None
    return done.returncode, done.stdout + (done.stderr if done.returncode else "")


def write_results(out: Path, ledger: Ledger, size: str, *, publish: bool) -> list[Path]:
    """Write what is known so far into ``out/results``; with ``publish`` into docs/results too."""
    import _gpu_page
    import _gpu_run

    from letheon import compare

    results = out / "results"
    results.mkdir(exist_ok=True)
    facts = _gpu_page.facts(ledger, ["tests", *(f"bench-{name}" for name in BENCHES)], size)
    found = _gpu_run.compared(out, ledger, COMMAND + " --reduced" * (size == "reduced"))
    files = {"gpu.json": json.dumps(facts, indent=1) + "\n"}
    if found is not None:
        compare.write(found, out)
        files["comparison.json"] = (out / "comparison.json").read_text()
    files["gpu.md"] = _gpu_page.page(facts, found, out)
    for name, text in files.items():
        (results / name).write_text(text)
    if publish and found is not None:
        home = ROOT / "docs" / "results"
        (home / "gpu").mkdir(exist_ok=True)
        shutil.copy(results / "gpu.md", home / "gpu.md")
        for name in ("gpu.json", "comparison.json"):
            shutil.copy(results / name, home / "gpu" / name)
    return [results / name for name in files]


def _refuse(args: argparse.Namespace, on_card: bool) -> None:
    if not on_card and not args.reduced:
        raise InputError(
            "At full size this needs a CUDA device.",
            got="none that torch finds",
            remedy="Run it on a machine with one, or give --reduced.",
        )
    if not (args.data / "forget10_perturbed.json").is_file():
        raise DataError(
            "--data is a folder with TOFU's JSON files.",
            got=str(args.data),
            remedy="Name the folder that holds forget10_perturbed.json.",
        )


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder with TOFU's JSON files")
    parser.add_argument("--out", type=Path, default=Path("runs/gpu"))
    parser.add_argument("--stage", choices=STAGES, help="this stage only; default all")
    parser.add_argument("--reduced", action="store_true", help="on a CPU, in minutes")
    parser.add_argument("--minutes", type=float, default=24, help="for all: decides on the search")
    parser.add_argument("--stop-after", type=float, metavar="SECONDS", help="end in time")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
