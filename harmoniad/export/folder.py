"""What an export's folder holds: the graph, and `export.json`, which says what it is and lists the files' hashes."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from harmoniad.errors import HarmoniadError
from harmoniad.files import read_json, sha256_file, write_json

Runtime = Literal["onnx", "openvino"]
EngineName = Literal["torch", "onnx", "openvino"]

DESCRIPTION = "export.json"
GRAPH_FILES: dict[str, list[str]] = {"onnx": ["model.onnx"], "openvino": ["model.xml", "model.bin"]}
FORMAT = 1


@dataclass(frozen=True)
class Exported:
    """What is known of an exported graph.

    Attributes:
        runtime: What runs it.
        precision: `float32`, or `int8` where the encoder was quantised.
        model: Detector, encoder, categories, tiling and the like, see `describe`.
        threshold: As `Threshold.to_dict` gives it.
        input_size: Side in pixels of the images that the encoder sees.
        images_at_once: More would take too much memory in the search of the detector's memory.
        parity: How far its answers lie from torch's.
        accuracy: Before and after the quantisation, on the test images.
        files: SHA-256 of each file of the graph.
    """

    runtime: Runtime
    precision: str
    model: dict[str, Any]
    threshold: dict[str, Any]
    input_size: int
    images_at_once: int
    parity: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write `export.json` beside the graph."""
        files = {name: sha256_file(folder / name) for name in GRAPH_FILES[self.runtime]}
        write_json(folder / DESCRIPTION, {"format": FORMAT, **asdict(self), "files": files})

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder's description, and check its files.

        Raises:
            HarmoniadError: It is no export, one of another version, or a file is missing or was changed.
        """
        content = read_json(folder / DESCRIPTION)
        if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
            raise HarmoniadError(f"{folder}: an export of another version of harmoniad. Export the model again.")
        try:
            found = cls(**content)
            names = GRAPH_FILES[found.runtime]
        except (TypeError, KeyError) as error:
            raise HarmoniadError(f"{folder / DESCRIPTION}: damaged. Export the model again.") from error
        for name in names:
            path = folder / name
            if not path.is_file() or sha256_file(path) != found.files.get(name):
                raise HarmoniadError(f"{path}: missing or changed since it was exported. Export the model again.")
        return found


def is_export(folder: Path) -> bool:
    """Whether a folder holds an exported model."""
    return (folder / DESCRIPTION).is_file()
