"""The logical sample: a deterministic data set whose defects break a rule, each part of them being fine.

An assembly kit in a tray and a printed board, rendered, in the layout of MVTec LOCO AD: parts that are missing, too
many, in the wrong place, of the wrong length or of colours that do not go together; and, beside these, plain damage.
"""

from harmoniad.data.logical_sample.factory import CATEGORIES, generate

__all__ = ["CATEGORIES", "generate"]
