"""A thin scratch on large images, through the stages: tiles find it, the whole image hides it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from harmoniad.data.images import load_rgb
from harmoniad.data.manifest import read_manifest
from harmoniad.files import read_json
from harmoniad.inspector import Inspector
from harmoniad.params import Params
from harmoniad.stages import encode, evaluate, prepare, train

SIDE, WIDTH, LENGTH = 2000, 5, 180


def surface(seed: int) -> np.ndarray:
    """Brushed metal, (2000, 2000) of uint8."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(0, 1, (SIDE, SIDE)).astype(np.float32)
    brushed = gaussian_filter(noise, (0.7, 9))
    return np.clip(150 + 20 * brushed / brushed.std(), 0, 255).astype(np.uint8)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("large ü") / "data" / "plates"
    for number in range(5):
        write(root / "plate" / "train" / "good" / f"{number}.png", surface(number))
    write(root / "plate" / "test" / "good" / "0.png", surface(100))
    scratched, mask = Image.fromarray(surface(101)), Image.new("L", (SIDE, SIDE))
    line = [(1180, 700), (1180 + int(LENGTH * 0.8), 700 + int(LENGTH * 0.6))]
    ImageDraw.Draw(scratched).line(line, fill=195, width=WIDTH)
    ImageDraw.Draw(mask).line(line, fill=255, width=WIDTH)
    write(root / "plate" / "test" / "scratch" / "0.png", np.asarray(scratched))
    write(root / "plate" / "ground_truth" / "scratch" / "0_mask.png", np.asarray(mask))
    return root.parents[1]


def run_stages(tile: int) -> dict[str, float]:
    params = Params.model_validate(
        {
            "data": {"sets": ["plates"]},
            "device": "cpu",
            "prepare": {"held_out": 0.4},
            "detector": {"name": "patchcore", "patchcore": {"max_patches": 12_000, "coreset": 0.05}},
            "views": {"tile": tile, "synthetic": 0},
            "evaluate": {"heatmaps": 1},
        }
    )
    prepare.run(params, "plates")
    encode.run(params)
    train.run(params)
    evaluate.run(params)
    scores = np.genfromtxt("results/evaluate/scores.csv", delimiter=",", names=True, dtype=None, encoding="utf-8")
    scratched = scores[scores["label"] == "defect"][0]
    assert list(scores["split"]).count("held_out") >= 1
    metrics = read_json(Path("results/evaluate/metrics.json"))["categories"]["plate"]
    return {"score": float(scratched["score"]), "threshold": float(scratched["threshold"]), **metrics}


def test_tiles_find_what_the_whole_image_hides(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(data)
    whole = run_stages(tile=0)
    tiled = run_stages(tile=512)
    print(f"\nwhole image: {whole}\ntiles:       {tiled}")
    assert tiled["score"] > tiled["threshold"]
    assert whole["score"] <= whole["threshold"]
    assert tiled["pixel_ap"] > 3 * whole["pixel_ap"]

    # The model that was stored tiles by itself, and says the same.
    model = Path("results/train/model")
    (model / "threshold.json").write_bytes(Path("results/evaluate/threshold.json").read_bytes())
    inspector = Inspector.load(model, "cpu")
    rows = read_manifest(["plates"])
    row = rows[rows["label"] == "defect"].iloc[0]
    found = inspector.predict([load_rgb(Path(row["path"]))], ["plate"])[0]
    assert found.score == pytest.approx(tiled["score"], rel=1e-4)
    assert found.is_anomalous
    assert found.anomaly_map.shape == (SIDE, SIDE)
    y, x = np.unravel_index(found.anomaly_map.argmax(), found.anomaly_map.shape)
    mask = np.asarray(Image.open(row["mask"])) > 0
    assert mask[max(0, y - 20) : y + 21, max(0, x - 20) : x + 21].any()
