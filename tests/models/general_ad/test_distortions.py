import pytest
import torch

from harmoniad.models.general_ad.design import Distortion
from harmoniad.models.general_ad.distortions import distort, salience_of

COUNT = 40


def tokens(batch: int = 6) -> torch.Tensor:
    return torch.randn(batch, COUNT, 5, generator=torch.Generator().manual_seed(0))


def distorted(kind: Distortion, noise: float = 0.25, most_moved: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return distort(tokens(), salience_of(tokens()), [kind], noise=noise, most_moved=most_moved)


@pytest.mark.parametrize("kind", ["noise", "shuffle", "copy"])
def test_what_is_changed_is_what_is_told(kind: Distortion) -> None:
    before = tokens()
    after, hit = distorted(kind)
    assert torch.equal((after != before).any(2), hit)
    assert hit.any(1).all()
    assert torch.equal(before, tokens())  # the tokens themselves are left alone
    again, same = distorted(kind)
    assert torch.equal(after, again)
    assert torch.equal(hit, same)


def test_the_noise_has_the_wanted_strength() -> None:
    after, hit = distorted("noise", noise=0.25)
    assert (after - tokens())[hit].std().item() == pytest.approx(0.25, rel=0.1)
    assert len(hit.sum(1).unique()) > 2  # another share of each image


def test_shuffled_tokens_are_those_of_the_image_and_few() -> None:
    after, hit = distorted("shuffle")
    for image, before in zip(after, tokens(), strict=True):
        assert torch.equal(image.sum(1).sort().values, before.sum(1).sort().values)
    assert hit.sum(1).min() >= 2
    assert hit.sum(1).max() <= COUNT // 4


def test_copied_tokens_are_there_twice() -> None:
    after, hit = distorted("copy")
    for image, before, changed in zip(after, tokens(), hit, strict=True):
        known = {tuple(token) for token in before.tolist()}
        assert all(tuple(token) in known for token in image[changed].tolist())
        assert len({tuple(token) for token in image.tolist()}) < COUNT


def test_what_stands_out_is_moved_more_often() -> None:
    image = 0.1 * tokens(1)
    image[:, :4] += 10 * torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    torch.manual_seed(0)
    times = torch.stack(
        [distort(image, salience_of(image), ["shuffle"], noise=1, most_moved=0.1)[1][0] for _ in range(60)]
    ).sum(0)
    assert times[:4].min() > 2 * times[4:].max()


def test_every_kind_gets_its_turn() -> None:
    torch.manual_seed(0)
    many = tokens(30)
    after, hit = distort(many, salience_of(many), ["noise", "shuffle"], noise=0.25, most_moved=0.25)
    is_shuffled = [
        torch.equal(image.sum(1).sort().values, before.sum(1).sort().values)
        for image, before in zip(after, many, strict=True)
    ]
    assert 5 < sum(is_shuffled) < 25
    assert hit.shape == (30, COUNT)
