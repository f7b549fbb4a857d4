"""`harmoniad score` from its inputs to the table, the pictures and the page, with a real, small model."""

import csv
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import harmoniad
from harmoniad.cli import cli
from harmoniad.errors import HarmoniadError
from harmoniad.inspector import Inspector
from harmoniad.score import run
from harmoniad.score.inputs import find
from harmoniad.score.run import Settings
from harmoniad.score.table import ScoreTable

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 40, 56, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model(trained: Path) -> Inspector:
    return harmoniad.load(trained, "cpu")


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images in the current one; two of them have the same name."""
    monkeypatch.chdir(tmp_path)
    folder = Path("parts ü")
    for number, name in enumerate(["a/1.png", "b/1.png", "b/=2<b>.png", "b/c d/3.png"]):
        save(folder / name, number)
    return folder


def save(path: Path, number: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(IMAGES[number]).save(path)
    return path


def read(out: Path) -> list[dict[str, str]]:
    with (out / run.TABLE).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def without_calls(model: Inspector, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the images that the model sees from now on."""
    seen: list[int] = []
    predict = model.predict
    monkeypatch.setattr(
        model, "predict", lambda images, categories: seen.append(len(images)) or predict(images, categories)
    )
    return seen


def test_a_folder(model: Inspector, parts: Path) -> None:
    (parts / "notes.txt").write_text("no image")
    (parts / "broken.png").write_bytes(b"GIF89a")
    found = run.score(model, [str(parts)], Settings(Path("out"), "bolt", batch_size=3))
    assert dict(found.counts) == {"rejected": 4, "unreadable": 1}
    assert (found.scored, found.left_out) == (5, 1)
    rows = {row["image"]: row for row in read(Path("out"))}
    wanted = {path.as_posix(): number for number, path in enumerate([parts / "a/1.png", parts / "b/1.png"])}
    for name, number in wanted.items():
        prediction = model.predict(IMAGES[number], "bolt")[0]
        row = rows[name]
        assert float(row["score"]) == pytest.approx(prediction.score, abs=1e-5)
        assert (row["category"], float(row["threshold"]), row["verdict"]) == ("bolt", 0, "rejected")
        assert row["region_box"] == " ".join(map(str, prediction.regions[0].box))
        assert int(row["region_area"]) == prediction.regions[0].area
    broken = rows[f"{parts}/broken.png"]
    assert (broken["verdict"], broken["score"], broken["error"]) == (
        "unreadable",
        "",
        "is not an image (png, jpg, bmp, tiff or webp)",
    )
    names = [row["heatmap"] for row in rows.values() if row["heatmap"]]
    assert len(set(names)) == 4
    for folder in (run.HEATMAPS, run.OVERLAYS):
        assert sorted(path.name for path in (Path("out") / folder).iterdir()) == sorted(names)
        assert Image.open(Path("out") / folder / names[0]).size == (56, 40)
    page = (Path("out") / run.PAGE).read_text(encoding="utf-8")
    assert "4 of 5 images rejected" in page
    assert page.count("<figure") == 4
    assert "=2&lt;b&gt;.png" in page and "=2<b>.png" not in page
    assert 'src="http' not in page


def test_a_second_call_scores_only_what_is_new(model: Inspector, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(Path("out"), batch_size=2)
    run.score(model, [str(parts)], settings)
    before = read(Path("out"))
    seen = without_calls(model, monkeypatch)
    again = run.score(model, [str(parts)], settings)
    assert (sum(seen), again.scored, dict(again.counts)) == (0, 0, {"accepted": 4})
    assert read(Path("out")) == before
    save(parts / "b/1.png", 3)
    os.utime(parts / "b/1.png", (1, 1))
    save(parts / "new.png", 0)
    assert run.score(model, [str(parts)], settings).scored == sum(seen) == 2
    after = {row["image"]: row for row in read(Path("out"))}
    assert len(after) == len(read(Path("out"))) == 5
    assert after[f"{parts}/b/1.png"]["score"] == after[f"{parts}/b/c d/3.png"]["score"]
    assert (Path("out") / run.PAGE).read_text(encoding="utf-8").count("<figure") == 5


def test_another_category_is_scored_again(model: Inspector, parts: Path) -> None:
    run.score(model, [str(parts)], Settings(Path("out")))
    found = run.score(model, [str(parts)], Settings(Path("out"), "bolt"))
    assert (found.scored, dict(found.counts)) == (4, {"rejected": 4})
    assert len(read(Path("out"))) == 4


@pytest.mark.parametrize("torn", ["parts ü/x.png,,1.2", 'parts ü/x.png,"a\nb', "parts ü/x.png,,1,2,rejected,,,,,1,1"])
def test_a_kill_loses_nothing(model: Inspector, parts: Path, monkeypatch: pytest.MonkeyPatch, torn: str) -> None:
    """The model dies at the third batch, in the middle of a line."""
    predict, calls = model.predict, []

    def dying(images: list[np.ndarray], categories: list[str | None]) -> object:
        calls.append(len(images))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return predict(images, categories)

    monkeypatch.setattr(model, "predict", dying)
    with pytest.raises(KeyboardInterrupt):
        run.score(model, [str(parts)], Settings(Path("out"), batch_size=1))
    with (Path("out") / run.TABLE).open("a", encoding="utf-8") as file:
        file.write(torn)
    assert run.score(model, [str(parts)], Settings(Path("out"), batch_size=1)).scored == 2
    assert [row["image"] for row in read(Path("out"))] == [
        str(item.path) for item in find([str(parts)], None, Path("out")).items
    ]


def test_another_model_needs_another_folder_or_fresh(
    model: Inspector, parts: Path, trained: Path, tmp_path: Path
) -> None:
    import shutil

    copy = Path(shutil.copytree(trained, tmp_path / "copy"))
    threshold = copy / "threshold.json"
    threshold.write_text(threshold.read_text().replace("500.0", "0.0"))
    other = harmoniad.load(copy, "cpu")
    run.score(model, [str(parts)], Settings(Path("out")))
    with pytest.raises(HarmoniadError, match=r"out: holds scores of another model .* or start anew with --fresh"):
        run.score(other, [str(parts)], Settings(Path("out")))
    assert dict(run.score(other, [str(parts)], Settings(Path("out"), fresh=True)).counts) == {"rejected": 4}
    Path("mine").mkdir()
    (Path("mine") / run.PAGE).write_text("mine")
    with pytest.raises(HarmoniadError, match="mine: holds files that `harmoniad score` did not write"):
        run.score(model, [str(parts)], Settings(Path("mine"), fresh=True))
    assert (Path("mine") / run.PAGE).read_text() == "mine"


def test_globs_files_and_tables(parts: Path) -> None:
    out = Path("out")

    def names(*sources: str) -> list[tuple[str, str | None]]:
        return [(item.path.as_posix(), item.category) for item in find(sources, "nut", out).items]

    first = f"{parts}/a/1.png"
    assert names(f"{parts}/*/1.png", first, str(parts / "a")) == [(first, "nut"), (f"{parts}/b/1.png", "nut")]
    assert len(names(f"{parts}/**/*.png")) == 4
    table = parts / "list.csv"
    table.write_text("\ufeffcategory,path\nbolt,a/1.png\n,b/1.png\n,gone.png\n", encoding="utf-8")
    assert names(str(table)) == [(first, "bolt"), (f"{parts}/b/1.png", "nut"), (f"{parts}/gone.png", "nut")]
    table.write_text("image\na.png\n")
    with pytest.raises(HarmoniadError, match=r"list.csv: has no column `path`"):
        names(str(table))
    table.write_bytes(b"path\n\xff\xfe\n")
    with pytest.raises(HarmoniadError, match=r"list.csv: not a CSV file in UTF-8"):
        names(str(table))
    for nothing in ("gone.png", "gone/*.png"):
        with pytest.raises(HarmoniadError, match="no such file or folder, and no file matches it"):
            names(nothing)
    Path("link.png").symlink_to("nowhere")
    assert names("*.png") == [("link.png", "nut")]


def test_results_are_no_inputs(parts: Path) -> None:
    save(parts / "out/overlays/x.png", 0)
    assert len(find([str(parts)], None, parts / "out").items) == 4


def test_no_cell_is_a_formula(model: Inspector, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(Path("-1+2.png"), 0)
    Path("list.csv").write_text("path,category\n-1+2.png,=cmd()\n")
    for _ in range(2):
        found = run.score(model, ["-1+2.png", "list.csv"], Settings(Path("out"), "=cmd()"))
    assert found.scored == 0
    row = read(Path("out"))[0]
    assert (row["image"], row["category"]) == ("./-1+2.png", "'=cmd()")


def test_script_in_a_category_stays_text(model: Inspector, parts: Path) -> None:
    Path("list.csv").write_text('path,category\na.png,"<script>alert(1)</script>"\n')
    save(Path("a.png"), 0)
    run.score(model, ["list.csv"], Settings(Path("out")))
    page = (Path("out") / run.PAGE).read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page


def test_names_that_are_no_utf8(model: Inspector, parts: Path) -> None:
    path = os.fsencode(str(parts)) + b"/\xff\n.png"
    with Path(os.fsdecode(path)).open("wb") as file:
        Image.fromarray(IMAGES[0]).save(file, "PNG")
    for scored in (5, 0):
        assert run.score(model, [str(parts)], Settings(Path("out"))).scored == scored
    assert len(read(Path("out"))) == 5


def test_watching(model: Inspector, parts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SECONDS_BETWEEN_LOOKS", 0.02)
    monkeypatch.setattr(run, "SECONDS_TO_SETTLE", 0.2)
    whole = save(Path("whole.png"), 0).read_bytes()
    stop, ended = threading.Event(), []
    thread = threading.Thread(
        target=lambda: ended.append(run.watch(model, [f"{parts}/b/*.png"], Settings(Path("out")), stop))
    )
    thread.start()
    try:
        wait_for(lambda: rows() >= 2)
        half = parts / "b/half.png"
        half.write_bytes(whole[:3000])
        threading.Event().wait(0.4)
        assert rows() == 2  # it is still, but not whole, so it may be on its way
        half.write_bytes(whole)
        wait_for(lambda: rows() == 3)
        monkeypatch.setattr(run, "SECONDS_TO_COMPLETE", 0.6)
        (parts / "b/broken.png").write_bytes(whole[:3000])
        wait_for(lambda: rows() == 4)
    finally:
        stop.set()
        thread.join()
    assert {row["image"]: row["verdict"] for row in read(Path("out"))} == {
        f"{parts}/b/1.png": "accepted",
        f"{parts}/b/=2<b>.png": "accepted",
        f"{parts}/b/half.png": "accepted",
        f"{parts}/b/broken.png": "unreadable",
    }
    assert dict(ended[0].counts) == {"accepted": 3, "unreadable": 1}


def rows() -> int:
    return len(read(Path("out"))) if (Path("out") / run.TABLE).is_file() else 0


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not happen")


def test_two_calls_at_once(model: Inspector, parts: Path) -> None:
    import filelock

    Path("out").mkdir()
    with filelock.FileLock(Path("out") / run.LOCK), pytest.raises(HarmoniadError, match="another `harmoniad score`"):
        run.score(model, [str(parts)], Settings(Path("out")))


def test_a_table_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    assert ScoreTable(path).rows == []
    assert path.read_text().startswith("image,category,score,threshold,verdict,region_box,region_area")
    path.write_text("something else\n")
    assert ScoreTable(path).rows == []


@pytest.mark.parametrize(("category", "broken", "code"), [("nut", False, 0), ("bolt", True, 3), ("nut", True, 4)])
def test_the_exit_code_says_what_was_found(parts: Path, trained: Path, category: str, broken: bool, code: int) -> None:
    if broken:
        (parts / "broken.png").touch()
    arguments = ["score", str(parts), "--model", str(trained), "--out", "out ü", "--category", category]
    done = CliRunner().invoke(cli, [*arguments, "--device", "cpu", "--no-heatmaps"])
    assert done.exit_code == code, done.output
    assert f"{4 * (code == 3)} rejected, {4 * (code != 3)} accepted, {int(broken)} unreadable; " in done.output
    assert "images/s" in done.output
    assert sorted(path.name for path in Path("out ü").iterdir() if path.name != run.LOCK) == [
        "index.html",
        "model.json",
        "scores.csv",
    ]


def test_errors_of_the_call(parts: Path, trained: Path) -> None:
    Path("empty").mkdir()
    for arguments, told in (
        (["empty", "--model", str(trained)], "empty: no images"),
        ([str(parts), "--model", "gone/"], "gone/detector.safetensors: no such file"),
    ):
        done = CliRunner().invoke(cli, ["score", *arguments, "--out", "out"])
        assert isinstance(done.exception, HarmoniadError)  # which `main` prints in one line, with exit code 1
        assert told in str(done.exception)
    assert CliRunner().invoke(cli, ["score"]).exit_code == 2
    assert not Path("out").exists()
