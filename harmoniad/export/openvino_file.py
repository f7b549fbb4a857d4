"""The OpenVINO files, from the ONNX graph: `model.xml` and `model.bin`, in float32."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmoniad.errors import HarmoniadError
from harmoniad.export.onnx_file import INPUT

if TYPE_CHECKING:
    from openvino import Output


def openvino() -> Any:
    """The module, imported without its telemetry, which would report the import.

    Raises:
        HarmoniadError: It is not installed.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # not importable: a stub takes its place
    try:
        import openvino
    except ImportError as error:
        raise HarmoniadError('the runtime openvino is not installed. Run `pip install -e ".[export]"`.') from error
    return openvino


def convert(core: Path, out: Path, side: int, description: Mapping[str, Any]) -> None:
    """Write `out` (.xml) and its weights (.bin) from the ONNX graph of resized images.

    The resize is OpenVINO's own, as it leaves the antialiasing of ONNX's out without a word.
    """
    ov = openvino()
    model = ov.Core().read_model(core)  # what `openvino.convert_model` does with an ONNX file
    images = ov.opset13.parameter([-1, -1, -1, 3], ov.Type.u8, name=INPUT)
    images.output(0).set_names({INPUT})
    model.get_parameters()[0].output(0).replace(_resize(images, side))
    _keep_half_precision(model)
    model = ov.Model(model.get_results(), [images], "harmoniad")
    for key, value in description.items():
        model.set_rt_info(value, ["harmoniad", key])
    ov.save_model(model, out, compress_to_fp16=False)


def _keep_half_precision(model: Any) -> None:
    """Write the rounding of the features to half precision as sums: the CPU plugin leaves the conversion out.

    With c = 8193 x, c - (c - x) has the 11 bits of half precision (Dekker, Numerische Mathematik 1971).
    """
    ov = openvino()
    ops = ov.opset13
    for node in model.get_ordered_ops():
        if node.get_type_name() == "Convert" and node.get_output_element_type(0) == ov.Type.f16:
            exact = node.input_value(0)
            large = ops.multiply(exact, ops.constant(8193.0, ov.Type.f32))
            rounded = ops.subtract(large, ops.subtract(large, exact)).output(0)
            for back in [target.get_node() for target in node.output(0).get_target_inputs()]:
                back.output(0).replace(rounded)


def _resize(images: Any, side: int) -> "Output":
    """Images (N, H, W, 3) to (N, 3, side, side), see `onnx_file.with_resize`.

    Without an `If`: where the batch changes, the CPU plugin of 2026.4 reads the output of one from where it lay before.
    """
    ov = openvino()
    ops = ov.opset13
    shape = ops.shape_of(images)
    height, width = (ops.gather(shape, ops.constant(axis), ops.constant(0)) for axis in (1, 2))
    is_upright = ops.greater(height, width)
    there = ops.select(is_upright, ops.constant([0, 3, 2, 1]), ops.constant([0, 3, 1, 2]))
    back = ops.select(is_upright, ops.constant([0, 1, 3, 2]), ops.constant([0, 1, 2, 3]))
    squashed = ops.interpolate(
        ops.transpose(images, there), [side, side], "bicubic_pillow", "sizes", cube_coeff=-0.5, axes=[2, 3]
    )
    return ops.reshape(ops.transpose(squashed, back), ops.constant([-1, 3, side, side]), False).output(0)
