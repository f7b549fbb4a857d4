from pathlib import Path

import pytest

from harmoniad.errors import HarmoniadError
from harmoniad.params import load_params

REPOSITORY = Path(__file__).parents[1]


def test_the_file_of_the_project_is_right() -> None:
    params = load_params(REPOSITORY / "params.yaml")
    assert params.data.sets == ["sample"]
    assert params.encoder.name == "timm:tf_efficientnet_lite0"


def test_an_empty_section_takes_its_defaults(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 3\n")
    params = load_params(tmp_path / "params.yaml")
    assert params.seed == 3
    assert params.detector.name == "harmoniad"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sed: 1", ["unknown key `sed`"]),
        ("encoder:\n  nam: x", ["unknown key `encoder.nam`"]),
        ("validate:\n  severity:\n    decodeable: error", ["unknown key `validate.severity.decodeable`"]),
        ("encoder:\n  resolution: big", ["`encoder.resolution`", "'big'"]),
        ("encoder:\n  name: resnet50", ["`encoder.name`", "'resnet50'"]),
        ("encoder:\n  layers: [3, 2]", ["`encoder`", "ascend"]),
        ("evaluate:\n  smoothing_kernel: 4", ["`evaluate`", "odd"]),
        ("views:\n  tile: 8", ["`views`", "at least 32"]),
        ("views:\n  tile_overlap: 0.9", ["`views.tile_overlap`"]),
        ("detector:\n  name: magic", ["`detector.name`", "'patchcore'"]),
        ("detector:\n  inp_former: {width: 24, heads: 5}", ["`detector.inp_former`", "multiple of heads"]),
        ("detector:\n  dinomaly: {split: true}", ["unknown key `detector.dinomaly.split`"]),
        ("detector:\n  padim: {channels: 0}", ["`detector.padim.channels`"]),
        ("data:\n  sets: []", ["`data.sets`"]),
        ("data:\n  sets: ['../secret']", ["`data.sets.0`"]),
        ("device: tpu", ["`device`"]),
        ("- a list", ["must hold sections"]),
        ("a: [", ["not valid YAML"]),
    ],
)
def test_a_wrong_key_names_itself_in_one_line(tmp_path: Path, text: str, words: list[str]) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(text)
    with pytest.raises(HarmoniadError) as caught:
        load_params(file)
    message = str(caught.value)
    assert message.startswith(str(file))
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_file_says_where_to_be(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match="project's folder"):
        load_params(tmp_path / "params.yaml")
