import torch

from harmoniad.models.memory import distance_to


def test_distances_are_exact_far_from_the_origin_too() -> None:
    generator = torch.Generator().manual_seed(0)
    bank = 100 + torch.randn(50, 8, generator=generator)
    patches = 100 + torch.randn(2, 30, 8, generator=generator)
    patches[0, 0] = bank[7]
    found = distance_to(bank, patches)
    wanted = (patches.double()[:, :, None] - bank.double()).norm(dim=3).amin(2)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-4)
    assert found[0, 0] == 0
