from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harmoniad.export import onnx_file
from harmoniad.export.run import export
from harmoniad.params import Params
from tests.export.models import tiles


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that need torch's part of an export go to one worker, which makes it once."""
    for item in items:
        if "exported_folder" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("export"))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos ü")
    for number, tile in enumerate(tiles(4, 40, 33)):
        Image.fromarray(tile).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="session")
def cores() -> list[Any]:
    """What torch made of `trained`; it takes seconds, so once has to do."""
    return []


@pytest.fixture(scope="session")
def exported_folder(trained: Path, photos: Path, cores: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "graph ü"
    make_core = onnx_file.core_of

    def keep(*arguments: Any) -> Any:
        cores.append(make_core(*arguments))
        return cores[0]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(onnx_file, "core_of", keep)
        text = export(trained, "onnx", out, Params(), images=photos)
    assert "4 images" in text
    assert "no verdict differs" in text
    return out
