from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from harmoniad.models.inp_former.design import InpFormer
from harmoniad.models.inp_former.detector import InpFormerDetector
from harmoniad.models.inp_former.network import DecoderBlock, InpFormerNetwork, coherence
from harmoniad.models.reconstruction.attention import CrossBlock
from harmoniad.params import Params
from tests.models.features import PatternFeatures, with_anomaly

CPU = torch.device("cpu")
SHAPES = PatternFeatures.shapes
DESIGN = InpFormer(width=16, heads=2, blocks=3)


def params(steps: int = 12, **design: object) -> Params:
    return Params.model_validate(
        {
            "detector": {"inp_former": {"width": 16, "heads": 2, "blocks": 2, **design}},
            "train": {"steps": steps, "batch_size": 4, "warmup_steps": 3, "checkpoint_seconds": 1e-9},
        }
    )


def fitted(settings: Params, checkpoint: Path) -> InpFormerDetector:
    features = PatternFeatures(10)
    detector = InpFormerDetector.create(features.shapes, settings)
    detector.fit(features, device=CPU, checkpoint=checkpoint)
    return detector


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("design", [{}, {"norm": "channel", "extractor_blocks": 2, "heads": 4}])
def test_it_learns_what_is_normal(tmp_path: Path, design: dict[str, object]) -> None:
    features = PatternFeatures(10)
    detector = InpFormerDetector.create(features.shapes, params(150, **design))
    log = detector.fit(features, device=CPU, checkpoint=tmp_path / "c")
    assert set(log[0]) == {"step", "loss", "learning_rate", "coherence"}
    assert log[-1]["loss"] < 0.7 * log[0]["loss"]
    fresh = PatternFeatures(4, seed=7).batch([0, 1])
    normal, strange = detector.anomaly_maps(fresh), detector.anomaly_maps(with_anomaly(fresh))
    assert normal.shape == (2, 8, 8)
    assert strange[:, :2, :2].mean() > 1.3 * normal.mean()


def test_a_token_is_rebuilt_from_the_prototypes_alone() -> None:
    torch.manual_seed(0)
    block = DecoderBlock(16, heads=2)
    prototype = random(1, 1, 16)
    rebuilt = block(random(1, 50, 16, seed=1), prototype)
    # With one prototype and two heads, all that a token can say is how much of it each head takes: two numbers.
    before_mlp = []
    block.norm_mlp.register_forward_hook(lambda module, inputs, output: before_mlp.append(inputs[0]))
    block(random(1, 50, 16, seed=1), prototype)
    centred = before_mlp[0][0] - before_mlp[0][0].mean(0)
    assert torch.linalg.matrix_rank(centred, rtol=1e-4) <= 2
    assert rebuilt.std(1).max() > 1e-3  # and yet not all are the same


def test_without_prototypes_to_want_nothing_is_left_of_a_token() -> None:
    torch.manual_seed(0)
    block, prototypes = DecoderBlock(16, heads=2), random(1, 6, 16)
    with torch.no_grad():
        block.sharpness.zero_()
    rebuilt = block(random(1, 20, 16, seed=1), prototypes)
    torch.testing.assert_close(rebuilt, rebuilt[:, :1].expand_as(rebuilt))


def test_the_decoder_s_attention_is_the_formula() -> None:
    torch.manual_seed(0)
    block, tokens, prototypes = DecoderBlock(8, heads=2), random(1, 5, 8), random(1, 3, 8, seed=1)
    with torch.no_grad():
        block.sharpness.copy_(torch.tensor([2.0, 0.5]).view(2, 1, 1))
    queries = block.query(block.norm_attention(tokens))[0]
    keys, values = block.key_value(block.norm_attention(prototypes))[0].split(8, dim=-1)
    mixed = torch.zeros(5, 8)
    for head, sharpness in enumerate((2.0, 0.5)):
        part = slice(4 * head, 4 * head + 4)
        for token in range(5):
            for prototype in range(3):
                cosine = F.cosine_similarity(queries[token, part], keys[prototype, part], dim=0)
                mixed[token, part] += max(0.0, sharpness * cosine.item()) * values[prototype, part].detach()
    attended = block.out(mixed)
    torch.testing.assert_close(block(tokens, prototypes)[0], attended + block.mlp(block.norm_mlp(attended)))


def test_prototypes_are_those_of_the_image() -> None:
    torch.manual_seed(0)
    block, queries, tokens = CrossBlock(8, 2), random(2, 3, 8), random(2, 10, 8, seed=1)
    found = block(queries, tokens)
    torch.testing.assert_close(block(queries, tokens.flip(1)), found)  # wherever the tokens lie
    other = tokens.clone()
    other[1] += 1 + random(10, 8, seed=2)
    changed = (block(queries, other) - found).abs().amax((1, 2))
    assert changed[0] < 1e-6
    assert changed[1] > 1e-3


def test_the_coherence_of_hand_made_tokens() -> None:
    tokens = torch.tensor([[[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]]], requires_grad=True)
    prototypes = torch.tensor([[[3.0, 0.0], [1.0, 1.0]]], requires_grad=True)
    loss = coherence(tokens, prototypes)
    assert loss.item() == pytest.approx((0 + (1 - 0.5**0.5) + (1 + 0.5**0.5)) / 3, abs=1e-6)
    loss.backward()
    assert tokens.grad is None
    assert prototypes.grad is not None


def test_the_loss_adds_the_weighted_coherence() -> None:
    torch.manual_seed(0)
    network = InpFormerNetwork(SHAPES, DESIGN)
    layers = [random(2, *shape) for shape in SHAPES]
    loss, values = network.loss(layers, 0.5)
    network.coherence_weight = 0.0
    bare, _ = network.loss(layers, 0.5)
    assert (loss - bare).item() == pytest.approx(0.2 * values["coherence"].item(), rel=1e-4)


@pytest.mark.parametrize("change", [{}, {"groups": 1}, {"blocks": 1}, {"grid": 6}, {"extractor_blocks": 2}])
def test_predictions_have_the_shape_of_the_targets_and_all_is_learned(change: dict[str, object]) -> None:
    torch.manual_seed(0)
    network = InpFormerNetwork(SHAPES, DESIGN.model_copy(update=change))
    layers = [random(3, *shape) for shape in SHAPES]
    targets = network.targets(layers)
    predictions, _ = network(targets)
    assert [prediction.shape for prediction in predictions] == [target.shape for target in targets]
    loss, _ = network.loss(layers, 0.0)
    loss.backward()
    learned = [(name, parameter) for name, parameter in network.named_parameters() if parameter.requires_grad]
    assert [name for name, parameter in learned if parameter.grad is None] == []


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (fitted(params(), tmp_path / name).tensors() for name in ("a", "b"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_what_is_saved_is_restored(tmp_path: Path) -> None:
    detector = fitted(params(), tmp_path / "c")
    again = InpFormerDetector.restore(detector.config(), detector.tensors())
    batch = PatternFeatures(3, seed=5).batch([0, 1, 2])
    assert torch.equal(detector.anomaly_maps(batch), again.anomaly_maps(batch))
    assert again.config() == detector.config()
