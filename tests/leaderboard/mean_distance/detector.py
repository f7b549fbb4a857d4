"""Distance of each token to the mean of all normal tokens."""

import torch

from harmoniad.models.mean_distance.design import MeanDistance


class MeanDistanceDetector:
    """Sees features of normal images once, and remembers their mean."""

    def __init__(self, design, mean):
        self._design, self._mean = design, mean

    @classmethod
    def create(cls, shapes, params):
        design = params.detector.mean_distance
        return cls(design, torch.zeros(shapes[design.layer][0]))

    @classmethod
    def restore(cls, config, tensors):
        return cls(MeanDistance(**config), tensors["mean"])

    def fit(self, features, *, synthetic=None, device, checkpoint):
        means = [features.batch([index])[self._design.layer].mean((0, 2, 3)) for index in range(len(features))]
        self._mean = torch.stack(means).mean(0).to(device)
        return []

    @torch.inference_mode()
    def anomaly_maps(self, layers, categories=None):
        tokens = layers[self._design.layer].to(self._mean.device)
        return (tokens - self._mean[:, None, None]).norm(dim=1)

    def to(self, device):
        self._mean = self._mean.to(device)
        return self

    def config(self):
        return self._design.model_dump()

    def tensors(self):
        return {"mean": self._mean.cpu()}
