"""The run folder: atomic writes under real failures, claims, torn logs, the manifest."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from letheon.errors import FolderError, StorageError
from letheon.folder import RunFolder, environment


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "runs" / "one")
    assert run.claim("abc") is False
    return run


def contents(folder: RunFolder) -> set[str]:
    return {path.relative_to(folder.path).as_posix() for path in folder.path.rglob("*")}


def step(number: int, **more: object) -> dict[str, object]:
    return {"event": "step", "step": number, **more}


def write_half_and_fail(path: Path) -> None:
    path.write_text("half")
    raise ZeroDivisionError


# --- claim


def test_the_same_run_continues_and_another_is_refused(folder: RunFolder) -> None:
    folder.write_text("recipe.yaml", "seed: 1\n")
    assert folder.claim("abc") is True
    assert folder.identity() == "abc"
    with pytest.raises(FolderError, match=r"abc\. Choose another --out"):
        folder.claim("xyz")
    assert folder.identity() == "abc"
    assert folder.at("recipe.yaml").read_text() == "seed: 1\n"


def test_foreign_files_are_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FolderError, match=r"thesis\.tex"):
        RunFolder(tmp_path).claim("abc")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_empty_folder_is_claimed_and_a_file_is_not(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).claim("abc") is False
    with pytest.raises(FolderError, match="the file"):
        RunFolder(tmp_path / RunFolder.IDENTITY).claim("abc")
    with pytest.raises(StorageError, match="Not a directory"):
        RunFolder(tmp_path / RunFolder.IDENTITY / "below").claim("abc")


# --- atomic writes


def test_a_failing_writer_leaves_the_old_file_and_nothing_else(folder: RunFolder) -> None:
    folder.write_text("report.html", "old")
    with pytest.raises(ZeroDivisionError), folder.replacing("report.html") as fresh:
        write_half_and_fail(fresh)
    assert folder.at("report.html").read_text() == "old"
    assert contents(folder) == {"identity.json", "report.html"}


def test_a_folder_is_replaced_as_a_whole(folder: RunFolder) -> None:
    for names in ({"a", "b"}, {"b", "c"}):
        with folder.replacing("adapter") as fresh:
            fresh.mkdir()
            for name in names:
                (fresh / name).write_text(name)
    assert {path.name for path in folder.at("adapter").iterdir()} == {"b", "c"}
    assert contents(folder) == {"identity.json", "adapter", "adapter/b", "adapter/c"}


def test_a_body_that_writes_nothing_is_an_error(folder: RunFolder) -> None:
    with pytest.raises(StorageError, match="No such file"), folder.replacing("adapter"):
        pass


FULL_DISK = """
import resource, sys
from letheon.errors import StorageError
from letheon.folder import RunFolder

resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
folder = RunFolder(sys.argv[1])
def text(path): path.write_text("x" * 10_000)
def tensors(path):
    import numpy, safetensors.numpy
    safetensors.numpy.save_file({"w": numpy.zeros(10_000)}, path)
def pickled(path):
    import torch
    torch.save({"w": torch.zeros(10_000)}, path)
def parquet(path):
    import numpy, pyarrow, pyarrow.parquet
    column = numpy.random.default_rng(0).random(10_000)
    pyarrow.parquet.write_table(pyarrow.table({"w": column}), path)
try:
    with folder.replacing("thing") as fresh:
        locals()[sys.argv[2]](fresh)
except StorageError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.mark.parametrize(
    "writer",
    ["text", "tensors", "parquet", pytest.param("pickled", marks=pytest.mark.slow)],
)
def test_a_write_the_system_refuses_is_one_clear_error(folder: RunFolder, writer: str) -> None:
    folder.write_text("thing", "old")
    command = [sys.executable, "-c", FULL_DISK, str(folder.path), writer]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert str(folder.at("thing")) in done.stdout
    assert "Free space" in done.stdout
    assert folder.at("thing").read_text() == "old"
    assert contents(folder) == {"identity.json", "thing"}


def test_other_errors_of_a_writer_pass_unchanged(folder: RunFolder) -> None:
    with pytest.raises(RuntimeError, match="shape"), folder.replacing("thing"):
        raise RuntimeError("shape mismatch")
    with pytest.raises(FolderError), folder.replacing("thing"):
        raise FolderError("rule", remedy="remedy")


def test_a_killed_writer_loses_nothing(folder: RunFolder) -> None:
    folder.write_text("scores.json", "old")
    code = (
        "import sys, time\nfrom letheon.folder import RunFolder\n"
        "with RunFolder(sys.argv[1]).replacing('scores.json') as fresh:\n"
        "    fresh.write_text('half'); print('ready', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code, str(folder.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        writer.send_signal(signal.SIGKILL)
    assert folder.at("scores.json").read_text() == "old"
    assert len(contents(folder)) == 3
    folder.claim("abc")
    assert contents(folder) == {"identity.json", "scores.json"}


def test_a_folder_put_aside_by_a_killed_writer_comes_back(folder: RunFolder) -> None:
    with folder.replacing("adapter") as fresh:
        fresh.mkdir()
        (fresh / "weights").write_text("old")
    folder.at("adapter").rename(folder.at(".adapter.old.letheon-tmp"))
    folder.claim("abc")
    assert folder.at("adapter/weights").read_text() == "old"
    assert contents(folder) == {"identity.json", "adapter", "adapter/weights"}


# --- JSON


def test_json_is_plain_and_strict(folder: RunFolder) -> None:
    value = {"a": np.float32(0.5), "b": np.int64(3), "c": (True, None), "d": float("nan")}
    folder.write_json("scores.json", value | {"e": float("-inf"), "f": "Zoë"})
    text = folder.at("scores.json").read_text(encoding="utf-8")
    expected = {"a": 0.5, "b": 3, "c": [True, None], "d": None, "e": None, "f": "Zoë"}
    assert json.loads(text, parse_constant=pytest.fail) == expected
    with pytest.raises(TypeError, match="set"):
        folder.write_json("scores.json", {"a": {1}})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "valid JSON"),
        ("[1]", "a JSON list"),
        ('{"schema": 2}', "schema 2"),
        (None, "needs scores.json"),
    ],
)
def test_unreadable_json_says_what_is_wrong(
    folder: RunFolder, text: str | None, message: str
) -> None:
    if text is not None:
        folder.at("scores.json").write_text(text)
    with pytest.raises(FolderError, match=message):
        folder.read_json("scores.json")


# --- progress


def test_progress_comes_back_as_it_was_written(folder: RunFolder) -> None:
    assert folder.progress() == []
    events = [step(1, terms={"forget": 0.5}), {"event": "phase", "name": "a\nb", "seconds": 2.0}]
    for event in events:
        folder.append_progress(event)
    assert folder.progress() == events
    assert folder.at("progress.jsonl").read_text().count("\n") == 2


def test_a_torn_last_line_is_left_out_and_mended_by_the_next_claim(folder: RunFolder) -> None:
    folder.append_progress(step(1))
    with folder.at("progress.jsonl").open("ab") as stream:
        stream.write(b'{"event": "step", "step": 2, "note": "\xc3')
    assert folder.progress() == [step(1)]
    folder.claim("abc")
    folder.append_progress(step(2))
    assert folder.progress() == [step(1), step(2)]


@pytest.mark.parametrize("line", ["{broken", '"step"', '{"step": 1}'])
def test_a_broken_line_inside_is_an_error_with_its_number(folder: RunFolder, line: str) -> None:
    good = json.dumps(step(1))
    folder.at("progress.jsonl").write_text(f"{good}\n{line}\n{good}\n")
    with pytest.raises(FolderError, match="line 2"):
        folder.progress()


def test_truncation_drops_exactly_what_is_logged_again(folder: RunFolder) -> None:
    phase = {"event": "phase", "name": "train", "seconds": 1.0}
    early = [step(4), {"event": "weights", "step": 4}, {"event": "probe", "step": 4}]
    late = [step(5), {"event": "weights", "step": 5}, {"event": "probe", "step": 5}]
    for event in [*early, *late, phase, {"event": "stop", "step": 4, "reason": "steps"}]:
        folder.append_progress(event)
    folder.truncate_progress(4)
    assert folder.progress() == [*early, phase]
    folder.truncate_progress(0)
    assert folder.progress() == [phase]


# --- manifest and scrub


def test_the_manifest_finds_every_change(folder: RunFolder) -> None:
    folder.write_text("recipe.yaml", "seed: 1\n")
    folder.at("private").mkdir()
    folder.write_text("private/texts.jsonl", "secret")
    folder.write_manifest()
    folder.verify_manifest()
    recorded = json.loads(folder.at("manifest.json").read_text())["files"]
    assert set(recorded) == {"identity.json", "recipe.yaml", "private/texts.jsonl"}
    assert recorded["recipe.yaml"] == sha256(b"seed: 1\n").hexdigest()

    folder.at("recipe.yaml").write_text("seed: 2\n")
    folder.at("private/texts.jsonl").unlink()
    folder.at("extra").write_text("")
    with pytest.raises(FolderError) as caught:
        folder.verify_manifest()
    words = "missing: private/texts.jsonl; changed: recipe.yaml; not recorded: extra"
    assert caught.value.got == words


def test_scrub_removes_private_texts_and_keeps_the_manifest_true(folder: RunFolder) -> None:
    folder.write_text("private/deep/texts.jsonl", "secret")
    folder.write_manifest()
    assert folder.scrub() == 1
    assert not folder.at("private").exists()
    folder.verify_manifest()
    assert folder.scrub() == 0


# --- environment


def test_the_environment_names_versions_and_hides_the_machine() -> None:
    found = environment()
    text = json.dumps(found)
    versions = found["versions"]
    assert isinstance(versions, dict)
    assert versions["python"] == sys.version.split()[0]
    assert versions["numpy"] == np.__version__
    assert str(Path.cwd()) not in text
    assert str(Path.home()) not in text
    assert not platform.node() or platform.node() not in text


def test_git_state_follows_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment()["git"] is None
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", *arguments], check=True)
    clean = environment()["git"]
    assert isinstance(clean, dict)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "new").write_text(str(time.time()))
    dirty = environment()["git"]
    assert isinstance(dirty, dict)
    assert dirty["dirty"] is True


def test_importing_the_folder_imports_no_torch() -> None:
    code = "import sys, letheon.folder; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
