"""Muon (K. Jordan et al., 2024): momentum whose matrix updates are orthogonalised; AdamW for everything else.

On these small networks it needs clearly fewer steps than AdamW alone, which is what counts on a CPU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def orthogonalized(matrix: Tensor, steps: int = 5) -> Tensor:
    """Approximately U V^T of `matrix` [r, c] = U S V^T, by a quintic Newton-Schulz iteration in bf16."""
    x = matrix.bfloat16()
    wide = x if x.shape[0] <= x.shape[1] else x.T
    wide = wide / (wide.norm() + 1e-7)
    for _ in range(steps):
        a = wide @ wide.T
        wide = 3.4445 * wide + (-4.7750 * a + 2.0315 * a @ a) @ wide
    return (wide if x.shape[0] <= x.shape[1] else wide.T).to(matrix.dtype)


class Muon(torch.optim.Optimizer):
    """Muon for weights of two and more dimensions, AdamW for the rest and for `adam_names`.

    Updates of matrices are scaled to the size of AdamW's, so that one learning rate serves both.
    """

    def __init__(self, module: nn.Module, lr: float, adam_names: tuple[str, ...], weight_decay: float = 0.01) -> None:
        matrices, others = [], []
        for name, p in module.named_parameters():
            # Kernels with one large side only: embeddings, heads, modulation tables and 1-d parameters go to AdamW.
            is_matrix = p.ndim >= 2 and p.shape[0] > 1 and p[0].numel() > 1 and not any(n in name for n in adam_names)
            (matrices if is_matrix else others).append(p)
        groups = [
            {"params": matrices, "matrix": True, "weight_decay": weight_decay},
            {"params": others, "matrix": False, "weight_decay": 0.0},
        ]
        super().__init__(groups, {"lr": lr, "momentum": 0.95, "betas": (0.9, 0.98), "eps": 1e-8})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            lr = group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                p.mul_(1 - lr * group["weight_decay"])
                if group["matrix"]:
                    buffer = state.setdefault("momentum", torch.zeros_like(p))
                    buffer.lerp_(p.grad, 1 - group["momentum"])
                    update = p.grad.lerp(buffer, group["momentum"]).flatten(1)
                    scale = 0.2 * math.sqrt(max(update.shape))
                    p.add_(orthogonalized(update).view_as(p), alpha=-lr * scale)
                else:
                    if not state:
                        state.update(step=0, mean=torch.zeros_like(p), square=torch.zeros_like(p))
                    state["step"] += 1
                    b1, b2 = group["betas"]
                    state["mean"].lerp_(p.grad, 1 - b1)
                    state["square"].lerp_(p.grad.square(), 1 - b2)
                    mean = state["mean"] / (1 - b1 ** state["step"])
                    square = state["square"] / (1 - b2 ** state["step"])
                    p.addcdiv_(mean, square.sqrt().add_(group["eps"]), value=-lr)
