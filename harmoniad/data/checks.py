"""What is checked of a data set, as Great Expectations, and the columns that the expectations look at."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harmoniad.data.reference import MEASURES, Version, outside
from harmoniad.params import Validate

if TYPE_CHECKING:
    import pandas as pd
    from great_expectations.expectations import Expectation


@dataclass(frozen=True)
class Check:
    """One expectation of the rows of a table."""

    name: str
    """The key in `validate.severity` of params.yaml."""
    expectation: "Expectation"
    """Its notes say in a sentence what is expected, for the Data Docs and the report."""
    reason: Callable[["pd.Series"], str] = lambda row: ""
    """Says of a row that fails what is wrong with it, where the name of the check does not say it all."""


def image_checks(params: Validate) -> list[Check]:
    """The checks of `image_table`."""
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    return [
        Check(
            "decodable",
            gxe.ExpectColumnValuesToBeNull(column="problem", notes="Every image and mask can be decoded."),
            lambda row: row["problem"],
        ),
        Check(
            "size",
            gxe.ExpectColumnValuesToBeBetween(
                column="shorter_side",
                min_value=params.min_side,
                notes=f"Every image has at least {params.min_side} pixels a side.",
            ),
            lambda row: row["image_size"],
        ),
        Check(
            "size",
            gxe.ExpectColumnValuesToBeBetween(
                column="longer_side",
                max_value=params.max_side,
                notes=f"Every image has at most {params.max_side} pixels a side.",
            ),
            lambda row: row["image_size"],
        ),
        Check(
            "mode",
            gxe.ExpectColumnValuesToBeInSet(
                column="mode", value_set=params.modes, notes="Every image is of a mode that is listed in params.yaml."
            ),
            lambda row: row["mode"],
        ),
        Check(
            "only_good_in_train",
            gxe.ExpectColumnValuesToBeInSet(
                column="training_label", value_set=["good"], notes="There are only good images among the training ones."
            ),
        ),
        Check(
            "duplicates",
            gxe.ExpectColumnValuesToBeNull(
                column="duplicate_of", notes="No test image is also a training image, byte for byte."
            ),
            lambda row: f"same as {row['duplicate_of']}",
        ),
        Check(
            "near_duplicates",
            gxe.ExpectColumnValuesToBeNull(
                column="near_duplicate_of",
                notes="No test image looks like a training image: the perceptual hashes of the two differ in more than "
                f"{params.near_duplicate_distance} bits.",
            ),
            lambda row: f"looks like {row['near_duplicate_of']}",
        ),
        Check(
            "mask_missing",
            gxe.ExpectColumnValuesToNotBeNull(
                column="mask",
                row_condition=Column("label") == "defect",
                notes="Every image of a defect has a mask; without one it counts for the image metrics alone.",
            ),
        ),
        Check(
            "mask_size",
            gxe.ExpectColumnPairValuesToBeEqual(
                column_A="mask_size",
                column_B="image_size",
                ignore_row_if="either_value_is_missing",
                notes="Every mask has the size of its image.",
            ),
            lambda row: f"mask {row['mask_size']}, image {row['image_size']}",
        ),
        Check(
            "mask_empty",
            gxe.ExpectColumnValuesToBeBetween(column="mask_area", min_value=1, notes="Every mask marks something."),
        ),
        Check(
            "mask_binary",
            gxe.ExpectColumnValuesToBeBetween(
                column="mask_values", max_value=2, notes="No mask has more than two grey values."
            ),
            lambda row: f"{row['mask_values']} grey values",
        ),
        *(_drift_check(measure, params.drift_margin) for measure in MEASURES),
    ]


def _drift_check(measure: str, margin: float) -> Check:
    import great_expectations.expectations as gxe

    expectation = gxe.ExpectColumnValuesToBeBetween(
        column=f"{measure}_outside",
        max_value=0,
        notes=f"The {measure} of no good image leaves the range of its category in the previous version of the data by "
        f"more than {margin} of the range.",
    )
    return Check(
        measure, expectation, lambda row: f"{row[measure]:.1f}, out of bounds by {row[f'{measure}_outside']:.1f}"
    )


def category_checks(params: Validate) -> list[Check]:
    """The checks of `category_table`."""
    import great_expectations.expectations as gxe

    least = params.min_train_images
    return [
        Check(
            "min_train_images",
            gxe.ExpectColumnValuesToBeBetween(
                column="train_images",
                min_value=least,
                notes=f"Every category has at least {least} good training images, held-out ones included.",
            ),
            lambda row: f"{row['train_images']} good training images, but {least} are needed",
        )
    ]


def image_table(
    manifest: "pd.DataFrame", near: "pd.DataFrame", before: Version | None, params: Validate
) -> "pd.DataFrame":
    """The manifest with the columns that `image_checks` look at; a value that does not apply is missing.

    Args:
        manifest: See `harmoniad.data.manifest`.
        near: See `near_duplicates`.
        before: The version of the data that brightness and sharpness are compared with.
        params: The section `validate` of params.yaml.
    """
    decoded, masked = manifest["width"] > 0, manifest["mask_width"] > 0
    in_training = manifest["split"] != "test"
    sides = manifest[["width", "height"]]
    training_paths = manifest[in_training].drop_duplicates("sha256").set_index("sha256")["path"]
    likeness = near["nearest"] + ", " + near["distance"].astype(str) + " bits apart"
    drift = {f"{measure}_outside": outside(manifest, measure, before, params.drift_margin) for measure in MEASURES}
    return manifest.assign(
        problem=manifest["problem"].where(manifest["problem"] != ""),
        mask=manifest["mask"].where(manifest["mask"] != ""),
        mode=manifest["mode"].where(decoded),
        shorter_side=sides.min(axis=1).astype("Int64").where(decoded),
        longer_side=sides.max(axis=1).astype("Int64").where(decoded),
        image_size=_size(manifest["width"], manifest["height"]).where(decoded),
        mask_size=_size(manifest["mask_width"], manifest["mask_height"]).where(masked),
        mask_area=manifest["mask_area"].astype("Int64").where(masked),
        mask_values=manifest["mask_values"].astype("Int64").where(masked),
        training_label=manifest["label"].where(in_training),
        duplicate_of=manifest["sha256"].map(training_paths).where(~in_training),
        near_duplicate_of=manifest["path"].map(likeness.set_axis(near["path"])),
        **drift,
    )


def category_table(manifest: "pd.DataFrame") -> "pd.DataFrame":
    """One row a category: `path` (its folder), `category` and `train_images`."""
    # data/<set>/<category>, which is its folder in most layouts
    folders = manifest["path"].str.split("/").str[:2].str.join("/") + "/" + manifest["category"]
    training = (manifest["label"] == "good") & (manifest["split"] != "test")
    rows = manifest.assign(path=folders, train_images=training.astype("int64")).groupby("category")
    return rows.agg({"path": "first", "train_images": "sum"}).reset_index()


def _size(width: "pd.Series", height: "pd.Series") -> "pd.Series":
    return width.astype(str) + "×" + height.astype(str)
