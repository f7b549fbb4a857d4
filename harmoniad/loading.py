"""Loading a model by its name in the registry or from a folder: safetensors and JSON, nothing of it is run."""

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from harmoniad.environment import keep_quiet
from harmoniad.errors import HarmoniadError
from harmoniad.files import sha256_file

if TYPE_CHECKING:
    from harmoniad.features.encoders import Precision
    from harmoniad.inspector import Inspector, Origin

FILES = ("detector.safetensors", "model.json", "threshold.json")

_REGISTRY = re.compile(r"models:/(?P<name>[^/@'\"]+)(?:@(?P<alias>[^/@'\"]+)|/(?P<version>[0-9]{1,9}))")
_registry_use = threading.Lock()  # MLflow keeps the address of its store in a global


def load(model: str | Path = "champion", device: str = "auto", precision: "Precision" = "float32") -> "Inspector":
    """Load a model; for `model` see `harmoniad.load`, for the rest `Inspector.load`.

    Raises:
        HarmoniadError: There is no such model, its files are missing, or were changed since it was registered, or it
            was made by another version of harmoniad.
    """
    keep_quiet()
    with located(model) as (folder, origin):
        return load_folder(folder, origin, device, precision)


def load_folder(folder: Path, origin: "Origin", device: str, precision: "Precision" = "float32") -> "Inspector":
    """Load the files in `folder`, which `located` gave with their origin."""
    from safetensors import SafetensorError

    from harmoniad.features.encoders import choose_device
    from harmoniad.inspector import Inspector

    choose_device(device)  # a device that is not there is the caller's mistake and not the model's
    try:
        inspector = Inspector.load(folder, device, precision)
    except (HarmoniadError, KeyError, TypeError, ValueError, AttributeError, SafetensorError) as error:
        told = isinstance(error, HarmoniadError)
        if told and (origin.version is None or str(folder) not in str(error)):
            raise  # it names a file of the user's, or the weights that are missing
        raise HarmoniadError(
            f"{origin.name}: a model of another version of harmoniad. Check its commit out to use it, or run "
            "`dvc repro`, which makes a new one."
        ) from error
    inspector.origin = origin
    return inspector


@contextlib.contextmanager
def located(model: str | Path) -> Iterator[tuple[Path, "Origin"]]:
    """Give a folder with a model's files, and what it is; what came from the registry is as it was registered.

    Raises:
        HarmoniadError: There is no such model, or its files are missing or changed.
    """
    text = str(model)
    if text.startswith("models:"):
        found = _REGISTRY.fullmatch(text)
        if found is None:
            raise HarmoniadError(f"{text}: expected models:/NAME@ALIAS or models:/NAME/VERSION.")
        with _registered(found["name"], found["alias"] or found["version"]) as located_model:
            yield located_model
    elif isinstance(model, str) and not Path(text).exists() and re.fullmatch(r"@?[\w.-]+", text):
        with _registered(_model_name(), text) as located_model:
            yield located_model
    else:
        yield _folder(Path(model))


def wanted_version(model: str) -> int | None:
    """Which version a name such as `champion` stands for now, without loading it; None for a folder.

    Raises:
        HarmoniadError: There is no such version.
    """
    from harmoniad.tracking import store
    from harmoniad.tracking.versions import find

    found = _REGISTRY.fullmatch(model)
    if found is None and Path(model).exists():
        return None
    name, wanted = (found["name"], found["alias"] or found["version"]) if found else (_model_name(), model)
    with _registry_use:
        _check_that_there_is_a_store()
        with store.connect() as client:
            return int(find(client, name, wanted).version)


@contextlib.contextmanager
def _registered(name: str, wanted: str) -> Iterator[tuple[Path, "Origin"]]:
    from harmoniad.inspector import Origin
    from harmoniad.tracking import store
    from harmoniad.tracking.model_files import files_of
    from harmoniad.tracking.versions import find

    with contextlib.ExitStack() as stack:
        with _registry_use:
            _check_that_there_is_a_store()
            with store.connect() as client:
                version = find(client, name, wanted)
                folder = stack.enter_context(files_of(version))
        number = int(version.version)
        yield folder, Origin(f"{name} version {number}", files_digest(folder), number)


def _check_that_there_is_a_store() -> None:
    from harmoniad.tracking import store

    if store.is_local() and not store.DATABASE.is_file():
        raise HarmoniadError(
            f"{store.DATABASE.as_posix()}: no such file. Call it in the project's folder after `dvc repro`, set "
            "MLFLOW_TRACKING_URI, or name a model's folder."
        )


def _model_name() -> str:
    """What the project in the current folder calls its model."""
    from harmoniad.params import PARAMS_FILE, Params, load_params

    return (load_params() if PARAMS_FILE.is_file() else Params()).register_.model_name


def _folder(path: Path) -> tuple[Path, "Origin"]:
    from harmoniad.inspector import Origin

    inner = path / "artifacts" / "model"  # of a model that was downloaded from MLflow
    folder = inner if (path / "MLmodel").is_file() and inner.is_dir() else path
    for name in FILES:
        if not (folder / name).is_file():
            raise HarmoniadError(
                f"{folder / name}: no such file. A model's folder holds {', '.join(FILES)}; name such a folder, an "
                "alias such as `champion`, or a version's number."
            )
    return folder, Origin(str(path), files_digest(folder))


def files_digest(folder: Path) -> str:
    """The SHA-256 over the names and contents of a model's files: that of its registration."""
    digest = hashlib.sha256()
    for name in FILES:
        digest.update(f"{name}\0{sha256_file(folder / name)}\0".encode())
    return digest.hexdigest()
