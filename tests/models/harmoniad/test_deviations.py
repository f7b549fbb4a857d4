import pytest
import torch

from harmoniad.models.harmoniad.deviations import Deviations
from harmoniad.models.harmoniad.entries import choose
from harmoniad.models.harmoniad.feature_defects import with_feature_defects
from harmoniad.models.harmoniad.memory import NormalMemory, tokens_of
from tests.models.features import PatternFeatures, SyntheticFeatures

CPU = torch.device("cpu")
GRID = 8
FEATURES, MADE = PatternFeatures(8), SyntheticFeatures(8)
OWNERS = [0, 0, 1, 1, 2, 2, 3, 3]  # two views of each image
MADE_OWNERS = [3, 3, 2, 2, 1, 1, 0, 0]


class SmallDefects(SyntheticFeatures):
    """One cell of the mask, a quarter of a token, is defective."""

    def masks(self, indices: list[int]) -> torch.Tensor:
        masks = torch.zeros(len(indices), self.grid, self.grid)
        masks[:, 5, 8] = 1
        return masks


@pytest.fixture(scope="module")
def memory() -> NormalMemory:
    numbers = ["ab".index(name) for name in FEATURES.categories]
    return NormalMemory.build(
        FEATURES,
        lambda layers: tokens_of(layers, GRID, "layer"),
        OWNERS,
        numbers,
        size=300,
        channels=10,
        seed=0,
        device=CPU,
    )


def deviations_of(
    memory: NormalMemory, good: list[int], made: list[int], source: SyntheticFeatures = MADE
) -> Deviations:
    return Deviations(FEATURES, source, (good, made), (OWNERS, MADE_OWNERS), memory, grid=GRID, norm="layer")


def tokens(memory: NormalMemory, is_made: bool, index: int) -> torch.Tensor:
    source = MADE if is_made else FEATURES
    return memory.project(tokens_of(source.batch([index]), GRID, "layer")[0])


def slow_deviation(memory: NormalMemory, tokens: torch.Tensor, owner: int) -> torch.Tensor:
    others = memory.tokens[memory.owners != owner]
    distances = (tokens[:, None] - others[None]).norm(dim=2)
    return (tokens - others[distances.argmin(1)]).T.view(-1, GRID, GRID)


def test_an_image_is_compared_with_the_others_only(memory: NormalMemory) -> None:
    good, made = [1, 2, 7], [0, 5]
    deviations = deviations_of(memory, good, made)
    assert len(deviations) == 5
    assert deviations.good_count == 3
    found, shares = deviations.batch(range(5))
    for position, (is_made, index) in enumerate([*((False, i) for i in good), *((True, i) for i in made)]):
        owner = MADE_OWNERS[index] if is_made else OWNERS[index]
        expected = slow_deviation(memory, tokens(memory, is_made, index), owner)
        torch.testing.assert_close(found[position], expected)
        torch.testing.assert_close(deviations.batch([position])[0][0], found[position])
        if not is_made:  # its own tokens, some of which are remembered, would be nearer
            own = tokens(memory, is_made, index)
            nearest = memory.tokens[memory.nearest(own)]
            assert found[position].norm(dim=0).min() > 0.05 > (own - nearest).norm(dim=1).min()
    assert shares[:3].max() == 0


def test_shapes_and_size_of_the_table(memory: NormalMemory) -> None:
    deviations = deviations_of(memory, [0, 1, 2], [3, 4])
    assert deviations.shapes == ((10, GRID, GRID), (1, GRID, GRID))
    deviation, shares = deviations.batch([4, 0])
    assert deviation.shape == (2, 10, GRID, GRID)
    assert shares.shape == (2, GRID, GRID)
    assert deviations._nearest.dtype == torch.int32  # 4 bytes a token, and no token itself
    assert deviations._nearest.shape == (5, GRID**2)


def test_masks_are_pooled_to_the_grid(memory: NormalMemory) -> None:
    _, shares = deviations_of(memory, [0], [1, 2]).batch([0, 1, 2])
    expected = torch.zeros(GRID, GRID)
    expected[:2, :2] = 1
    assert torch.equal(shares[0], torch.zeros(GRID, GRID))
    assert torch.equal(shares[1], expected)
    _, shares = deviations_of(memory, [0], [1], SmallDefects(8)).batch([1])
    expected = torch.zeros(GRID, GRID)
    expected[2, 4] = 0.25
    assert torch.equal(shares[0], expected)


def test_defects_in_the_features_are_made_in_good_ones_when_they_are_wanted(memory: NormalMemory) -> None:
    deviations = deviations_of(memory, list(range(8)), list(range(8)))
    plain, no_shares = deviations.batch(range(16))
    assert no_shares[:8].max() == 0
    deviations.feature_defects = 0.5
    hits = 0
    for seed in range(6):
        torch.manual_seed(seed)
        changed, shares = deviations.batch(range(16))
        assert torch.equal(changed[8:], plain[8:])
        assert torch.equal(shares[8:], no_shares[8:])
        same = (changed[:8] == plain[:8]).all(1)
        assert same[shares[:8] == 0].all()
        assert set(shares[:8].unique().tolist()) <= {0.0, 1.0}
        hits += int(shares[:8].flatten(1).any(1).sum())
    assert 12 < hits < 36  # half of 48
    deviations.feature_defects = None
    assert torch.equal(deviations.batch(range(16))[0], plain)


def test_a_changed_token_is_compared_anew_and_with_other_images_only(memory: NormalMemory) -> None:
    deviations = deviations_of(memory, [2], [])
    deviations.feature_defects = 0.5
    hits = 0
    for seed in range(10):
        torch.manual_seed(seed)
        found, shares = deviations.batch([0])
        torch.manual_seed(seed)
        if torch.rand(()) >= 0.5:
            assert shares.max() == 0
            continue
        changed, hit = with_feature_defects(tokens(memory, False, 2), GRID, 0.5)
        assert torch.equal(shares[0].flatten() > 0, hit)
        torch.testing.assert_close(found[0], slow_deviation(memory, changed, OWNERS[2]))
        hits += 1
    assert hits >= 2


def test_a_subset_is_some_of_the_entries(memory: NormalMemory) -> None:
    deviations = deviations_of(memory, [0, 1, 2, 3], [0, 1])
    subset = deviations.subset([1, 3, 5])
    assert len(subset) == len(subset.categories) == len(subset.images) == 3
    assert subset.shapes == deviations.shapes
    for part, expected in zip(subset.batch([2, 0]), deviations.batch([5, 1]), strict=True):
        assert torch.equal(part, expected)


def test_without_copies_there_are_good_ones_only(memory: NormalMemory) -> None:
    deviations = Deviations(FEATURES, None, ([0, 4], []), (OWNERS, []), memory, grid=GRID, norm="layer")
    assert len(deviations) == deviations.good_count == 2
    assert deviations.batch([0, 1])[1].max() == 0


def test_at_most_so_many_are_chosen() -> None:
    assert choose(5, 5, 0) == [0, 1, 2, 3, 4]
    chosen = choose(100, 30, 0)
    assert len(set(chosen)) == 30
    assert chosen == sorted(chosen) == choose(100, 30, 0) != choose(100, 30, 1)
    assert 0 <= min(chosen) <= max(chosen) < 100


def test_the_tokens_of_an_entry_come_with_its_image(memory: NormalMemory) -> None:
    deviations = deviations_of(memory, [1, 2, 7], [0, 5])
    for position, (is_made, index, owner) in enumerate([(False, 1, 0), (False, 2, 1), (False, 7, 3), (True, 0, 3)]):
        found, image = deviations.tokens(position)
        assert torch.equal(found[0], tokens(memory, is_made, index))
        assert image == owner
