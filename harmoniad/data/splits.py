"""Splits by the hash of an image, so that images that are added never move an old one to the other side."""

from collections.abc import Iterable


def share_by_hash(hashes: Iterable[str], share: float, digits: slice) -> set[str]:
    """Which images a split takes out of a category.

    An image is taken if its hash, read as a number from 0 to 1, is below `share`: that depends on no other image.
    Only in a category that would get nothing or everything that way, and that has at least two images, one image gives
    way: the one with the smallest hash is taken, or the one with the largest stays. When the category grows, this one
    image may go back to the side where its hash belongs; no other ever moves. A single image is never taken.

    Args:
        hashes: SHA-256 in hexadecimal; the same image may come more than once.
        share: From 0 to 1.
        digits: Which digits of the hash count. Two splits of the same images must use different ones.

    Returns:
        The hashes that are taken.
    """
    place = {image: place_of(image, digits) for image in set(hashes)}
    if len(place) < 2:
        return set()
    ordered = sorted(place, key=lambda image: (place[image], image))
    taken = {image for image in ordered[:-1] if place[image] < share}
    return taken or {ordered[0]}


def place_of(image: str, digits: slice) -> float:
    """The hash of an image, read as a number from 0 to 1."""
    return int(image[digits], 16) / 16 ** len(image[digits])
