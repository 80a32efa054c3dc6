"""Clips from `reel world`, and the pool of latents that the transformer is trained on.

Seeds below HELD_OUT train, seeds from HELD_OUT on are for evaluation only.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

HELD_OUT = 1_000_000_000
CLIP_FRAMES = 65  # 17 latent frames: room for windows that start in the middle of a shot
WORLDS = ("uniform", "parabola", "collision", "fall", "house")


@dataclass
class Clip:
    """One clip and what `reel world` says about it; `frames` [F, H, W, 3] u8."""

    world: str
    seed: int
    caption: str
    frames: np.ndarray
    px_per_m: float
    fps: float


def clips(reel: str, seed: int, count: int, world: str = "mix", frames: int = CLIP_FRAMES) -> Iterator[Clip]:
    """Streams `count` clips with seeds `seed`, `seed + 1`, ... from the program `reel`."""
    command = [reel, "world", world, "--seed", str(seed), "--count", str(count), "--frames", str(frames)]
    command += ["--stream", "-"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            for _ in range(count):
                line = process.stdout.readline()
                if not line:
                    raise RuntimeError(f"{' '.join(command)} ended early")
                head = json.loads(line)
                shape = (head["frames"], head["height"], head["width"], 3)
                pixels = process.stdout.read(int(np.prod(shape)))
                yield Clip(
                    world=head["world"],
                    seed=head["seed"],
                    caption=head["caption"],
                    frames=np.frombuffer(pixels, np.uint8).reshape(shape),
                    px_per_m=head["px_per_m"],
                    fps=head["fps"],
                )
        finally:
            process.kill()


def to_video(frames: np.ndarray) -> Tensor:
    """[F, H, W, 3] or [B, F, H, W, 3] u8 -> [.., 3, F, H, W] f32 in [-1, 1]."""
    return torch.from_numpy(np.array(frames)).movedim(-1, -4).float() / 127.5 - 1


def to_frames(video: Tensor) -> np.ndarray:
    """[.., 3, F, H, W] in [-1, 1] -> [.., F, H, W, 3] u8."""
    return ((video.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).movedim(-4, -1).numpy()


# ---------------------------------------------------------------------------------------------------------------------
# Latent shards: one file per batch of clips, {"latents" f16 [n, C, 17, h, w], "captions", "seeds"}


def write_shard(folder: Path, index: int, latents: Tensor, batch: list[Clip]) -> None:
    """Writes one shard so that a reader never sees half a file."""
    folder.mkdir(parents=True, exist_ok=True)
    captions = [clip.caption for clip in batch]
    temporary = folder / f"shard-{index:06d}.tmp"
    torch.save({"latents": latents.half(), "captions": captions, "seeds": [clip.seed for clip in batch]}, temporary)
    temporary.rename(folder / f"shard-{index:06d}.pt")


class LatentPool:
    """All latents produced so far, growing while the producer runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: set[str] = set()
        self.clips: list[tuple[Tensor, str]] = []  # latents [C, T, h, w] and caption
        self.long_enough: dict[int, list[int]] = {}  # length -> clips with at least so many latent frames

    def refresh(self) -> int:
        """Reads new shards; returns the number of clips."""
        for path in sorted(self.folder.glob("shard-*.pt")):
            if path.name not in self.names:
                shard = torch.load(path)
                self.names.add(path.name)
                self.clips += zip(shard["latents"], shard["captions"], strict=True)
                self.long_enough.clear()
        return len(self.clips)

    def windows(self, batch: int, length: int, rng: random.Random) -> tuple[Tensor, list[str], Tensor]:
        """Windows [B, C, length, h, w], their captions, and how many leading latent frames are clean [B].

        A window from the start of a shot has 0 to 3 clean frames, mostly none. A window from the middle always has
        some, so that a long shot can be continued, and so that no text-to-video sample starts in the middle.
        """
        if length not in self.long_enough:
            self.long_enough[length] = [i for i, (x, _) in enumerate(self.clips) if x.shape[1] >= length]
        latents, captions, clean = [], [], []
        for _ in range(batch):
            x, caption = self.clips[rng.choice(self.long_enough[length])]
            spare = x.shape[1] - length
            offset = rng.randint(1, spare) if length > 1 and spare > 0 and rng.random() < 0.4 else 0
            num_clean = rng.choices((0, 1, 2, 3, 4), (0.4, 0.15, 0.3, 0.15, 0) if offset == 0 else (0, 1, 2, 2, 1))[0]
            latents.append(x[:, offset : offset + length])
            captions.append(caption)
            clean.append(min(num_clean, length - 1))
        return torch.stack(latents).float(), captions, torch.tensor(clean)
