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
        ("detector:\n  harmoniad: {memory: false}", ["`detector.harmoniad`", "memory or reconstruction must be true"]),
        (
            "detector:\n  harmoniad: {memory: false, reconstruction: true}",
            ["`detector.harmoniad`", "bands, place and head need memory: true"],
        ),
        (
            "detector:\n  harmoniad: {memory: false, reconstruction: true, bands: false, place: false}",
            ["`detector.harmoniad`", "bands, place and head need memory: true"],
        ),
        ("detector:\n  harmoniad: {width: 24, heads: 5}", ["`detector.harmoniad`", "multiple of heads"]),
        ("detector:\n  harmoniad: {memory_weight: 0.5}", ["unknown key `detector.harmoniad.memory_weight`"]),
        ("detector:\n  harmoniad: {gate: wavelet}", ["`detector.harmoniad.gate`", "'content'"]),
        ("detector:\n  harmoniad: {gate_radius: 1}", ["`detector.harmoniad.gate_radius`"]),
        ("detector:\n  harmoniad: {fusion: best}", ["`detector.harmoniad.fusion`", "'earned'"]),
        ("detector:\n  harmoniad: {head_steps: 0}", ["`detector.harmoniad.head_steps`"]),
        ("detector:\n  harmoniad: {feature_noise: 0}", ["`detector.harmoniad.feature_noise`"]),
        ("views:\n  synthetic: -1", ["`views.synthetic`"]),
        ("detector:\n  inp_former: {width: 24, heads: 5}", ["`detector.inp_former`", "multiple of heads"]),
        ("detector:\n  dinomaly: {split: true}", ["unknown key `detector.dinomaly.split`"]),
        ("detector:\n  padim: {channels: 0}", ["`detector.padim.channels`"]),
        ("data:\n  sets: []", ["`data.sets`"]),
        ("data:\n  sets: ['../secret']", ["`data.sets.0`"]),
        ("data:\n  sets: [007]", ["`data.sets.0`", "but it is 7. Write it in quotes."]),
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


@pytest.mark.parametrize(
    "switches",
    [
        "memory: false, bands: false, place: false, head: false, reconstruction: true",
        "bands: false, head: false",
        "head: false",
        "bands: false",
    ],
)
def test_switches_of_harmoniad_that_go_together(tmp_path: Path, switches: str) -> None:
    (tmp_path / "params.yaml").write_text(f"detector:\n  harmoniad: {{{switches}}}\n")
    assert load_params(tmp_path / "params.yaml").detector.name == "harmoniad"


def test_a_missing_file_says_where_to_be(tmp_path: Path) -> None:
    with pytest.raises(HarmoniadError, match="project's folder"):
        load_params(tmp_path / "params.yaml")
