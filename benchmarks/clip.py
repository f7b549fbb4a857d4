"""CLIP end to end: random weights saved, loaded back, compared bit by bit; time and memory of one forward pass.

No weights can be fetched where this was written, and none are needed: a forward pass costs the same with any.

    python benchmarks/clip.py --photographs data/mine --output results/benchmarks
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TOWERS = {
    "ViT-L-14-336": ("openai", [5, 11, 17, 23]),
    "ViT-B-16": ("openai", [2, 5, 8, 11]),
    "ViT-B-16-SigLIP": ("webli", [2, 5, 8, 11]),
}
RESOLUTIONS = (336, 518)
PHOTOGRAPHS = 20
REPEATS = 3
SUFFIXES = (".jpg", ".jpeg", ".png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="folder of images; scikit-image's own by default")
    parser.add_argument("--output", type=Path, default=Path("results/benchmarks"), help="where clip.md and .json go")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--towers", nargs="+", choices=list(TOWERS), default=list(TOWERS))
    arguments = parser.parse_args()
    environment = {**os.environ, "OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1"}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for tower in arguments.towers:
            for resolution in RESOLUTIONS:
                work = {
                    "tower": tower,
                    "resolution": resolution,
                    "folder": folder,
                    "photographs": [str(path) for path in photographs(arguments.photographs)],
                }
                in_child("write", work, environment)
                rows.append(in_child("read", work, environment))
                print(json.dumps(rows[-1]), flush=True)
            (Path(folder) / f"{tower}.safetensors").unlink()
    table = markdown(rows, arguments.threads)
    print(table)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "clip.md").write_text(table, encoding="utf-8")
    (arguments.output / "clip.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def photographs(folder: Path | None) -> list[Path]:
    """Files spread evenly over a folder; none where there is no folder."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES) if folder else []
    return found[:: max(1, len(found) // PHOTOGRAPHS)][:PHOTOGRAPHS]


def in_child(step: str, work: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    """Run a step in a process of its own, so that its peak memory is its own: this process imports no torch."""
    command = [sys.executable, __file__, "--step", step]
    result = subprocess.run(
        command, input=json.dumps(work), env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(result.stdout or "{}")


def markdown(rows: list[dict[str, Any]], threads: int) -> str:
    """One line a tower and resolution."""
    lines = [
        f"CPU, {threads} threads, float32, one image, median of {REPEATS}; peak memory of the process that builds the"
        " whole model, loads the file and keeps the image tower.",
        "",
        "| encoder | px asked | px seen | token grid | features bit-equal | pixels as open_clip's"
        " | load s | forward s | peak MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        equal = f"{row['equal_pixels']} of {row['photographs']}"
        grid = f"{row['grid']} × {row['grid']}"
        lines.append(
            f"| open_clip:{row['tower']} | {row['resolution']} | {row['input_size']} | {grid}"
            f" | {'yes' if row['bit_equal'] else 'NO'} | {equal} | {row['load_seconds']:.1f}"
            f" | {row['forward_seconds']:.2f} | {row['peak_mb']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def write(work: dict[str, Any]) -> dict[str, Any]:
    """Save random weights, and what the network that has them sees in a photograph."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    tower, layers = work["tower"], TOWERS[work["tower"]][1]
    model = open_clip.create_model(tower, load_weights=False, pretrained_image=False).eval()
    folder = Path(work["folder"])
    save_file(model.state_dict(), folder / f"{tower}.safetensors")
    size = whole_patches(model.visual, work["resolution"])
    interpolate_positions(model, size)
    model.visual.to(memory_format=torch.channels_last)
    pixels = transform(tower, size)(load(work)[0])[None].contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        found = model.visual.forward_intermediates(pixels, indices=layers, intermediates_only=True)
    features = {str(index): layer.contiguous() for index, layer in enumerate(found["image_intermediates"])}
    save_file(features, folder / f"{tower}.features.safetensors")
    return {}


def read(work: dict[str, Any]) -> dict[str, Any]:
    """Load the weights with HarmoniAD's encoder and compare."""
    import torch
    from safetensors.torch import load_file

    from harmoniad.features.encoders import Encoder, EncoderSpec
    from harmoniad.params import Encoder as EncoderParams

    tower, resolution, folder = work["tower"], work["resolution"], Path(work["folder"])
    params = EncoderParams(
        name=f"open_clip:{tower}",
        weights=str(folder / f"{tower}.safetensors"),
        resolution=resolution,
        layers=TOWERS[tower][1],
    )
    start = time.perf_counter()
    encoder = Encoder(EncoderSpec.from_params(params), torch.device("cpu"))
    load_seconds = time.perf_counter() - start
    images = load(work)
    first = [encoder.resize(images[0])]
    features = encoder(first)
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        encoder(first)
        seconds.append(time.perf_counter() - start)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    theirs = transform(tower, encoder.input_size)
    equal = sum(torch.equal(encoder.pixels(encoder.resize(image)[None])[0], theirs(image)) for image in images)
    wanted = load_file(folder / f"{tower}.features.safetensors")
    return {
        "tower": tower,
        "resolution": resolution,
        "input_size": encoder.input_size,
        "grid": features[0].shape[-1],
        "bit_equal": all(torch.equal(layer, wanted[str(index)]) for index, layer in enumerate(features)),
        "photographs": len(images),
        "equal_pixels": equal,
        "load_seconds": load_seconds,
        "forward_seconds": statistics.median(seconds),
        "peak_mb": peak_mb,
    }


def load(work: dict[str, Any]) -> list[Any]:
    """The photographs, decoded by Pillow alone; those of scikit-image where no folder is named."""
    from PIL import Image

    if work["photographs"]:
        return [Image.open(path).convert("RGB") for path in work["photographs"]]
    from skimage import data

    names = ("coffee", "astronaut", "chelsea", "rocket", "camera", "brick", "grass", "gravel", "coins", "page")
    return [Image.fromarray(getattr(data, name)()).convert("RGB") for name in names]


def transform(tower: str, size: int) -> Any:
    """open_clip's own preprocessing, squashing to a square."""
    import open_clip

    tag = open_clip.get_pretrained_cfg(tower, TOWERS[tower][0])
    settings = open_clip.transform.PreprocessCfg(
        size=size, mean=tag["mean"], std=tag["std"], interpolation="bicubic", resize_mode="squash"
    )
    return open_clip.transform.image_transform_v2(settings, is_train=False)


def whole_patches(visual: Any, resolution: int) -> int:
    """The resolution, rounded down to whole patches."""
    patch = visual.trunk.patch_embed.patch_size if hasattr(visual, "trunk") else visual.patch_size
    return resolution // patch[0] * patch[0]


def interpolate_positions(model: Any, size: int) -> None:
    """Bring the position embeddings to another resolution by open_clip's own functions."""
    import open_clip
    import torch

    if hasattr(model.visual, "trunk"):
        model.visual.set_input_size(size)
        return
    grid = size // model.visual.patch_size[0]
    state = {"visual.positional_embedding": model.visual.positional_embedding.detach()}
    model.visual.grid_size = (grid, grid)
    open_clip.model.resize_pos_embed(state, model)
    model.visual.positional_embedding = torch.nn.Parameter(state["visual.positional_embedding"])


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--step":
        print(json.dumps({"write": write, "read": read}[sys.argv[2]](json.load(sys.stdin))))
    else:
        main()
