"""Synthetic defects on images of good parts, to teach a model what a defect looks like.

They know nothing of the product and are made of noise and of the image itself: shapes from thresholded Perlin noise
(DRAEM, Zavrtanik et al., ICCV 2021), bent lines, dots and polygons; fills from other places of the image (CutPaste,
Li et al., CVPR 2021), from its blocks shuffled, blurred or shaded, and from textures. The defects of the sample
factory, which serve as a test set, are other ones on purpose: there, damage is modelled in the light of one lamp, with
lips, branches and cast shadows, in colours chosen for the material. Neither package uses the other.
"""

from harmoniad.data.synthetic.defect import VISIBLE, add_defect

__all__ = ["VISIBLE", "add_defect"]
