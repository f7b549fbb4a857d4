"""The sample factory: a deterministic data set of synthetic defects on real materials and rendered products.

It lets everything run offline and without a licence that forbids commercial use: real photographs (CC0) and rendered
products, seen by a simulated camera, with exact masks, in the layout of MVTec AD.
"""

from harmoniad.data.sample.factory import CATEGORIES, generate

__all__ = ["CATEGORIES", "generate"]
