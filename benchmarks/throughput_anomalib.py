"""anomalib's detectors as contenders of `throughput.py`; run by the Python of an environment that has anomalib.

Nothing can be downloaded where this was written, so timm is told to build each backbone with random weights (anomalib's
Dinomaly asks for pretrained ones and has no switch). The cost of a forward pass does not depend on the weights.
"""

import functools
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1]))  # for harmoniad.prefetch, which needs the standard library only

import timm
import torch
from PIL import Image
from throughput_protocol import serve, settings
from torchvision.transforms.v2.functional import to_dtype, to_image

from harmoniad.prefetch import load_ahead

create = timm.create_model


@functools.wraps(create)
def create_with_random_weights(*arguments: Any, **named: Any) -> Any:
    return create(*arguments, **{**named, "pretrained": False})


timm.create_model = create_with_random_weights

import anomalib  # noqa: E402
from anomalib.models import Dinomaly, Patchcore  # noqa: E402


def main() -> None:
    work = settings()
    torch.set_num_threads(work["threads"])
    torch.manual_seed(0)
    build = {"patchcore": build_patchcore, "dinomaly": build_dinomaly}[work["detector"]]
    module = build(work).eval()
    for part in ("image", "pixel"):  # wide enough that no score is clamped
        for name, value in ((f"_{part}_threshold", 50.0), (f"{part}_min", 0.0), (f"{part}_max", 100.0)):
            getattr(module.post_processor, name).fill_(value)
    contents = [Path(path).read_bytes() for path in work["images"]]

    @torch.inference_mode()
    def verdicts(images: Sequence[torch.Tensor]) -> list[float]:
        found = module.post_processor(module.model(torch.stack(list(images))))
        assert found.pred_label is not None and found.anomaly_map is not None
        return found.pred_score.flatten().tolist()

    def load(content: bytes) -> torch.Tensor:
        # Decoded and scaled as anomalib's inferencer does it, then resized and normalised by its own transform.
        image = to_dtype(to_image(Image.open(io.BytesIO(content)).convert("RGB")), torch.float32, scale=True)
        return module.pre_processor.transform(image)

    def run(batch: int) -> Iterator[list[float]]:
        workers = 0 if batch == 1 else work["workers"]
        for loaded in load_ahead(contents, load, batch_size=batch, workers=workers):
            yield verdicts([image for _, image in loaded])

    serve(run, {"anomalib": anomalib.__version__, "torch": torch.__version__})


def build_patchcore(work: dict[str, Any]) -> Any:
    """PatchCore on the blocks that HarmoniAD taps, with a memory of the same size, drawn from the same photographs."""
    size = (work["resolution"], work["resolution"])
    module = Patchcore(
        backbone=work["backbone"],
        layers=[f"blocks.{layer}" for layer in work["layers"]],
        pre_trained=False,
        pre_processor=Patchcore.configure_pre_processor(image_size=size),
        evaluator=False,
        visualizer=False,
    )
    patches = []
    with torch.inference_mode():
        for path in work["train"]:
            image = to_dtype(to_image(Image.open(path).convert("RGB")), torch.float32, scale=True)
            module.model.train()
            patches.append(module.model(module.pre_processor.transform(image)[None]).clone())
    drawn = torch.cat(patches)
    # Which patches stay changes no time, so they are drawn at random instead of by minutes of coreset search.
    module.model.memory_bank = drawn[torch.randperm(len(drawn))[: work["bank"]]]
    module.model.embedding_store.clear()
    return module


def build_dinomaly(work: dict[str, Any]) -> Any:
    """Dinomaly as it comes: eight target blocks and eight decoder blocks; the image is squashed, not cropped."""
    size = (work["resolution"], work["resolution"])
    return Dinomaly(
        encoder_name=work["backbone"],
        precision="float16" if work["precision"] == "bfloat16" else "float32",  # its float16 is bfloat16
        pre_processor=Dinomaly.configure_pre_processor(image_size=size, crop_size=work["resolution"]),
        evaluator=False,
        visualizer=False,
    )


if __name__ == "__main__":
    main()
