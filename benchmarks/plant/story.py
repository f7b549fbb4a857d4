"""What happens on which day: the month, and the few days of the test."""

from dataclasses import dataclass, field
from itertools import cycle

KILLS = {3: "ingest", 5: "drift", 7: "version", 9: "prepare", 10: "validate", 14: "encode", 16: "train"}
KILLS |= {19: "evaluate", 23: "register", 28: "results"}


@dataclass(frozen=True)
class Batch:
    """Pictures of one category."""

    category: str
    kind: str
    count: int


@dataclass(frozen=True)
class Day:
    """A day in the plant.

    Attributes:
        number: From 1.
        good: How many good parts each known category delivers.
        defects: Reviewed defects.
        corrupt: How many files that are no pictures come.
        duplicate: Whether one picture comes twice.
        half: Whether one file is half written when the retraining starts; it is complete the next day.
        light: Of the lamp, 1 when it is new.
        new_category: A product that is made from this day on.
        shelf: Good parts of it that a person puts among the test images by hand.
        mislabelled: Defective parts that come as good ones.
        kills: The stages that are killed with everything around them.
        full_disk: Whether the disk has hardly any room left.
        no_mlflow: Whether MLflow cannot be reached.
    """

    number: int
    good: int = 6
    defects: tuple[Batch, ...] = ()
    corrupt: int = 0
    duplicate: bool = False
    half: bool = True
    light: float = 1.0
    new_category: tuple[Batch, ...] = ()
    shelf: int = 0
    mislabelled: Batch | None = None
    kills: tuple[str, ...] = ()
    full_disk: bool = False
    no_mlflow: bool = False
    note: str = ""

    @property
    def folder(self) -> str:
        return f"day {self.number:02d}"

    def events(self) -> list[str]:
        """What is special, in a few words each."""
        named = {
            self.note: bool(self.note),
            f"{self.corrupt} corrupt files": self.corrupt > 0,
            "a picture comes twice": self.duplicate,
            "new category " + "".join({batch.category for batch in self.new_category}): bool(self.new_category),
            f"{self.shelf} good test images of it by hand": self.shelf > 0,
            f"kill -9 in {' and '.join(self.kills)}": bool(self.kills),
            "disk full": self.full_disk,
            "MLflow unreachable": self.no_mlflow,
        }
        if self.mislabelled:
            named[f"{self.mislabelled.count} {self.mislabelled.kind} labelled good"] = True
        return [name for name, happens in named.items() if happens]


@dataclass(frozen=True)
class Story:
    """A play.

    Attributes:
        size: Side of a picture in pixels.
        history: What there is before the first day: a category, good parts to train with, good ones to test with, and
            defects of each kind.
        hidden: Kinds of defect that are not there before they come in.
        days: What happens.
        reproduced: On how many days the metrics are made again.
        params: Changes of `params.yaml`.
    """

    size: int
    history: dict[str, tuple[int, int, int]]
    hidden: dict[str, str]
    days: list[Day]
    reproduced: int
    params: dict[str, object] = field(default_factory=dict)


def params_of(size: int, width: int, memory: int, steps: int) -> dict[str, object]:
    """A small detector that trains in seconds."""
    return {
        "data": {"sets": ["plant"]},
        "device": "cpu",
        "encoder": {"resolution": size},
        "views": {"synthetic": 1},
        "detector": {"harmoniad": {"width": width, "heads": 2, "memory_patches": memory, "head_steps": steps}},
        "evaluate": {"heatmaps": 1, "report_images": 12},
        "register": {"heatmap_samples": 3},
        "encode": {"workers": 1},
    }


def month(days: int = 30) -> Story:
    """The thirty days, or the first of them."""
    kinds = cycle(
        [
            ("label", "stain"),
            ("machined_part", "scratch"),
            ("brick", "hole"),
            ("label", "missing_element"),
            ("machined_part", "stain"),
            ("brick", "contamination"),
        ]
    )
    story = []
    for number in range(1, 31):
        defects = [Batch(*next(kinds), 1), Batch(*next(kinds), 1)]
        note = "the first training" if number == 1 else ""
        if number >= 8 and number % 2 == 0:
            defects.append(Batch("label", "scratch", 4 if number == 8 else 1))
        if number == 8:
            note = "new kind of defect: scratches on labels"
        if number == 12:
            note = "the lamp begins to age"
        new = (Batch("gravel", "good", 18), Batch("gravel", "stain", 4), Batch("gravel", "hole", 4))
        story.append(
            Day(
                number,
                defects=tuple(defects),
                good=12 if number == 6 else 6,
                corrupt=2 if number == 6 else 0,  # of 40 files
                duplicate=number == 11,
                light=1 - 0.012 * max(0, number - 11),
                new_category=new if number == 18 else (),
                shelf=8 if number == 18 else 0,
                mislabelled=Batch("label", "stain", 24) if number == 21 else None,
                kills=tuple(filter(None, [KILLS.get(number, "")])),
                full_disk=number == 25,
                no_mlflow=number == 27,
                note=note,
            )
        )
    return Story(
        size=96,
        history={"brick": (24, 8, 3), "label": (24, 8, 3), "machined_part": (24, 8, 3)},
        hidden={"label": "scratch"},
        days=story[:days],
        reproduced=3,
        params=params_of(96, 32, 1000, 40),
    )


def short() -> Story:
    """Two days for the tests, the second with all that can be had in one."""
    new = (Batch("brick", "good", 14), Batch("brick", "hole", 3))
    days = [
        Day(1, good=5, corrupt=2, defects=(Batch("label", "stain", 1),), note="the first training"),
        Day(2, good=0, new_category=new, shelf=4, mislabelled=Batch("label", "stain", 20), kills=("encode",)),
    ]
    return Story(
        size=64,
        history={"label": (14, 6, 2)},
        hidden={},
        days=days,
        reproduced=1,
        params={**params_of(64, 16, 1000, 10), "drift": {"stops": False}},
    )
