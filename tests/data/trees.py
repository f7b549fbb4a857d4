"""Tiny data sets in each layout, of real images: grey noise, with a white square where it is defective."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 48, 40
SQUARE = (slice(8, 20), slice(10, 30))  # 12 × 20 pixels


def part(path: Path, defective: bool = False, **options: object) -> Path:
    """Save an image that differs with its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(list(path.as_posix().encode())).integers(60, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    if defective:
        pixels[SQUARE] = 250
    Image.fromarray(pixels).save(path, **options)
    return path


def mask(path: Path, value: int = 255, square: tuple[slice, slice] = SQUARE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    pixels[square] = value
    Image.fromarray(pixels).save(path)
    return path


def mvtec(root: Path) -> None:
    for number in range(8):
        part(root / f"gear/train/good/{number:03d}.png")
    for number in range(2):
        part(root / f"gear/test/good/{number:03d}.png")
        part(root / f"gear/test/bent/{number:03d}.png", True)
        mask(root / f"gear/ground_truth/bent/{number:03d}_mask.png")


def visa(root: Path) -> None:
    lines = []
    for number in range(10):
        image = part(root / f"candle/Data/Images/Normal/{number:04d}.JPG")
        lines.append(["candle", "train" if number < 8 else "test", "normal", image.relative_to(root).as_posix(), ""])
    for number in range(2):
        image = part(root / f"candle/Data/Images/Anomaly/{number:03d}.JPG", True)
        marked = mask(root / f"candle/Data/Masks/Anomaly/{number:03d}.png", 1 + number)
        names = [path.relative_to(root).as_posix() for path in (image, marked)]
        lines.append(["candle", "test", "anomaly", *names])
    lines.append(["pcb1", "train", "normal", "pcb1/Data/Images/Normal/0000.JPG", ""])  # was not downloaded
    table = root / "split_csv/1cls.csv"
    table.parent.mkdir()
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["object", "split", "label", "image", "mask"], *lines])


def visa_raw(root: Path) -> None:
    visa(root)
    (root / "split_csv/1cls.csv").unlink()


def btad(root: Path) -> None:
    for number in range(8):
        part(root / f"01/train/ok/{number:04d}.{'bmp' if number % 2 else 'png'}")
    for number, suffixes in enumerate([("bmp", "png"), ("png", "bmp")]):
        part(root / f"01/test/ok/{number:04d}.{suffixes[0]}")
        part(root / f"01/test/ko/{number:04d}.{suffixes[0]}", True)
        mask(root / f"01/ground_truth/ko/{number:04d}.{suffixes[1]}")


def mvtec_loco(root: Path) -> None:
    pins = root / "pushpins"
    for number in range(8):
        part(pins / f"train/good/{number:03d}.png")
    for number in range(3):
        part(pins / f"validation/good/{number:03d}.png")
    part(pins / "test/good/000.png")
    part(pins / "test/structural_anomalies/000.png", True)
    mask(pins / "ground_truth/structural_anomalies/000/000.png", 253)
    part(pins / "test/logical_anomalies/000.png", True)
    mask(pins / "ground_truth/logical_anomalies/000/000.png", 255)  # 240 pixels
    mask(pins / "ground_truth/logical_anomalies/000/001.png", 254, (slice(30, 35), slice(0, 11)))  # 55 pixels
    rules = [("additional", 255, 100, False), ("missing", 254, 0.5, True), ("broken", 253, 6300, False)]
    keys = ("defect_name", "pixel_value", "saturation_threshold", "relative_saturation")
    (pins / "defects_config.json").write_text(json.dumps([dict(zip(keys, rule, strict=True)) for rule in rules]))


def mvtec_ad_2(root: Path) -> None:
    for number in range(8):
        part(root / f"vial/train/good/{number:03d}_regular.png")
    for number in range(3):
        part(root / f"vial/validation/good/{number:03d}_regular.png")
    part(root / "vial/test_public/good/000_overexposed.png")
    part(root / "vial/test_public/bad/000_shift_1.png", True)
    mask(root / "vial/test_public/ground_truth/bad/000_shift_1_mask.png")
    part(root / "vial/test_private/000.png")
    part(root / "vial/test_private_mixed/000_mixed.png")


def real_iad(root: Path) -> None:
    images = root / "realiad_1024/audiojack"
    train, test = [], []
    for number in range(4):
        for view in (1, 2, 3):
            name = f"OK/S{number:04d}/audiojack_{number:04d}_OK_C{view}_20231023.jpg"
            part(images / name)
            (train if number < 3 else test).append(
                {"category": "audiojack", "anomaly_class": "OK", "image_path": name, "mask_path": None}
            )
    for view in (1, 2, 3):
        name = f"NG/BX/S0001/audiojack_0001_NG_BX_C{view}_20231023.jpg"
        part(images / name, True)
        marked = mask(images / name.replace(".jpg", ".png")).relative_to(images).as_posix() if view < 3 else None
        test.append({"category": "audiojack", "anomaly_class": "BX", "image_path": name, "mask_path": marked})
    part(root / "realiad_256/audiojack/OK/S0000/audiojack_0000_OK_C1_20231023.jpg")
    content = {"meta": {"prefix": "audiojack/", "normal_class": "OK"}, "train": train, "test": test}
    for folder, kept in (("realiad_jsons", content), ("realiad_jsons_sv", content | {"train": train[:1]})):
        path = root / "realiad_jsons" / folder / "audiojack.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(kept))
    (root / "realiad_jsons/realiad_jsons/button.json").write_text(json.dumps(content))  # was not downloaded


def folder(root: Path) -> None:
    for number in range(12):
        part(root / f"bolt/OK/{number:03d}.jpg")
    for number in range(2):
        part(root / f"bolt/Kratzer tief/{number:03d}.webp", True)
    mask(root / "bolt/masks/Kratzer tief/000.png")
    shape = {"label": "scratch", "shape_type": "rectangle", "points": [[10, 8], [29, 19]]}
    (root / "bolt/masks/Kratzer tief/001.json").write_text(
        json.dumps({"shapes": [shape], "imageWidth": WIDTH, "imageHeight": HEIGHT})
    )


def manifest(root: Path) -> None:
    lines = []
    for number in range(9):
        image = part(root / f"archive/2026/{number:03d} ü.tif")
        lines.append([image.relative_to(root).as_posix(), "rivet", "train" if number else "test", "ok", "", ""])
    part(root / "archive/x.png", True)
    mask(root / "marked/x 1.png")
    mask(root / "marked/x 2.png", 1, (slice(0, 2), slice(0, 3)))
    lines.append(["archive/x.png", "rivet", "test", "ng", "dent", "marked/x 1.png|marked/x 2.png"])
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "category", "split", "label", "defect", "mask"], *lines])


TREES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "mvtec": ("mvtec", mvtec),
    "visa": ("visa", visa),
    "visa_raw": ("visa", visa_raw),
    "btad": ("btad", btad),
    "mvtec_loco": ("mvtec_loco", mvtec_loco),
    "mvtec_ad_2": ("mvtec_ad_2", mvtec_ad_2),
    "real_iad": ("real_iad", real_iad),
    "folder": ("folder", folder),
    "manifest": ("manifest", manifest),
}
"""The layout that each is recognised as, and its builder."""
