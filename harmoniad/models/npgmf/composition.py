"""What a normal image is made of: which codes, how much of each, and where.

An image is soft-assigned to codes, patch by patch, and the shares of the codes are counted in regions: a part that is
missing, too many, too long or in the wrong place changes a count, though each of its patches is normal. A Gaussian of
the counts of each category tells how unusual they are, and which patches make them so.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from harmoniad.models.npgmf.codebook import Codebook, principal_components
from harmoniad.models.npgmf.levels import Seen

BOOKS, CODES, CHANNELS = 3, 256, 64  # several books, since where a single one draws its borders is chance
SHARPNESS = 4.0  # of the soft assignment, over the mean squared distance to the nearest code
FITTING_STEPS, FITTING_TOKENS, FITTING_DECAY = 60, 4096, 0.8
DRAWN_TOKENS = 30_000
REGIONS = 8
PLACE_WEIGHT = 0.5  # of the distance of two places in the image, beside how unlike their contents are
SHRINKAGE = 0.01  # of the mean variance, that each direction has at least
MOST_IMAGES = 400  # a category
FEWEST_IMAGES = 4  # of a category, below which its compositions say nothing
FOLDS = 4


class Gaussian:
    """Of the counts of one category. Few images in many dimensions: variance is measured where they differ at all.

    Args:
        mean: (F,).
        basis: (F, r), the directions in which the images differ.
        gain: (r,), 1 / (variance + floor) - 1 / floor along each of them.
        floor: (), the variance along all others.
    """

    def __init__(self, mean: Tensor, basis: Tensor, gain: Tensor, floor: Tensor) -> None:
        self.mean, self.basis, self.gain, self.floor = mean, basis, gain, floor

    @classmethod
    def fit(cls, counts: Tensor) -> "Gaussian":
        """From (n, F), n at least 2."""
        mean = counts.mean(0)
        centred = (counts - mean).double()
        values, vectors = torch.linalg.eigh(centred @ centred.T)  # n x n instead of F x F
        kept = values > 1e-9 * values[-1].clamp(min=1e-300)
        values, vectors = values[kept], vectors[:, kept]
        basis = centred.T @ (vectors / values.sqrt())
        variance = values / (len(counts) - 1)
        floor = (SHRINKAGE * variance.sum() / (len(counts) - 1)).clamp(min=1e-12)
        return cls(mean, basis.float(), (1 / (variance + floor) - 1 / floor).float(), floor.float())

    def gradient(self, counts: Tensor) -> Tensor:
        """The inverse covariance times the deviation from the mean: (B, F) to (B, F)."""
        deviation = counts - self.mean
        return deviation / self.floor + (deviation @ self.basis * self.gain) @ self.basis.T

    def distance(self, counts: Tensor) -> Tensor:
        """Mahalanobis distance: (B, F) to (B,)."""
        return ((counts - self.mean) * self.gradient(counts)).sum(1).clamp(min=0).sqrt()


class Composition:
    """The compositions of normal images of some categories.

    Args:
        tensors: What `state` gives.
    """

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors
        self.side = int(tensors["usual"].shape[2] ** 0.5)

    @classmethod
    def fit(
        cls, seen: Seen, owners: Sequence[int], category: Tensor, categories: int, depth: int
    ) -> tuple["Composition", Tensor]:
        """Learn codes, regions and Gaussians.

        Args:
            seen: Good images.
            owners: Number of the image of each view.
            category: (n,), the number of each view's category.
            categories: How many there are.
            depth: How many of the deepest levels are looked at.

        Returns:
            The compositions, and (n,) how unusual that of each image is by the Gaussian of others, NaN if unknown.
        """
        chosen = _at_most(category, MOST_IMAGES)
        tensors = _codes(seen, chosen, depth)
        sharpness, books = tensors["sharpness"], tensors["codes"]
        side = seen.batch(chosen[:1])[:-1][-depth:][0].shape[-1]
        tensors["usual"] = books.new_zeros(categories, BOOKS, side**2, CODES)
        tensors["regions"] = books.new_zeros(categories, side**2, REGIONS)
        for number in range(categories):
            members = [index for index in chosen if category[index] == number]
            for index in members:
                tokens = _tokens(seen.batch([index])[:-1], tensors)
                tensors["usual"][number] += _assigned(tokens, books, sharpness)[0] / len(members)
            tensors["regions"][number] = find_regions(tensors["usual"][number], side)
        counts = {index: _counts(seen.batch([index])[:-1], category[[index]], tensors)[0] for index in chosen}
        strangeness = torch.full((len(seen),), torch.nan, device=books.device)
        gaussians: list[Gaussian | None] = []
        for number in range(categories):
            members = [index for index in chosen if category[index] == number]
            images = sorted({owners[index] for index in members})
            if len(images) < FEWEST_IMAGES:
                gaussians.append(None)
                continue
            for fold in range(FOLDS):
                out = set(images[fold::FOLDS])
                others = Gaussian.fit(torch.stack([counts[index] for index in members if owners[index] not in out]))
                held = [index for index in members if owners[index] in out]
                strangeness[held] = others.distance(torch.stack([counts[index] for index in held]))
            gaussians.append(Gaussian.fit(torch.stack([counts[index] for index in members])))
        tensors |= {
            f"{number}.{name}": tensor
            for number, gaussian in enumerate(gaussians)
            if gaussian is not None
            for name, tensor in vars(gaussian).items()
        }
        return cls(tensors), strangeness

    @torch.no_grad()
    def __call__(self, levels: Sequence[Tensor], category: Tensor) -> tuple[Tensor, Tensor]:
        """How unusual the compositions of images are, and where.

        Args:
            levels: (B, D, h, w) for each level.
            category: (B,), the number of each image's category.

        Returns:
            The distances (B,), NaN where the category had too few images, and maps (B, side, side) from 0 to 1: how
            much each place has to do with it.
        """
        books, sharpness = self._tensors["codes"], self._tensors["sharpness"]
        distances = torch.full((len(category),), torch.nan, device=books.device)
        maps = torch.zeros(len(category), self.side, self.side, device=books.device)
        for index, number in enumerate(category.tolist()):
            if f"{number}.mean" not in self._tensors:
                continue
            gaussian = Gaussian(*(self._tensors[f"{number}.{name}"] for name in ("mean", "basis", "gain", "floor")))
            tokens = _tokens([level[[index]] for level in levels], self._tensors)
            assigned = _assigned(tokens, books, sharpness)[0]
            regions = self._tensors["regions"][number]
            counts = _counted(assigned, regions)
            distances[index] = gaussian.distance(counts[None])[0]
            maps[index] = self._blame(assigned, regions, number, gaussian.gradient(counts[None])[0])
        return distances, maps

    def _blame(self, assigned: Tensor, regions: Tensor, number: int, gradient: Tensor) -> Tensor:
        """How much each place adds to the squared distance by what it is instead of what is usual there: (side, side).

        Summed over all places it is the squared distance itself, up to a factor.
        """
        by_region = gradient.unflatten(0, (BOOKS, REGIONS + 1, CODES))
        pull = regions @ by_region[:, :REGIONS] + by_region[:, REGIONS:]
        share = ((assigned - self._tensors["usual"][number]) * pull).sum((0, 2)).view(1, self.side, self.side)
        smooth = F.avg_pool2d(share, 3, stride=1, padding=1, count_include_pad=False)[0].clamp(min=0)
        highest = smooth.flatten().topk(max(1, smooth.numel() // 100)).values.mean()
        return (smooth / highest.clamp(min=1e-12)).clamp(max=1)

    def to(self, device: torch.device) -> "Composition":
        """On another device."""
        return Composition({name: tensor.to(device) for name, tensor in self._tensors.items()})

    def state(self) -> dict[str, Tensor]:
        """What the constructor needs."""
        return {name: tensor.contiguous() for name, tensor in self._tensors.items()}


def context(levels: Sequence[Tensor]) -> Tensor:
    """Levels of equal weight side by side on the finest grid, each place with its 3 x 3 neighbours: (B, D, h, w)."""
    size = levels[0].shape[-2:]
    scaled = [level / level.shape[1] ** 0.5 for level in levels]
    resized = [F.interpolate(level, size=size, mode="bilinear", align_corners=False) for level in scaled]
    return F.avg_pool2d(torch.cat(resized, dim=1), 3, stride=1, padding=1, count_include_pad=False)


def find_regions(usual: Tensor, side: int) -> Tensor:
    """Group the places of a category by what is usually there and where they lie (k-means).

    Args:
        usual: (books, places, codes), the mean assignment.
        side: Of the grid of places.

    Returns:
        (places, REGIONS) of 0 and 1, one 1 a place.
    """
    axis = torch.linspace(-1, 1, side, device=usual.device)
    places = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), dim=-1).flatten(0, 1)
    points = torch.cat([usual[0].sqrt(), PLACE_WEIGHT * places], dim=1)
    centres = points[torch.linspace(0, len(points) - 1, REGIONS).long()]
    for _ in range(20):
        belongs = F.one_hot(torch.cdist(points, centres).argmin(1), REGIONS).float()
        centres = torch.where(belongs.sum(0)[:, None] > 0, belongs.T @ points / belongs.sum(0)[:, None], centres)
    return F.one_hot(torch.cdist(points, centres).argmin(1), REGIONS).float()


@torch.no_grad()
def _codes(seen: Seen, chosen: Sequence[int], depth: int) -> dict[str, Tensor]:
    """The projection of tokens, the books and their sharpness, from tokens drawn from some images."""
    each = max(1, DRAWN_TOKENS // len(chosen))
    drawn = []
    for index in chosen:
        tokens = context(seen.batch([index])[:-1][-depth:])[0].flatten(1).T
        drawn.append(tokens[torch.randperm(len(tokens))[:each].to(tokens.device)])
    tokens = torch.cat(drawn)
    mean, components, _ = principal_components(tokens, min(CHANNELS, *tokens.shape))
    projected = (tokens - mean) @ components
    books, sharpness = [], []
    for _ in range(BOOKS):
        book = Codebook(CODES, projected.shape[1], FITTING_DECAY).to(tokens.device).train()
        book.start(projected)
        for _ in range(FITTING_STEPS):
            book(projected[torch.randperm(len(projected))[:FITTING_TOKENS].to(tokens.device)][None])
        distance = (projected - book.codes[book.nearest(projected)]).square().sum(1).mean()
        books.append(book.codes)
        sharpness.append(SHARPNESS / distance.clamp(min=1e-12))
    return {
        "depth": torch.tensor(depth),
        "shift": mean,
        "components": components,
        "codes": torch.stack(books),
        "sharpness": torch.stack(sharpness),
    }


def _tokens(levels: Sequence[Tensor], tensors: dict[str, Tensor]) -> Tensor:
    """Levels (B, D, h, w) to tokens (B, places, C)."""
    own = levels[-int(tensors["depth"]) :]
    return (context(own).flatten(2).transpose(1, 2) - tensors["shift"]) @ tensors["components"]


def _assigned(tokens: Tensor, books: Tensor, sharpness: Tensor) -> Tensor:
    """Share of each code of each book in tokens (B, places, C): (B, books, places, codes)."""
    squares = books.square().sum(2)[:, None] - 2 * tokens[:, None] @ books.transpose(1, 2)
    return (-sharpness[:, None, None] * squares).softmax(-1)


def _counted(assigned: Tensor, regions: Tensor) -> Tensor:
    """Counts of the codes (books, places, codes) in each region and in all, as shares of the image: (F,)."""
    counts = regions.T @ assigned / assigned.shape[1]
    return torch.cat([counts, counts.sum(1, keepdim=True)], dim=1).flatten()


@torch.no_grad()
def _counts(levels: Sequence[Tensor], category: Tensor, tensors: dict[str, Tensor]) -> Tensor:
    """The counts (B, F) of images."""
    assigned = _assigned(_tokens(levels, tensors), tensors["codes"], tensors["sharpness"])
    pairs = zip(assigned, category.tolist(), strict=True)
    return torch.stack([_counted(image, tensors["regions"][number]) for image, number in pairs])


def _at_most(category: Tensor, count: int) -> list[int]:
    """At most `count` entries of each category, evenly spread."""
    chosen: list[int] = []
    for number in category.unique().tolist():
        members = (category == number).nonzero()[:, 0]
        chosen += members[:: -(-len(members) // count)].tolist()
    return sorted(chosen)
