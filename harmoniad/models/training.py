"""The training loop: deterministic, and resumable with the same result as an uninterrupted run."""

import json
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from harmoniad.errors import HarmoniadError
from harmoniad.files import replacing
from harmoniad.models.detector import FeatureSet
from harmoniad.params import Train
from harmoniad.progress import Progress

LogRow = dict[str, float]


class Trainable(nn.Module, ABC):
    """A network that the loop can train."""

    @abstractmethod
    def loss(self, layers: Sequence[Tensor], hard_mining_share: float) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of one batch.

        Args:
            layers: (B, D, h, w) for each layer.
            hard_mining_share: Share of the best fitted points whose gradient may be damped at this step.

        Returns:
            A scalar to minimise, and scalars for the log, the same names at every step.
        """


def train(
    network: Trainable, features: FeatureSet, params: Train, *, seed: int, device: torch.device, checkpoint: Path
) -> list[LogRow]:
    """Train on features of good images of all categories.

    The batch and the dropout of a step depend on the seed and the number of the step alone, so a run that goes on from
    a checkpoint takes the same steps as one that was never interrupted.

    Returns:
        A row a step: step, loss, learning_rate and what the network has to log.

    Raises:
        HarmoniadError: The loss is not a number, or the disk is full.
    """
    network.to(device).train()
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(
        learned, lr=params.learning_rate, weight_decay=params.weight_decay, betas=(0.9, 0.999), eps=1e-10
    )
    log = _resume(checkpoint, network, optimizer)
    order = _Order(len(features), params.batch_size, seed)
    saved = time.monotonic()
    with Progress("train", params.steps, "steps", done=len(log)) as progress:
        for step in range(len(log), params.steps):
            torch.manual_seed(_seed_of_step(seed, step))
            rate = learning_rate(step, params)
            layers = [layer.to(device, non_blocking=True) for layer in features.batch(order.batch(step))]
            share = params.hard_mining_share * min(1.0, step / params.hard_mining_steps)
            loss, values = _step(network, optimizer, layers, rate, params.clip, share)
            if not math.isfinite(loss):
                raise HarmoniadError(f"train: the loss is {loss} at step {step}. Lower train.learning_rate.")
            log.append({"step": step, "loss": loss, "learning_rate": rate, **values})
            progress.advance(note=f"loss {loss:.4f}")
            if time.monotonic() - saved > params.checkpoint_seconds:
                _save(checkpoint, network, optimizer, log)
                saved = time.monotonic()
    network.eval()
    return log


def learning_rate(step: int, params: Train) -> float:
    """Linear warm-up, then a cosine from `learning_rate` down to `final_learning_rate` at the last step."""
    if step < params.warmup_steps:
        return params.learning_rate * (step + 1) / params.warmup_steps
    done = (step - params.warmup_steps) / max(params.steps - 1 - params.warmup_steps, 1)
    span = params.learning_rate - params.final_learning_rate
    return params.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * done))


def _step(
    network: Trainable,
    optimizer: torch.optim.Optimizer,
    layers: Sequence[Tensor],
    rate: float,
    clip: float,
    share: float,
) -> tuple[float, LogRow]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad(set_to_none=True)
    device = layers[0].device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        loss, values = network.loss(layers, share)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimizer.step()
    return loss.item(), {name: value.item() for name, value in values.items()}


class _Order:
    """Which images a step sees: each epoch a new permutation, computed from the seed and the epoch's number."""

    def __init__(self, count: int, batch_size: int, seed: int) -> None:
        self._count, self._batch_size, self._seed = count, min(batch_size, count), seed
        self._epoch, self._permutation = -1, np.empty(0, int)

    def batch(self, step: int) -> list[int]:
        epoch, position = divmod(step, self._count // self._batch_size)
        if epoch != self._epoch:
            self._epoch = epoch
            self._permutation = np.random.default_rng([self._seed, epoch]).permutation(self._count)
        start = position * self._batch_size
        return self._permutation[start : start + self._batch_size].tolist()


def _seed_of_step(seed: int, step: int) -> int:
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0])


def _save(path: Path, network: Trainable, optimizer: torch.optim.Optimizer, log: list[LogRow]) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in network.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    with replacing(path) as temporary:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata={"log": json.dumps(log)})


def _resume(path: Path, network: Trainable, optimizer: torch.optim.Optimizer) -> list[LogRow]:
    if not path.is_file():
        return []
    device = next(network.parameters()).device
    with safe_open(path, framework="pt", device=str(device)) as file:
        log: list[LogRow] = json.loads(file.metadata()["log"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            index, _, key = rest.partition(".")
            states.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return log
