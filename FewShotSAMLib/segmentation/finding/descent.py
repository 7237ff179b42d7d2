"""Gradient descent of a few tensors, without what PyTorch's optimisers bring with them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim.adam import adam


class Descent:
    """Adam (Kingma and Ba 2015) with its usual constants, each tensor with a rate of its own.

    The step is PyTorch's own. Its `Optimizer` is not used: making the first one loads PyTorch's
    compiler, a second of each process that segments another patient.

    Args:
        rates: of each tensor to change in place; they require gradients.
    """

    def __init__(self, *rates: tuple[Tensor, float]) -> None:
        self._state = [
            (tensor, rate, torch.zeros_like(tensor), torch.zeros_like(tensor), torch.tensor(0.0))
            for tensor, rate in rates
        ]
        self.slowed = 1.0

    def step(self, loss: Tensor) -> None:
        """Moves all tensors against the gradient of `loss`, at `slowed` times their rates."""
        gradients = torch.autograd.grad(loss, [one[0] for one in self._state])
        with torch.no_grad():
            for (tensor, rate, mean, square, steps), gradient in zip(
                self._state, gradients, strict=True
            ):
                adam(
                    [tensor], [gradient], [mean], [square], [], [steps], foreach=False,
                    amsgrad=False, beta1=0.9, beta2=0.999, lr=rate * self.slowed,
                    weight_decay=0.0, eps=1e-8, maximize=False,
                )
