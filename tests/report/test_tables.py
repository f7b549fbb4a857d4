import pytest

from harmoniad.report.tables import METRICS, figure, metrics_table
from harmoniad.report.text import aligned, columns, one_line


def metrics(**categories: list[float | None]) -> dict:
    figures = {name: dict(zip(METRICS, values, strict=True)) for name, values in categories.items()}
    return {
        "mean": dict(zip(METRICS, [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, None], strict=True)),
        "categories": figures,
        "encoder": "timm:tiny",
        "weights": "embedded",
        "detector": "harmoniad",
        "resolution": 256,
        "data_fingerprint": "1234abcd",
        "test_fingerprint": "5678ef00",
        "seed": 3,
    }


def test_the_table_by_hand() -> None:
    text = metrics_table(metrics(bottle=[1.0, 0.98765, 0, 0.5, 0.25, 0.125, None]))
    assert text.splitlines() == [
        "category  image AUROC  image AP  image F1max  pixel AUROC  pixel AP  pixel F1max  AUPRO",
        "---------------------------------------------------------------------------------------",
        "bottle          1.000     0.988        0.000        0.500     0.250        0.125      –",
        "---------------------------------------------------------------------------------------",
        "mean            0.900     0.800        0.700        0.600     0.500        0.400      –",
        "",
        "detector harmoniad, encoder timm:tiny, weights embedded, 256 px, data 1234abcd, test images 5678ef00, seed 3",
    ]


def test_names_of_any_script_stay_aligned() -> None:
    names = {"größe": [0.5] * 7, "轴承": [0.5] * 7, "u\u0308": [0.5] * 7, "a very long name of a category": [0.5] * 7}
    table = metrics_table(metrics(**names)).splitlines()
    assert len({columns(line) for line in table[:-2]}) == 1


def test_a_name_cannot_steer_the_terminal() -> None:
    text = metrics_table(metrics(**{"evil\x1b[2J\nname": [0.5] * 7}))
    assert "\x1b" not in text
    assert len(text.splitlines()) == 7


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0, "0.000"), (0.98765, "0.988"), (1, "1.000")])
def test_figure(value: float | None, text: str) -> None:
    assert figure(value) == text


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("ü", 1), ("u\u0308", 1), ("轴承", 4), ("a\u200bb", 2), ("", 0)]
)
def test_columns(text: str, width: int) -> None:
    assert columns(text) == width


@pytest.mark.parametrize(
    ("text", "line"),
    [("plain", "plain"), (" a\tb\r\nc ", "a b c"), ("\x1b[31m", "\ufffd[31m"), ("größe 轴", "größe 轴")],
)
def test_one_line(text: str, line: str) -> None:
    assert one_line(text) == line


def test_cells_stand_below_one_another_whatever_alphabet_they_are_in() -> None:
    lines = aligned([("name", "images"), ("齿轮", "7"), ("gear ü", "12")]).splitlines()
    assert lines == ["name    images", "齿轮    7", "gear ü  12"]
