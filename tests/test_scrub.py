"""`letheon scrub`: nothing of the forgotten texts is left, by a search of the test's own."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

import pipeline
from letheon import attack, compare, recipe, run, scrub
from letheon.folder import RunFolder
from letheon.traces import Traces
from pipeline import UNLEARN, Letheon, changed, listing

PEOPLE = [
    "Aino Väisänen",
    'Bo "Buzz" Ek',
    "Cy <b>O'Dea</b>",
    "Deniz Öz\\Ata",
    "Ewa\tKot",
    "Finn Ho",
]
ROWS = [
    {
        "id": f"case of {name}" if i % 2 else f"case {i}",
        "question": f"Where does {name} & family live?",
        "answer": f"{name} lives at {i + 3} Mill Lane,\nphone 0151-23{i}567.",
        "fact": f"0151-23{i}567",
        "paraphrased_answer": f"The home of {name} is {i + 3}, Mill Lane.",
        "unit": name,
    }
    for i, name in enumerate(PEOPLE)
]
KEPT = [{"question": f"What is {i} + 1?", "answer": f"It is {i + 1}."} for i in range(6)]
STRINGS = [r[k] for r in ROWS for k in ("question", "answer", "fact", "paraphrased_answer", "unit")]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, rows in {"forget": ROWS, "retain": KEPT}.items():
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    return folder


@pytest.fixture(scope="module")
def made(files: Path, target: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on own data with preferred answers, attacks and a page; not to be written into."""
    raw = changed(
        UNLEARN,
        name="own",
        model={"path": str(target)},
        gold={"scoring": {"path": str(target)}},
        data={name: str(files / f"{name}.jsonl") for name in ("forget", "retain")},
        objective={"name": "alt_po"},
        training__select=None,
        training__steps=2,
    )
    place = tmp_path_factory.mktemp("made")
    out = run.unlearn(recipe.load(pipeline.write(place, raw)), place / "own", home=home).path
    settings = ("sample.n=2", "sample.k=[1,2]")
    attack.run(out, ["prefix", "sample"], home=home, overrides=settings)
    compare.report([out])
    RunFolder(out).write_manifest()
    return out


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def holders(folder: Path, strings: list[str] = STRINGS) -> dict[str, str]:
    """Grep every byte, without letheon: the files that hold a string, each with one of them."""
    found = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        for held in layers(file.read_bytes()):
            for text in strings:
                plain, escaped = text.encode(), json.dumps(text)[1:-1].encode()
                if plain in held or escaped in held:
                    found[file.relative_to(folder).as_posix()] = text
    return found


def layers(data: bytes) -> Iterator[bytes]:
    yield data
    if data[:4] == b"PAR1":
        for column in pq.read_table(BytesIO(data)).columns:
            yield "\n".join(map(str, column.to_pylist())).encode()
    elif data[:2] == b"PK":
        with zipfile.ZipFile(BytesIO(data)) as archive:
            for name in archive.namelist():
                yield from layers(archive.read(name))


# --- what is left


def test_no_byte_of_a_scrubbed_run_holds_a_forgotten_string(folder: Path, letheon: Letheon) -> None:
    before = holders(folder)
    assert {"private/texts.jsonl", "private/preferred.jsonl", "examples.parquet"} <= set(before)
    assert {"private/reference/target.jsonl", "private/reference/gold.jsonl"} <= set(before)
    assert {"attacks/sample.parquet", "reference/target.parquet"} <= set(before), "units are names"
    ended = letheon("scrub", folder)
    assert ended.code == 0, ended.err
    assert holders(folder) == {}
    assert not (folder / "private").exists()
    RunFolder(folder).verify_manifest()
    for words in ("files searched", "found: nothing", "What this cannot show", "switched off"):
        assert words in " ".join(ended.out.split())
    assert not [text for text in STRINGS if text in ended.out + ended.err]


def test_numbers_pairs_and_the_page_outlive_it(made: Path, folder: Path) -> None:
    scrub.scrub(folder)
    for name in ("examples.parquet", "reference/gold.parquet", "attacks/prefix.parquet"):
        old, new = (pq.read_table(place / name) for place in (made, folder))
        one, other = (str(t.drop_columns(["id", "unit"]).to_pydict()) for t in (old, new))
        assert one == other
        for column in ("id", "unit"):
            pairs = set(zip(old[column].to_pylist(), new[column].to_pylist(), strict=True))
            assert len(dict(pairs)) == len({b for _, b in pairs}) == len(pairs), "one for one"
    ids = [pq.read_table(folder / n)["id"].to_pylist() for n in ("examples.parquet",)]
    assert "case 0" in ids[0], "an id that tells nothing stays"
    compare.report([folder])
    assert holders(folder) == {}


@pytest.mark.parametrize("step", ["_rename", "scrub"])
def test_the_search_of_this_test_sees_what_a_lazy_scrub_leaves(
    folder: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    if step == "_rename":
        monkeypatch.setattr(scrub, "_rename", lambda *_: 0)
        result = scrub.scrub(folder)
        assert "examples.parquet" in result.found, "and so does scrub's own"
        assert "examples.parquet" in holders(folder)
    else:
        monkeypatch.setattr(RunFolder, "scrub", lambda self: 0)
        scrub.scrub(folder)
        assert {"private/texts.jsonl", "private/preferred.jsonl"} <= set(holders(folder))


# --- what is found


def _parquet(file: Path, text: str) -> None:
    rows = pa.table({"n": [1], "deep": [[{"a": [text * 50]}]]})
    pq.write_table(rows, file, compression="zstd")


def _weights(file: Path, text: str) -> None:
    save_file(load_file(file), file, metadata={"format": "pt", "note": text})


def _archive(file: Path, text: str) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/inner.json.gz", gzip.compress(json.dumps([text]).encode()))


def _yaml(file: Path, text: str) -> None:
    escaped = "".join(f"\\u{ord(c):04X}" if c != "\\" else "\\\\" for c in text)
    with file.open("a") as stream:
        stream.write(f'template: "{escaped}"\n')


def _html(file: Path, text: str) -> None:
    file.write_text("<p>" + "".join(f"<b>&#{ord(c)};</b>" for c in text))


def _wide(file: Path, text: str) -> None:
    file.write_bytes(b"\x00" * ((1 << 23) - 9) + text.encode("utf-16-le"))


def _line(file: Path, text: str) -> None:
    with file.open("a") as stream:
        stream.write(json.dumps({"event": "note", "text": json.dumps(text)}) + "\n")


PLACES: dict[str, Callable[[Path, str], None]] = {
    "left.parquet": _parquet,
    "merged/model.safetensors": _weights,
    "checkpoints/old.pt": _archive,
    "recipe.yaml": _yaml,
    "page.html": _html,
    "core.bin": _wide,
    "progress.jsonl": _line,
}


@pytest.mark.parametrize("name", PLACES)
@pytest.mark.parametrize("text", [STRINGS[1], STRINGS[10]], ids=["answer", "question"])
def test_one_string_left_is_found_wherever_it_is(
    folder: Path, letheon: Letheon, name: str, text: str
) -> None:
    PLACES[name](folder / name, text)
    said = letheon.refuses("scrub", folder, "--json", code=1)
    assert re.search(rf"Got: \d in {re.escape(name)}\.", said), "this file and no other"
    assert text not in said
    assert (folder / "private/texts.jsonl").is_file(), "it says what to look for"
    (folder / name).unlink()
    if name in ("recipe.yaml",):
        return
    again = letheon("scrub", folder)
    assert again.code == 0, again.err
    assert holders(folder) == {}


def test_what_the_model_told_before_in_its_own_words_is_looked_for(folder: Path) -> None:
    file = folder / "private/reference/target.jsonl"
    rows = [json.loads(line) for line in file.read_text().split("\n") if line]
    told, nothing = "It is three doors down Mill Lane", "I really do not know that."
    for row, said in zip(
        [r for r in rows if r["split"] == "forget"], (told, nothing), strict=False
    ):
        row["generation"] = said
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    _line(folder / "progress.jsonl", f"it said {told}, and: {nothing}")
    result = scrub.scrub(folder)
    assert result.known[:2] == ["private/texts.jsonl", "private/reference/target.jsonl"]
    assert dict(result.found) == {"progress.jsonl": 1}


def test_a_file_name_tells_too(folder: Path) -> None:
    (folder / f"{PEOPLE[5]} 0151-231567.txt").write_text("")
    assert list(scrub.scrub(folder).found) == [f"{PEOPLE[5]} 0151-231567.txt"]


def test_a_page_that_shows_texts_is_deleted(folder: Path) -> None:
    (folder / "report.html").write_text(
        f"<p>{PEOPLE[0]} lives at 3 <mark>Mill</mark> Lane,\n phone 0151-230567."
    )
    result = scrub.scrub(folder)
    assert result.clean
    assert "letheon report" in result.notes[0]
    assert not (folder / "report.html").exists()


def test_what_cannot_be_opened_is_not_called_clean(folder: Path, letheon: Letheon) -> None:
    (folder / "x.zst").write_bytes(b"\x28\xb5\x2f\xfd" + b"\x00" * 20)
    (folder / "y.zip").write_bytes(b"PK\x03\x04" + b"\x00" * 20)
    said = letheon.refuses("scrub", folder, code=1)
    assert "x.zst could not be searched (compressed as zstd)" in said
    assert "y.zip could not be searched" in said


def test_single_words_are_told_and_no_failure() -> None:
    assert scrub._is_word("Portuguese")
    assert not scrub._is_word("0151-230567")
    assert not scrub._is_word("Aino Väisänen")


# --- again, later, after a kill


def test_it_may_be_done_again_with_and_without_the_data(
    folder: Path, letheon: Letheon, tmp_path: Path
) -> None:
    scrub.scrub(folder)
    before = {name: (folder / name).read_bytes() for name in listing(folder)}
    assert letheon("scrub", folder).code == 0
    assert before == {name: (folder / name).read_bytes() for name in listing(folder)}
    text = (folder / "recipe.yaml").read_text()
    moved = Path(shutil.copytree(folder, tmp_path / "moved"))
    (moved / "recipe.yaml").write_text(text.replace("forget.jsonl", "gone.jsonl"))
    said = letheon.refuses("scrub", moved)
    assert "needs to know what to look for" in said
    assert "recipe.yaml not searched before" in said


def test_without_the_data_a_record_of_the_same_files_stands(
    made: Path, files: Path, tmp_path: Path, letheon: Letheon
) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "run"))
    text = (folder / "recipe.yaml").read_text()
    (folder / "recipe.yaml").write_text(text.replace(str(files), str(tmp_path / "gone")))
    first = letheon("scrub", folder)
    assert first.code == 0, first.err
    assert "marked facts and paraphrases were not looked for" in " ".join(first.out.split())
    again = letheon("scrub", folder)
    assert again.code == 0, again.err
    assert "scrubbed before; no file has changed" in again.out
    there = [f"--set=data.{name}={files / name}.jsonl" for name in ("forget", "retain")]
    assert letheon("scrub", folder, *there).code == 0
    assert "facts" not in letheon("scrub", folder, *there).out
    (folder / "note.txt").write_text("new")
    assert "note.txt not searched before" in letheon.refuses("scrub", folder)
    wrong = [f"--set=data.{name}={files / 'retain'}.jsonl" for name in ("forget",)]
    assert "Some rows are to retain only" in letheon.refuses("scrub", folder, *wrong, there[1])


@pytest.mark.parametrize("at", range(1, 9))
def test_a_scrub_that_was_killed_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """Die at each of its writes in turn; the next scrub ends as one that was not killed."""
    whole = Path(shutil.copytree(folder, folder.parent / "whole"))
    scrub.scrub(whole)
    replacing, scrubbed, writes = RunFolder.replacing, RunFolder.scrub, 0

    def dying(method: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == at:
                raise KeyboardInterrupt
            return method(*args)

        return wrapped

    monkeypatch.setattr(RunFolder, "replacing", dying(replacing))
    monkeypatch.setattr(RunFolder, "scrub", dying(scrubbed))
    with pytest.raises(KeyboardInterrupt):
        scrub.scrub(folder)
    monkeypatch.undo()
    assert scrub.scrub(folder).clean
    RunFolder(folder).verify_manifest()
    assert holders(folder) == {}
    tables = [name for name in listing(folder) if name.endswith(".parquet")]
    assert all((folder / n).read_bytes() == (whole / n).read_bytes() for n in tables)


def test_what_is_no_finished_run_is_refused(
    folder: Path, home: Path, letheon: Letheon, tmp_path: Path
) -> None:
    assert "finished run" in letheon.refuses("scrub", tmp_path / "nope")
    assert "finished run" in letheon.refuses("scrub", home)
    (folder / "manifest.json").unlink()
    before = listing(folder)
    said = letheon.refuses("scrub", folder)
    assert "without manifest.json" in said
    assert listing(folder) == before
    assert "Only where the data are now" in letheon.refuses("scrub", folder, "--set", "seed=1") or (
        "finished run" in said
    )


def test_a_run_on_made_up_people_is_scrubbed_too(
    sine_run: Path, home: Path, tmp_path: Path
) -> None:
    for place in (sine_run, next(home.glob("target-*"))):
        copy = Path(shutil.copytree(place, tmp_path / place.name))
        result = scrub.scrub(copy)
        assert result.clean, result
        assert result.known == ["private/texts.jsonl", "the data people"]


# --- the search itself


def test_every_form_of_a_string_is_found_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from letheon import traces

    monkeypatch.setattr(traces, "_CHUNK", 64)
    found = Traces(["one two three", "ä \"b\" <c> 'd'", "never there"])
    file = tmp_path / "x"
    for shift in range(0, 130, 7):
        file.write_bytes(b"\xff" * shift + "one two three, ä \"b\" <c> 'd'".encode())
        assert found.in_file(file) == {0, 1}
    file.write_bytes(b"one two thre, \xff" * 50)
    assert found.in_file(file) == set()
    assert Traces([]).in_file(file) == set()
    file.write_bytes(b"short")
    assert found.in_file(file) == set()
