import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harmoniad.data.sets import DataSet, add, list_sets
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project without DVC: what is refused is refused before DVC is called."""
    monkeypatch.setenv("DVC_NO_ANALYTICS", "true")
    project = tmp_path / "project ü"
    (project / "data").mkdir(parents=True)
    (project / "params.yaml").write_text("data: {sets: [parts]}\n")
    return project


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two categories in the layout of MVTec AD."""
    source = tmp_path / "my source ä"
    for category in ("Rad groß", "bolt"):
        write_images(source / category / "train" / "good", 3)
        write_images(source / category / "test" / "bent", 2)
        write_images(source / category / "ground_truth" / "bent", 1)
    return source


def write_images(folder: Path, count: int) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 9), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def dvc(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout


def test_add_in_a_real_project(project: Path, source: Path, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=project, check=True)
    dvc(project, "init", "--quiet")
    (source / ".hidden.png").touch()
    (source / "Thumbs.db").touch()
    (source / "licence.txt").write_text("CC0")
    (source / "bolt" / "train" / "good" / "linked.png").symlink_to(source / "Rad groß" / "train" / "good" / "000.png")
    write_images(source / "bolt" / "elsewhere", 2)

    text = add(source, name="parts", project=project)

    assert text.splitlines() == [
        "added data/parts (layout mvtec): 7 good images, 4 with defects, 2 masks; categories Rad groß, bolt.",
        f"note: 2 image files have no place in the layout, such as {source / 'bolt/elsewhere/000.png'}.",
        "Next: put parts into `sets` under `data` in params.yaml, run `dvc repro`, then "
        "`git add data/parts.dvc data/.gitignore params.yaml dvc.lock` and `git commit`.",
    ]
    parts = project / "data" / "parts"
    expected = [name for name in files_in(source) if name not in (".hidden.png", "Thumbs.db")]
    assert files_in(parts) == sorted([*expected, "dataset.json"])
    assert read_json(parts / "dataset.json") == {"layout": "mvtec"}
    linked = parts / "bolt" / "train" / "good" / "linked.png"
    assert not linked.is_symlink()
    assert linked.read_bytes() == (source / "Rad groß" / "train" / "good" / "000.png").read_bytes()
    assert dvc(project, "status", "--quiet") == ""
    assert "/parts" in (project / "data" / ".gitignore").read_text().splitlines()

    # A single category, and a layout that is given.
    text = add(source / "bolt", layout="mvtec", name="one", project=project)
    assert text.startswith("added data/one (layout mvtec): 4 good images, 2 with defects, 1 masks; categories bolt.\n")
    assert files_in(project / "data" / "one")[:2] == ["bolt/elsewhere/000.png", "bolt/elsewhere/001.png"]
    assert (project / "data" / "one.dvc").is_file()

    # Names that are taken, be it by the folder or by its .dvc file alone.
    with pytest.raises(HarmoniadError, match=r"^data/parts: exists already\. Give another name with --name\.$"):
        add(source, name="parts", project=project)
    (project / "data" / "one").rename(tmp_path / "one")
    with pytest.raises(HarmoniadError, match=r"^data/one\.dvc: exists already"):
        add(source, name="one", project=project)

    write_images(project / "data" / "sample" / "gear" / "good", 2)
    write_images(project / "data" / "inbox" / "gear", 1)
    write_images(project / "data" / "by hand" / "gear" / "good", 1)
    (project / "data" / ".parts.abc.tmp").mkdir()
    assert list_sets(project) == [
        DataSet("by hand", "folder", 1, 1, "untracked", False),
        DataSet("one", "-", 0, 0, "dvc", False),
        DataSet("parts", "mvtec", 2, 11, "dvc", True),
        DataSet("sample", "folder", 1, 2, "stage", False),
    ]


def test_nothing_is_left_if_dvc_fails(project: Path, source: Path) -> None:
    with pytest.raises(HarmoniadError) as caught:
        add(source, name="parts", project=project)
    assert str(caught.value).startswith(
        "dvc add data/parts failed, so nothing was added: you are not inside of a DVC repository"
    )
    assert "\n" not in str(caught.value)
    assert list((project / "data").iterdir()) == []


def test_list_without_any_data(project: Path) -> None:
    (project / "data").rmdir()
    assert list_sets(project) == [DataSet("parts", "-", 0, 0, "untracked", True)]


def refuse(source: Path, project: Path, message: str, name: str = "parts", layout: str | None = None) -> None:
    with pytest.raises(HarmoniadError, match=message) as caught:
        add(source, layout, name, project)
    assert "\n" not in str(caught.value)
    assert [path for path in (project / "data").iterdir() if path.name.startswith((".", "parts"))] == []


@pytest.mark.parametrize("name", ["inbox", "sample", "a b", "../a", ".a", "-a", "a/b", "a.dvc"])
def test_names(project: Path, source: Path, name: str) -> None:
    refuse(source, project, r"^`.*` cannot be the name of a data set\. Give another with --name", name)


def test_the_name_of_the_folder_must_do_if_no_other_is_given(project: Path, source: Path) -> None:
    with pytest.raises(HarmoniadError, match=r"^`my source ä` cannot be the name of a data set"):
        add(source, project=project)


def test_missing_folder(project: Path, tmp_path: Path) -> None:
    refuse(tmp_path / "nothing", project, r"nothing: no such folder\.$")


def test_file_instead_of_a_folder(project: Path, tmp_path: Path) -> None:
    (tmp_path / "a.zip").touch()
    refuse(tmp_path / "a.zip", project, r"a\.zip: is neither a folder nor a manifest \(\.csv or \.jsonl\)\.$")


def test_folder_within_data_or_around_it(project: Path) -> None:
    write_images(project / "data" / "other" / "gear" / "good", 1)
    refuse(project / "data" / "other", project, r"lies in data/ or holds it\. Give a folder outside of the project\.$")
    refuse(project, project, r"lies in data/ or holds it")


def test_unknown_layout(project: Path, source: Path) -> None:
    refuse(source, project, r"^unknown layout `yolo`\. There are: manifest, real_iad, .*, folder\.$", layout="yolo")


def test_layout_that_does_not_fit(project: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "flat" / "images", 1)
    refuse(tmp_path / "flat", project, r"flat: no known layout, it holds images\. Expected manifest: .*; folder: ")
    refuse(tmp_path / "flat", project, r"flat: no known layout, it holds images\. Expected folder: ", layout="folder")


@pytest.mark.parametrize(("layout", "folder"), [("mvtec", "train/good"), ("folder", "good")])
def test_category_without_training_images(project: Path, tmp_path: Path, layout: str, folder: str) -> None:
    source = tmp_path / "sets"
    write_images(source / "bolt" / folder, 1)
    (source / "gear" / folder).mkdir(parents=True)
    message = rf"sets/gear/{folder}: no images of category gear \(layout {layout}\)\. Every category needs good images"
    refuse(source, project, message)
    refuse(source / "gear", project, message)
    if layout == "mvtec":
        write_images(source / "gear" / "train" / "bent", 1)
        write_images(source / "gear" / "test" / "good", 1)
    else:
        write_images(source / "gear" / "bent", 1)
    refuse(source, project, message)


def test_images_that_do_not_decode(project: Path, source: Path) -> None:
    good = source / "bolt" / "train" / "good"
    (good / "000.png").write_bytes((good / "000.png").read_bytes()[:60])
    (good / "001.jpg").write_text("no picture")
    refuse(
        source,
        project,
        r"^\S.*bolt/train/good/000\.png: the file is truncated; "
        r".*bolt/train/good/001\.jpg: is not an image \(png, jpg, bmp, tiff or webp\)$",
    )
    for number in range(5, 10):
        (good / f"{number}.png").touch()
    refuse(source, project, r"the file is empty \(\+4 more\)$")


def test_masks_that_do_not_decode(project: Path, source: Path) -> None:
    (source / "bolt" / "ground_truth" / "bent" / "000.png").write_text("nothing")
    refuse(source, project, r"bolt/test/bent/000\.png: its mask .*ground_truth/bent/000\.png: is not an image")


def test_masks_of_another_size(project: Path, source: Path) -> None:
    Image.new("L", (5, 6)).save(source / "bolt" / "ground_truth" / "bent" / "000.png")
    refuse(source, project, r"ground_truth/bent/000\.png: is 5×6 pixels, but its image .*test/bent/000\.png is 9×8$")


def test_link_to_a_folder(project: Path, source: Path) -> None:
    (source / "linked").symlink_to(source / "bolt", target_is_directory=True)
    refuse(source, project, r"linked: is a link to a folder\. Put the folder itself there\.$")


def test_broken_link(project: Path, source: Path) -> None:
    (source / "bolt" / "train" / "good" / "009.png").symlink_to(source / "nothing.png")
    refuse(source, project, r"009\.png: is a broken link or not a regular file\. Remove it\.$")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipe(project: Path, source: Path) -> None:
    os.mkfifo(source / "bolt" / "train" / "good" / "009.png")
    refuse(source, project, r"009\.png: is a broken link or not a regular file\. Remove it\.$")
