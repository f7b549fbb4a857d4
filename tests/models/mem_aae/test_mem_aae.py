import pytest
import torch
from pydantic import ValidationError

from harmoniad.models.mem_aae.design import MemAae
from harmoniad.models.mem_aae.network import MemAaeNetwork, Memory, NeighbourConvolution
from tests.models.features import PatternFeatures

FEATURES = PatternFeatures(4)


def test_the_neighbours_do_not_give_a_patch_away() -> None:
    torch.manual_seed(0)
    convolution = NeighbourConvolution(4)
    features = torch.randn(1, 4, 9, 9)
    changed = features.clone()
    changed[:, :, 4, 4] += 10
    differs = (convolution(features) != convolution(changed)).any(1)[0]
    assert not differs[3:6, 3:6].any()
    assert differs[2:7, 2:7].sum() == 25 - 9


def test_what_is_read_is_a_mixture_of_what_is_remembered() -> None:
    torch.manual_seed(0)
    memory = Memory(5, 3, parts=1)
    read = memory(100 * torch.randn(2, 3, 4, 4)).movedim(1, -1).reshape(-1, 3)
    codes = memory.codes[0]
    assert ((read >= codes.amin(0) - 1e-5) & (read <= codes.amax(0) + 1e-5)).all()
    for direction in torch.randn(50, 3):  # no direction leads out of the convex hull
        assert (read @ direction).max() <= (codes @ direction).max() + 1e-4


def test_a_code_that_is_remembered_comes_back_in_parts() -> None:
    memory = Memory(3, 6, parts=2)
    with torch.no_grad():
        memory.codes.copy_(10 * torch.eye(3).expand(2, 3, 3))
    asked = torch.cat([10 * torch.eye(3)[2], 10 * torch.eye(3)[0]]).view(1, 6, 1, 1)
    torch.testing.assert_close(memory(asked), asked, atol=1e-2, rtol=0)


def test_parts_that_do_not_share_the_code_are_refused() -> None:
    with pytest.raises(ValidationError, match="latent must be a multiple of parts"):
        MemAae(latent=10, parts=4)


def test_encoder_and_discriminator_pull_apart() -> None:
    torch.manual_seed(0)
    network = MemAaeNetwork(FEATURES.shapes, MemAae(width=16, latent=4, memory=8, parts=2, grid=8))
    layers = FEATURES.batch(range(4))

    def adversarial() -> torch.Tensor:
        torch.manual_seed(1)
        loss, values = network.loss(layers, 0.0)
        rest = values["rebuilt"] + network.prediction_weight * values["predicted"]
        torch.testing.assert_close(loss.detach(), rest + network.adversarial_weight * values["adversarial"])
        return network.loss_of_discriminator(network.codes(network.patches(layers))[0])

    for part, sign in ((network.encoder, 1), (network.discriminator, -1)):
        network.zero_grad()
        torch.manual_seed(1)
        loss = adversarial()
        loss.backward()
        with torch.no_grad():
            for parameter in part.parameters():
                assert parameter.grad is not None
                parameter.sub_(0.01 * parameter.grad / parameter.grad.norm())
        assert sign * (adversarial() - loss) > 0


def test_without_prediction_the_score_is_the_error_of_the_patch_itself() -> None:
    torch.manual_seed(0)
    design = MemAae(width=16, latent=4, memory=8, parts=2, grid=8)
    both = MemAaeNetwork(FEATURES.shapes, design)
    alone = MemAaeNetwork(FEATURES.shapes, design.model_copy(update={"prediction_weight": 0.0}))
    alone.load_state_dict(both.state_dict())
    layers = FEATURES.batch(range(4))
    assert (both.anomaly_maps(layers, 8) > alone.anomaly_maps(layers, 8)).all()
