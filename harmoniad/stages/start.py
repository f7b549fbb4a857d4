"""Stage `start`: the weights that a training starts from, kept so that the training can be done again.

Nothing by default (`train.warm_start: false`): the detector is trained from scratch. Otherwise the files of the present
champion. DVC runs this stage when anything changed that the training depends on, and at no other time. So its output,
which DVC keeps and pushes like any other, belongs to a commit, and `dvc repro` of an old commit starts from the
weights that were the champion's then, whoever is champion now.
"""

import shutil
from pathlib import Path

from harmoniad.errors import HarmoniadError
from harmoniad.files import replacing_folder, write_json
from harmoniad.params import Params

START_DIR = Path("results/start/model")
_DESCRIPTION = "start.json"


def run(params: Params) -> str:
    """Fetch the champion's files from the registry if a training shall start from them.

    Raises:
        HarmoniadError: MLflow does not answer, or the champion's files are missing or changed.
    """
    with replacing_folder(START_DIR) as folder:
        version = _fetch(params, folder) if params.train.warm_start else None
        write_json(
            folder / _DESCRIPTION, {"model": params.register_.model_name if version else None, "version": version}
        )
    if version:
        return f"start: from {params.register_.model_name} version {version}, the champion"
    return f"start: from scratch{': there is no champion yet' if params.train.warm_start else ''}"


def _fetch(params: Params, folder: Path) -> int | None:
    """The champion's number, once its detector is in `folder`; None if there is no champion."""
    from harmoniad.models.storage import DESCRIPTION, TENSORS
    from harmoniad.tracking import store
    from harmoniad.tracking.model_files import files_of
    from harmoniad.tracking.versions import CHAMPION, aliases_of_model, find

    name = params.register_.model_name
    if store.is_local() and not store.DATABASE.is_file():
        return None
    with store.connect() as client:
        champion = aliases_of_model(client, name).get(CHAMPION)
        if champion is None:
            return None
        with files_of(find(client, name, str(champion))) as files:
            for file in (TENSORS, DESCRIPTION):
                shutil.copyfile(files / file, folder / file)
    return champion


def check() -> None:
    """See that the stage has run.

    Raises:
        HarmoniadError: It has not.
    """
    if not (START_DIR / _DESCRIPTION).is_file():
        raise HarmoniadError(f"{START_DIR.as_posix()}: missing. Run `harmoniad start`, or `dvc repro`, which does.")
