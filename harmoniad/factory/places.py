"""Where new images belong in a data set of each layout."""

from dataclasses import dataclass
from pathlib import Path

from harmoniad.data.layouts import layout_named
from harmoniad.data.layouts.folder import TRAIN_ONLY
from harmoniad.data.layouts.record import Split
from harmoniad.data.sets import DATA_DIR, DATA_SET_FILE, INBOX, QUARANTINE, SAMPLE, layout_name_of
from harmoniad.data.splits import place_of
from harmoniad.errors import HarmoniadError
from harmoniad.factory.inbox import Delivery
from harmoniad.files import write_json
from harmoniad.params import Params
from harmoniad.stages.prepare import HELD_OUT_DIGITS

NEW_SET_LAYOUT = "folder"
_DIGITS_OF_HASH = 16
_LONGEST_STEM = 120  # bytes; the name of a file may have 255


@dataclass(frozen=True)
class _Folders:
    """Folders of a category; `{kind}` stands for the kind of defect."""

    train: str
    defect: str
    masks: str


_MVTEC = _Folders("train/good", "test/{kind}", "ground_truth/{kind}")
_LAYOUTS = {
    "mvtec": _MVTEC,
    "mvtec_loco": _MVTEC,
    "mvtec_ad_2": _Folders("train/good", "test_public/{kind}", "test_public/ground_truth/{kind}"),
    "btad": _Folders("train/ok", "test/{kind}", "ground_truth/{kind}"),
    "visa": _Folders("Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly"),
    "folder": _Folders(TRAIN_ONLY, "{kind}", "masks/{kind}"),
    "manifest": _Folders("good", "{kind}", "masks/{kind}"),
}


@dataclass(frozen=True)
class Place:
    """Where an image and its masks go."""

    image: Path
    masks: tuple[Path, ...]
    split: Split
    """`held_out` also where it is `prepare` that will hold it out by its hash."""
    listed_split: Split
    """What a list of the set's images says of it."""


class Target:
    """A data set that takes new images.

    Args:
        name: The name of the data set.
        params: Which sets there are, and how many good images are held out.

    Raises:
        HarmoniadError: There is no such set, or it takes no images; the message says what to do.
    """

    def __init__(self, name: str, params: Params) -> None:
        self.name, self.root, self._held_out = name, DATA_DIR / name, params.prepare.held_out
        if name in (INBOX, QUARANTINE):
            raise HarmoniadError(f"`{name}` cannot be the name of a data set.")
        if name == SAMPLE:
            raise HarmoniadError(f"{self.root.as_posix()}: is made by the pipeline and takes no images.")
        if not self.root.is_dir() and not self.root.with_name(f"{name}.dvc").is_file() and name in params.data.sets:
            self.layout = NEW_SET_LAYOUT  # it is made with its first image
        else:
            self.layout = layout_name_of(self.root)
        if self.layout not in _LAYOUTS:
            raise HarmoniadError(
                f"{self.root.as_posix()}: its images are listed in files of the layout {self.layout}, to which nothing "
                "can be added. Export a manifest and add the set anew with it."
            )
        self._folders = _LAYOUTS[self.layout]
        self.records = list(layout_named(self.layout).read(self.root)) if self.root.is_dir() else []
        # Where a category brings held-out images of its own, `prepare` takes none out of the training images.
        self._held_out_folders = {
            record.category: record.path.parent for record in self.records if record.split == "held_out"
        }

    @property
    def categories(self) -> set[str]:
        """The categories that the set has already."""
        return {record.category for record in self.records}

    def create(self) -> None:
        """Make the set if this is its first image."""
        if not self.root.is_dir():
            write_json(self.root / DATA_SET_FILE, {"layout": NEW_SET_LAYOUT})

    def place(self, delivery: Delivery, sha256: str) -> Place:
        """Where a delivery goes: the same place whenever it is asked.

        Args:
            delivery: What came.
            sha256: Of the image, which is part of its new name.
        """
        category = self.root / delivery.category
        name = new_name(delivery.image, sha256)
        if delivery.label == "good":
            held_out = place_of(sha256, HELD_OUT_DIGITS) < self._held_out
            folder = category / self._folders.train
            if held_out and delivery.category in self._held_out_folders:
                return Place(self._held_out_folders[delivery.category] / name, (), "held_out", "held_out")
            return Place(folder / name, (), "held_out" if held_out else "train", "train")
        folder = category / self._folders.defect.format(kind=delivery.defect)
        masks = self.mask_places(delivery.category, delivery.defect, Path(name).stem, delivery.masks)
        return Place(folder / name, masks, "test", "test")

    def mask_places(self, category: str, kind: str, stem: str, masks: tuple[Path, ...]) -> tuple[Path, ...]:
        """Where the masks of the image with the stem `stem` go."""
        folder = self.root / category / self._folders.masks.format(kind=kind)
        several = len(masks) > 1
        names = [
            f"{stem}.json"
            if mask.suffix.lower() == ".json"
            else f"{stem}_mask{f'_{number}' if several else ''}{mask.suffix.lower()}"
            for number, mask in enumerate(masks, 1)
        ]
        return tuple(folder / name for name in names)


def new_name(path: Path, sha256: str) -> str:
    """The name of a file with the start of its content's hash: different images never share a name."""
    stem = path.stem.encode(errors="replace")[:_LONGEST_STEM].decode(errors="ignore")
    return f"{stem}-{sha256[:_DIGITS_OF_HASH]}{path.suffix.lower()}"
