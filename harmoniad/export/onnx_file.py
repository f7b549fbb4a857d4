"""The ONNX file: torch's exporter, with the resize of the image put before it and the thresholds written into it."""

import contextlib
import json
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.errors import HarmoniadError

if TYPE_CHECKING:
    from onnx import ModelProto

    from harmoniad.export.graph import WholeGraph

OPSET = 20
INPUT, OUTPUTS = "images", ["score", "anomaly_map"]
RESIZED = "resized"


def core_of(graph: "WholeGraph", side: int) -> "ModelProto":
    """The graph from resized images (N, 3, side, side) of uint8 to scores (N,) and maps (N, R, R).

    Raises:
        HarmoniadError: The encoder or the detector has an operation that ONNX lacks.
    """
    import torch

    from harmoniad.export.graph import DECOMPOSITIONS

    example = torch.zeros(2, 3, side, side, dtype=torch.uint8)
    batch = {0: torch.export.Dim("batch", max=4096)}
    try:
        with torch.no_grad(), _fused_attention_off(), silence():
            program = torch.export.export(graph.eval(), (example,), dynamic_shapes=(batch,))
            program = program.run_decompositions(DECOMPOSITIONS)
            made = torch.onnx.export(
                program,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=[RESIZED],
                output_names=OUTPUTS,
                opset_version=OPSET,
            )
    except Exception as error:  # the exporter raises dozens of types, with pages of text
        reason = re.sub(r"\x1b\[[0-9;]*m", "", str(error).strip().split("\n")[0])[:200]
        raise HarmoniadError(
            f"export: torch cannot write this model as ONNX ({type(error).__name__}: {reason}). Use --runtime torch."
        ) from error
    assert made is not None
    core: ModelProto = made.model_proto
    for node in [*core.graph.node, *core.graph.input, *core.graph.output]:
        del node.metadata_props[:]  # stack traces with the paths of this machine
    for value in core.graph.value_info:
        del value.metadata_props[:]
    del core.functions[:]
    return core


def with_resize(core: "ModelProto", side: int) -> "ModelProto":
    """Put before `core` what takes images (N, H, W, 3) of uint8 and any size: Pillow's bicubic resize, in uint8.

    Pillow (from 13) shrinks the longer side first and rounds in between, and the runtimes the width: so an image that
    is higher than wide is turned, resized and turned back.
    """
    from onnx import TensorProto, compose, helper

    def resized(transposed: bool) -> Any:
        there, back = ([0, 3, 2, 1], [0, 1, 3, 2]) if transposed else ([0, 3, 1, 2], [0, 1, 2, 3])
        nodes = [
            helper.make_node("Transpose", [INPUT], ["channels_first"], perm=there),
            helper.make_node("Shape", [INPUT], ["count"], start=0, end=1),
            helper.make_node("Constant", [], ["rest"], value_ints=[3, side, side]),
            helper.make_node("Concat", ["count", "rest"], ["sizes"], axis=0),
            helper.make_node(
                "Resize",
                ["channels_first", "", "", "sizes"],
                ["squashed"],
                mode="cubic",
                cubic_coeff_a=-0.5,
                antialias=1,
                exclude_outside=1,
                coordinate_transformation_mode="half_pixel",
            ),
            helper.make_node("Transpose", ["squashed"], ["out"], perm=back),
        ]
        names = {name for node in nodes for name in (*node.input, *node.output)} - {"", INPUT}
        prefix = "upright_" if transposed else "wide_"
        for node in nodes:
            node.input[:] = [prefix + name if name in names else name for name in node.input]
            node.output[:] = [prefix + name for name in node.output]
        output = helper.make_tensor_value_info(f"{prefix}out", TensorProto.UINT8, ["N", 3, side, side])
        return helper.make_graph(nodes, prefix, [], [output])

    nodes = [
        helper.make_node("Shape", [INPUT], ["height"], start=1, end=2),
        helper.make_node("Shape", [INPUT], ["width"], start=2, end=3),
        helper.make_node("Greater", ["height", "width"], ["higher"]),
        helper.make_node("Squeeze", ["higher"], ["is_upright"]),
        helper.make_node("If", ["is_upright"], [RESIZED], then_branch=resized(True), else_branch=resized(False)),
    ]
    before = helper.make_model(
        helper.make_graph(
            nodes,
            "resize",
            [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["N", "H", "W", 3])],
            [helper.make_tensor_value_info(RESIZED, TensorProto.UINT8, ["N", 3, side, side])],
        ),
        opset_imports=core.opset_import,
        ir_version=core.ir_version,
    )
    core = compose.add_prefix(core, "core_", rename_inputs=False, rename_outputs=False)
    return compose.merge_models(before, core, io_map=[(RESIZED, RESIZED)], name="harmoniad")


def save(model: "ModelProto", path: Path, description: Mapping[str, Any]) -> None:
    """Write a graph, with what it is and its thresholds in its metadata: text as it is, all else as JSON."""
    import onnx

    onnx.helper.set_model_props(model, {key: text_of(value) for key, value in description.items()})
    onnx.checker.check_model(model)
    onnx.save(model, path)


def text_of(value: Any) -> str:
    """Text as it is, anything else as JSON: metadata are text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@contextlib.contextmanager
def _fused_attention_off() -> Iterator[None]:
    """Torch's fused path through a transformer's attention is one operation that ONNX lacks."""
    import torch

    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep back what an exporter prints of its progress, and warns of its own deprecated parts."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
