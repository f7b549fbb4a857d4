"""The data sets of a project, folders of `data/`: adding one, listing them, and which layout each has."""

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harmoniad.data.layouts import Layout, Recognised, Record, layout_named, manifest, recognise
from harmoniad.data.layouts.record import is_junk, sub_folders
from harmoniad.data.measure import measure_all, remember_copies
from harmoniad.data.scan_cache import SCAN_CACHE
from harmoniad.data.summary import summary
from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, replacing_folder, write_bytes, write_json
from harmoniad.params import PARAMS_FILE, load_params
from harmoniad.progress import Progress

DATA_DIR = Path("data")
DATA_SET_FILE = "dataset.json"
MANIFEST_FILE = "manifest.csv"
SAMPLE = "sample"  # made by the stage of that name
INBOX = "inbox"  # new images that wait to be taken in
QUARANTINE = "quarantine"  # those that were not
_TRAINING = ("train", "by_hash")


@dataclass(frozen=True)
class DataSet:
    """A line of `harmoniad data list`."""

    name: str
    layout: str
    """A dash if it is not known, as for a data set that `dvc pull` has yet to bring."""
    categories: int
    images: int
    origin: str
    """`dvc` (tracked), `stage` (made by the pipeline) or `untracked`."""
    in_params: bool
    """Whether `params.yaml` lists it."""


def layout_name_of(root: Path) -> str:
    """The layout of a data set: as its `dataset.json` says, otherwise as its folders look.

    Raises:
        HarmoniadError: There is no such data set, or its layout is unknown.
    """
    shown = root.as_posix()
    if not root.is_dir():
        advice = {
            "dvc": "Run `dvc pull`.",
            "stage": "Run `dvc repro`, which makes it.",
            "untracked": f"Add it with `harmoniad data add PATH --name {root.name}`.",
        }
        raise HarmoniadError(f"{shown}: no such data set. {advice[_origin(root)]}")
    file = root / DATA_SET_FILE
    if file.is_file():
        content = read_json(file)
        if not isinstance(content, dict) or not isinstance(content.get("layout"), str):
            raise HarmoniadError(f'{file.as_posix()}: must be like {{"layout": "mvtec"}}.')
        return str(content["layout"])
    found = recognise(root)
    if found.single_category:
        raise HarmoniadError(f"{shown}: is one category by itself. Move its content to {shown}/CATEGORY/.")
    return found.name


def layout_of(root: Path) -> Layout:
    """The module of the layout that `layout_name_of` finds.

    Raises:
        HarmoniadError: See `layout_name_of`.
    """
    name = layout_name_of(root)
    try:
        return layout_named(name)
    except HarmoniadError as error:
        raise HarmoniadError(f"{(root / DATA_SET_FILE).as_posix()}: {error}") from error


def add(source: Path, layout: str | None = None, name: str | None = None, project: Path = Path()) -> str:
    """Check a folder of images, copy it to `data/NAME` and track it with DVC.

    Nothing is copied before everything has been checked, and nothing is left behind if DVC fails.

    Args:
        source: A folder of categories, or one category, which becomes `data/NAME/<its name>`, or a manifest, of which
            the images that it lists are copied.
        layout: A key of `LAYOUTS`; found out by default.
        name: The name of the data set; by default the name of the folder or manifest.
        project: The project folder.

    Returns:
        Lines for the user: what was added and what to do next.

    Raises:
        HarmoniadError: The folder, the name, an image or a mask is not fit, or DVC fails.
    """
    source = Path(os.path.abspath(source))  # noqa: PTH100 - unlike resolve, it keeps the name of a link
    name = name or (source.stem if source.is_file() else source.name)
    check_name(name, project)
    _check_source(source, project)
    found = recognise(source, layout)
    records = _read(source, found)
    files = list(regular_files(source)) if source.is_dir() else []
    _check_images(records, project / SCAN_CACHE)
    target = project / DATA_DIR / name
    with replacing_folder(target) as temporary:
        if found.name == "manifest":
            _copy_listed(source, records, temporary)
        else:
            _copy(source, files, temporary / source.name if found.single_category else temporary)
        write_json(temporary / DATA_SET_FILE, {"layout": found.name})
    _track(target, project)
    remember_copies(records, list(found.layout.read(target)), target, project / SCAN_CACHE)
    return summary(name, found.name, records, files)


def list_sets(project: Path = Path()) -> list[DataSet]:
    """All data sets of a project by name, counted without opening an image.

    Raises:
        HarmoniadError: `params.yaml` is wrong.
    """
    chosen = load_params(project / PARAMS_FILE).data.sets
    return [_describe(project / DATA_DIR / name, name in chosen) for name in sorted({*names(project), *chosen})]


def names(project: Path = Path()) -> Iterator[str]:
    """The names of all data sets of a project, in any order and maybe twice."""
    data = project / DATA_DIR
    for path in data.iterdir() if data.is_dir() else ():
        if path.name.startswith(".") or path.name in (INBOX, QUARANTINE):
            continue
        if path.is_dir():
            yield path.name
        elif path.suffix == ".dvc":
            yield path.stem


def _describe(root: Path, in_params: bool) -> DataSet:
    try:
        layout = layout_name_of(root)
        records = list(layout_named(layout).read(root))
    except HarmoniadError:
        layout, records = "-", []
    categories = len({record.category for record in records})
    return DataSet(root.name, layout, categories, len(records), _origin(root), in_params)


def _origin(root: Path) -> str:
    if root.name == SAMPLE:
        return "stage"
    return "dvc" if root.with_name(f"{root.name}.dvc").is_file() else "untracked"


def check_name(name: str, project: Path = Path()) -> None:
    """Refuse a name that no data set may have, or that one has.

    Raises:
        HarmoniadError: It is such a name.
    """
    if not re.fullmatch(r"\w[\w.-]*", name) or name in (SAMPLE, INBOX, QUARANTINE) or name.endswith(".dvc"):
        raise HarmoniadError(
            f"`{name}` cannot be the name of a data set. Give another with --name: letters, digits, `_`, `.` and `-`, "
            f"not `{SAMPLE}`, `{INBOX}` or `{QUARANTINE}`."
        )
    for path in (project / DATA_DIR / name, project / DATA_DIR / f"{name}.dvc"):
        if path.exists():
            raise HarmoniadError(f"{(DATA_DIR / path.name).as_posix()}: exists already. Give another name with --name.")


def _check_source(source: Path, project: Path) -> None:
    if not source.exists():
        raise HarmoniadError(f"{source}: no such folder.")
    if source.is_file() and source.suffix.lower() in manifest.SUFFIXES:
        return
    if not source.is_dir():
        raise HarmoniadError(f"{source}: is neither a folder nor a manifest ({' or '.join(manifest.SUFFIXES)}).")
    data, real = (project / DATA_DIR).resolve(), source.resolve()
    if real.is_relative_to(data) or data.is_relative_to(real):
        raise HarmoniadError(f"{source}: lies in {DATA_DIR}/ or holds it. Give a folder outside of the project.")


def _read(source: Path, found: Recognised) -> list[Record]:
    """All images of the folder, of which every category must have good ones to train with."""
    if found.single_category:
        records = list(found.layout.read(source.parent, source.name))
        folders = {source.name: source}
    else:
        records = list(found.layout.read(source))
        folders = {folder.name: folder for folder in sub_folders(source) if found.layout.is_category(folder)}
    if not records and not folders:
        raise HarmoniadError(f"{source}: holds no images. Expected {found.layout.EXPECTED}.")
    trained = {record.category for record in records if record.split in _TRAINING and record.label == "good"}
    for category in sorted({*folders, *(record.category for record in records)} - trained):
        folder = found.layout.train_folder(folders.get(category, source / category))
        raise HarmoniadError(
            f"{folder}: no images of category {category} (layout {found.name}). Every category needs good images to "
            "train with."
        )
    return records


def regular_files(source: Path) -> Iterator[Path]:
    """What `add` copies: every regular file that is not junk, and what links to files point to.

    Raises:
        HarmoniadError: There is a link to a folder, a broken link or something that is not a regular file.
    """
    for parent, folders, names in os.walk(source):
        folders[:] = sorted(folder for folder in folders if not is_junk(folder))
        for folder in folders:
            if Path(parent, folder).is_symlink():
                raise HarmoniadError(f"{Path(parent, folder)}: is a link to a folder. Put the folder itself there.")
        for name in sorted(names):
            path = Path(parent, name)
            if is_junk(name):
                continue
            if not path.is_file():
                raise HarmoniadError(f"{path}: is a broken link or not a regular file. Remove it.")
            yield path


def _check_images(records: Sequence[Record], scan_cache: Path) -> None:
    problems = []
    for record, row in zip(records, measure_all(records, "check", scan_cache), strict=True):
        size, mask_size = ((row[f"{kind}width"], row[f"{kind}height"]) for kind in ("", "mask_"))
        if row["problem"]:
            problems.append(f"{record.path}: {row['problem']}")
        elif record.masks and size != mask_size:
            problems.append(
                f"{record.masks[0]}: is {_by(mask_size)} pixels, but its image {record.path} is {_by(size)}"
            )
    if problems:
        more = f" (+{len(problems) - 3} more)" if len(problems) > 3 else ""
        raise HarmoniadError("; ".join(problems[:3]) + more)


def _by(size: tuple[object, object]) -> str:
    return f"{size[0]}×{size[1]}"


def _copy(source: Path, files: Sequence[Path], target: Path) -> None:
    with Progress("copy", len(files), "files") as progress:
        for path in files:
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            progress.advance()


def _copy_listed(source: Path, records: Sequence[Record], target: Path) -> None:
    """Copy what a manifest lists, from the folder that holds all of it on, and the manifest with the new paths."""
    listed = sorted({path for record in records for path in (record.path, *record.masks)})
    folder = source
    if not all(path.is_relative_to(folder) for path in listed):
        try:
            folder = Path(os.path.commonpath([path.parent for path in listed]))
        except ValueError as error:
            raise HarmoniadError(f"{source}: its images lie on several drives. Bring them together.") from error
    _copy(folder, listed, target)
    moved = [
        dataclasses.replace(
            record,
            path=target / record.path.relative_to(folder),
            masks=tuple(target / mask.relative_to(folder) for mask in record.masks),
        )
        for record in records
    ]
    file = target / MANIFEST_FILE
    write_bytes(file, manifest.write(moved, file))


def _track(target: Path, project: Path) -> None:
    folder = f"{DATA_DIR}/{target.name}"
    try:
        command = [sys.executable, "-m", "dvc", "add", folder]
        result = subprocess.run(command, cwd=project, capture_output=True, check=False)
        if result.returncode:
            lines = result.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            reason = next((line for line in lines if line.startswith("ERROR:")), lines[-1]).removeprefix("ERROR: ")
            raise HarmoniadError(f"dvc add {folder} failed, so nothing was added: {reason}")
    except BaseException:
        shutil.rmtree(target, ignore_errors=True)
        target.with_name(f"{target.name}.dvc").unlink(missing_ok=True)
        raise
