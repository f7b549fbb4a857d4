import math

import pytest

from harmoniad.models import training
from harmoniad.params import Train


def test_the_learning_rate_warms_up_and_falls() -> None:
    train = Train(steps=101, warmup_steps=10, learning_rate=2e-3, final_learning_rate=2e-4)
    assert training.learning_rate(0, train) == pytest.approx(2e-4)
    assert training.learning_rate(9, train) == pytest.approx(2e-3)
    assert training.learning_rate(55, train) == pytest.approx((2e-3 + 2e-4) / 2, rel=1e-6)
    assert training.learning_rate(100, train) == pytest.approx(2e-4)


def test_every_image_is_seen_once_an_epoch() -> None:
    order = training._Order(10, 4, seed=3)
    epochs = [[order.batch(step) for step in (2 * epoch, 2 * epoch + 1)] for epoch in range(3)]
    for first, second in epochs:
        assert len(set(first + second)) == 8
    assert epochs[0] != epochs[1]
    assert training._Order(10, 4, seed=3).batch(3) == epochs[1][1]  # jumped into, as after a resume
    assert len(training._Order(3, 8, seed=0).batch(5)) == 3  # fewer images than a batch
    assert math.isfinite(training._seed_of_step(0, 5))
