"""`harmoniad export`: a model for ONNX Runtime or OpenVINO, checked against torch before it is kept."""

import importlib.util
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from harmoniad import __version__
from harmoniad.environment import STATE_DIR
from harmoniad.errors import HarmoniadError
from harmoniad.export import openvino_file, parity, quantise
from harmoniad.export.engines import ExportedInspector
from harmoniad.export.folder import GRAPH_FILES, Exported, Runtime, is_export
from harmoniad.files import replacing_folder, write_bytes
from harmoniad.inspector import Inspector
from harmoniad.loading import load_folder, located
from harmoniad.models.memory import PATCHES_AT_ONCE
from harmoniad.params import Params

KEPT = STATE_DIR / "exports"  # what `--runtime` makes of a model that was not exported
_NEEDED = {"onnx": ["onnx", "onnxscript", "onnxruntime"], "openvino": ["onnx", "onnxscript", "openvino"]}


def export(
    model: str | Path, runtime: Runtime, out: Path, params: Params, *, int8: bool = False, images: Path | None = None
) -> str:
    """Export a model; `out` gets its folder only if it answers as torch does.

    Args:
        model: As for `harmoniad.load`.
        runtime: `onnx` or `openvino`.
        out: The folder; an older export there is replaced.
        params: Of the project, for its manifests.
        int8: Quantise the encoder, and measure what that costs.
        images: A folder of images to check the export on; the project's held-out good images without it.

    Returns:
        What was done, for people.

    Raises:
        HarmoniadError: The model cannot be exported, answers differ, or packages, images or the model are missing.
    """
    _check_packages(runtime, int8)
    _check_place(out)
    if is_export(Path(model)):
        raise HarmoniadError(f"{model}: is an export itself. Name the model that it was made from.")
    with located(model) as (folder, origin):
        reference = load_folder(folder, origin, "cpu")
    samples = parity.choose_images(images, params)
    with replacing_folder(out) as temporary:
        core = temporary / "core.onnx"
        exported = _write_core(reference, core, runtime)
        _write_graph(exported, core, temporary)
        found = parity.compare(reference, ExportedInspector.load(temporary), samples)
        exported = replace(exported, parity=found.as_dict())
        if int8:
            exported = _to_int8(exported, core, temporary, params)
        core.unlink()
        exported.save(temporary)
        report = _report(exported, origin.name)
        write_bytes(temporary / "export.md", f"# Export of {origin.name}\n\n{report}\n".encode())
    return f"{report}\n\nexport: {out.as_posix()}"


def exported_folder(model: str | Path, runtime: Runtime, params: Params) -> Path:
    """The export of a model that is none itself; it is made at the first call and kept in the project."""
    with located(model) as (_, origin):
        folder = KEPT / f"{origin.digest[:16]}-{runtime}"
    if not is_export(folder):
        export(model, runtime, folder, params)
    return folder


def _write_core(reference: Inspector, core: Path, runtime: Runtime) -> Exported:
    import onnx
    import torch

    from harmoniad.export.graph import WholeGraph
    from harmoniad.export.onnx_file import core_of

    model, side = reference.model, reference.encoder.input_size
    graph = WholeGraph(reference.encoder, model.detector, model.detector_name, reference.threshold.image_score)
    with torch.inference_mode():
        tokens = graph.token_maps(torch.zeros(1, 3, side, side, dtype=torch.uint8)).numel()
    onnx.save(core_of(graph, side), core)
    assert reference.origin is not None
    return Exported(
        runtime=runtime,
        precision="float32",
        model={
            "harmoniad": __version__,
            "name": reference.origin.name,
            "model_digest": reference.origin.digest,
            "detector": model.detector_name,
            "encoder": asdict(model.encoder),
            "resolution": model.encoder.resolution,
            "categories": model.categories,
            "data_fingerprint": model.data_fingerprint,
            "seed": model.seed,
            "tiling": asdict(model.tiling),
        },
        threshold=reference.threshold.to_dict(),
        input_size=side,
        images_at_once=max(1, PATCHES_AT_ONCE // tokens),
    )


def _write_graph(exported: Exported, core: Path, folder: Path) -> None:
    """Write the graph for its runtime, and `export.json`."""
    import onnx

    from harmoniad.export.onnx_file import save, text_of, with_resize

    threshold = exported.threshold
    about: dict[str, Any] = {
        **exported.model,
        "precision": exported.precision,
        "threshold": threshold["joint"],
        "thresholds": threshold["categories"],
        "normal_level": threshold["normal_level"],
    }
    out = folder / GRAPH_FILES[exported.runtime][0]
    if exported.runtime == "onnx":
        save(with_resize(onnx.load(core), exported.input_size), out, about)
    else:
        openvino_file.convert(core, out, exported.input_size, {key: text_of(value) for key, value in about.items()})
    exported.save(folder)


def _to_int8(exported: Exported, core: Path, folder: Path, params: Params) -> Exported:
    manifest = parity.read_project(params)
    test = quantise.test_images(manifest)
    good = manifest[manifest["label"] == "good"]
    training, held_out = good[good["split"] == "train"], good[good["split"] == "held_out"]
    paths = [Path(path) for path in (training if len(training) else held_out)["path"]]
    before = quantise.measure(ExportedInspector.load(folder), test, params, "float32")
    small = folder / "int8.onnx"
    quantise.quantise(core, small, parity.spread(paths, quantise.CALIBRATION_IMAGES), exported.input_size)
    exported = replace(exported, precision="int8")
    _write_graph(exported, small, folder)
    threshold = quantise.recalibrate(ExportedInspector.load(folder), held_out)
    exported = replace(exported, threshold=threshold.to_dict())
    _write_graph(exported, small, folder)
    after = quantise.measure(ExportedInspector.load(folder), test, params, "int8")
    small.unlink()
    return replace(exported, accuracy={"test_images": len(test), "float32": before, "int8": after})


def _report(exported: Exported, name: str) -> str:
    found, graph = exported.parity, "float32 graph" if exported.precision == "int8" else "graph"
    lines = [
        f"{name}, {exported.model['detector']}, for {exported.runtime} in {exported.precision}.",
        "",
        f"Against torch on {found['images']} images: the {graph}'s scores differ by at most "
        f"{found['largest_score_difference']:.2g} ({found['score_tolerance']:.2g} is allowed), pixels by "
        f"{found['largest_map_difference']:.2g} ({found['map_tolerance']:.2g}), on a range of {found['range']:.3g}; "
        + ("no verdict differs." if not found["at_the_threshold"] else _at_the_threshold(found["at_the_threshold"])),
    ]
    if found["in_graph_resize_difference"] is None:
        lines.append(
            f"The graph sees one tile; harmoniad cuts tiles of {exported.model['tiling']['side']} px and joins them."
        )
    else:
        lines.append(f"Where the graph resizes by itself: {found['in_graph_resize_difference']:.2g}.")
    if exported.accuracy:
        lines += ["", quantise.table(exported.accuracy), "", f"{quantise.loss(exported.accuracy)} The encoder is in "
                  "int8, the detector in float32; thresholds were set anew on the held-out good images."]  # fmt: skip
    return "\n".join(lines)


def _at_the_threshold(paths: list[str]) -> str:
    return (
        f"no verdict differs but at the threshold itself, which is the score of a held-out image: {', '.join(paths)}."
    )


def _check_packages(runtime: Runtime, int8: bool) -> None:
    needed = [*_NEEDED[runtime], *(["onnxruntime"] if int8 else [])]
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise HarmoniadError(f'export: {", ".join(missing)} is not installed. Run `pip install -e ".[export]"`.')


def _check_place(out: Path) -> None:
    """What lies in the folder is replaced, so it must be an export."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not is_export(out)):
        raise HarmoniadError(f"{out}: exists and is no export. Name a folder that is new or empty with --out.")
