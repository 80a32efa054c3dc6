"""The state of one training stage: weights, their moving average, optimiser, clock and loss history, in one file.

Under `torchrun --nproc-per-node N` every process draws its own clips, and gradients are averaged.
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from tqdm import tqdm

from optim import Muon

# First and last layers, and tables that are looked up: their rows are not directions of one matrix.
ADAM_NAMES = (
    "encoder.conv_in",
    "decoder.conv_out",
    "quant_conv",
    "patch_embedding",
    "proj_out",
    "time_embedder",
    "time_proj",
    "scale_shift_table",
    "embed_tokens",
    "shared",
    "relative_attention_bias",
)
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
RANK, PROCESSES = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


class Training:
    """Weights, their moving average, optimiser, clock and loss history of one stage, kept in one file."""

    def __init__(
        self, path: Path, modules: dict[str, nn.Module], lr: float, ema: float, minutes: float, threads: int = 1
    ) -> None:
        self.path, self.ema_rate, self.minutes, self.peak_lr, self.threads = path, ema, minutes, lr, threads
        self.modules = nn.ModuleDict(modules).to(DEVICE)
        self.average = [p.detach().clone() for p in self.modules.parameters()]
        self.optimizer = Muon(self.modules, lr, ADAM_NAMES)
        self.step, self.seconds, self.next_seed = 0, 0.0, 0
        self.history: list[tuple[int, float, float]] = []  # step, seconds, loss
        self.stopped = False
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        if path.exists():
            self._load()

    def _stop(self, *_: Any) -> None:
        self.stopped = True

    def _load(self) -> None:
        state = torch.load(self.path, map_location=DEVICE, weights_only=True)
        self.modules.load_state_dict(state["modules"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average = state["average"]
        self.step, self.seconds, self.next_seed = state["step"], state["seconds"], state["next_seed"]
        self.history = [tuple(row) for row in state["history"]]

    def save(self) -> None:
        """Writes the state beside the old one, then takes its place; draws the loss curve."""
        if RANK != 0:
            return
        state = {
            "modules": self.modules.state_dict(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "next_seed": self.next_seed,
            "history": self.history,
        }
        temporary = self.path.with_suffix(".tmp")
        torch.save(state, temporary)
        os.replace(temporary, self.path)
        plot_loss(self.history, self.path.with_suffix(".png"))

    def load_average(self) -> None:
        """Puts the moving average into the modules (for export and sampling)."""
        for p, a in zip(self.modules.parameters(), self.average, strict=True):
            p.data.copy_(a)

    def learning_rate(self) -> float:
        """Linear warm-up over 100 steps, flat, then cosine to 3 % over the last 60 % of the minutes."""
        done = min(1.0, self.seconds / (60 * self.minutes))
        decay = max(0.0, (done - 0.4) / 0.6)
        return self.peak_lr * min(1.0, (self.step + 1) / 100) * (0.03 + 0.97 * 0.5 * (1 + math.cos(math.pi * decay)))

    def choose(self, options: tuple[Any, ...], weights: tuple[float, ...]) -> Any:
        """One of `options`, the same on every process: they have equal work and gradients of the same parameters."""
        return random.Random(self.step).choices(options, weights)[0]

    def share(self, loss: float) -> float:
        """Averages the gradients over all processes, agrees on clock and stop, and returns the mean loss."""
        if PROCESSES == 1:
            return loss
        # The clock is that of rank 0; anyone may stop.
        flat = [p.grad.flatten() for p in self.modules.parameters() if p.grad is not None]
        words = torch.tensor([loss / PROCESSES, self.seconds if RANK == 0 else 0.0, float(self.stopped)])
        total = torch.cat([torch.cat(flat).cpu() / PROCESSES, words])
        dist.all_reduce(total)
        at = 0
        for p in self.modules.parameters():
            if p.grad is not None:
                p.grad.copy_(total[at : at + p.numel()].view_as(p))
                at += p.numel()
        mean, self.seconds, stopped = total[at:].tolist()
        self.stopped = stopped > 0
        return mean

    def update(self, loss: Tensor) -> float:
        """One optimiser step; returns the loss (the mean over processes) and refuses one that is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        value = self.share(loss.item())
        if not math.isfinite(value):
            raise FloatingPointError(f"loss {value} at step {self.step}: lower the learning rate and resume")
        nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        self.optimizer.step()
        # A young average would be full of the random start: let it follow faster at first.
        rate = min(self.ema_rate, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(self.average, [p.detach() for p in self.modules.parameters()], 1 - rate)
        self.step += 1
        return value

    def loop(self, one_step: Any, save_s: float = 180) -> None:
        """Calls `one_step() -> (loss, text for the bar)` until the minutes are spent."""
        last_save, total = time.monotonic(), 60 * self.minutes
        # One thread counts the time it works: others on the machine must not use up the minutes.
        clock = time.process_time if DEVICE.type == "cpu" and self.threads == 1 else time.monotonic
        with tqdm(total=round(total), initial=round(self.seconds), unit="s", mininterval=10, disable=RANK > 0) as bar:
            while self.seconds < total and not self.stopped:
                start = clock()
                share_cores(self.threads)
                loss, text = one_step()
                value = self.update(loss)
                self.seconds += clock() - start
                self.history.append((self.step, self.seconds, value))
                bar.update(round(self.seconds) - bar.n)
                bar.set_postfix_str(f"step {self.step} loss {value:.4f} {text}", refresh=False)
                if time.monotonic() - last_save > save_s:
                    self.save()
                    last_save = time.monotonic()
        self.save()


def share_cores(threads: int) -> None:
    """Sets the threads of the next step: all of `threads` on an idle machine, one when others keep it busy.

    Threads that meet at a barrier many times a step lose more by waiting for a core than they gain by a second one.
    """
    running = Path("/proc/loadavg")
    if threads > 1 and running.exists():
        busy = int(running.read_text().split()[3].split("/")[0])
        threads = threads if busy <= 2 else 1
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def plot_loss(history: list[tuple[int, float, float]], path: Path) -> None:
    """Loss over steps: every step faint, and its running mean."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    if not history:
        return
    step, _, loss = np.array(history).T
    width = max(1, min(100, len(loss) // 10))
    smooth = np.convolve(loss, np.ones(width) / width, mode="valid")
    figure, axes = plt.subplots(figsize=(7, 4))
    axes.plot(step, loss, color="0.8", linewidth=0.5)
    axes.plot(step[width - 1 :], smooth, color="C0")
    axes.set(xlabel="step", ylabel="loss", yscale="log")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
