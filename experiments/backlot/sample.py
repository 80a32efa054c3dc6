"""Samples from an exported pipeline folder, and contact sheets to look at.

  python sample.py --model datasets/models/backlot-1 --out sheet.png "a small red ball moves fast to the left" ...
  python sample.py --model datasets/models/backlot-1 --out sheet.png --reel build/release/reel --continue 10

The first form is diffusers' own pipeline from text alone. The second continues held-out clips from two clean latent
frames; truth is above, the model below.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import WanPipeline
from PIL import Image, ImageDraw
from torch import Tensor

import data
import models

SHOWN = (0, 2, 4, 6, 8, 12, 16, 20, 24, 28, 32)


def statistics(pipeline: WanPipeline) -> tuple[Tensor, Tensor]:
    """Latent mean and standard deviation, [1, C, 1, 1, 1] each."""
    config = pipeline.vae.config
    return (torch.tensor(v).view(1, -1, 1, 1, 1) for v in (config.latents_mean, config.latents_std))  # type: ignore


@torch.no_grad()
def encode(pipeline: WanPipeline, video: Tensor) -> Tensor:
    """Normalised latents [B, C, T, h, w] of `video` [B, 3, F, H, W]."""
    mean, std = statistics(pipeline)
    return (models.encode(pipeline.vae, video)[0] - mean) / std


@torch.no_grad()
def decode(pipeline: WanPipeline, latents: Tensor) -> Tensor:
    """Video [B, 3, F, H, W] in [-1, 1] of normalised latents."""
    mean, std = statistics(pipeline)
    return models.decode(pipeline.vae, latents * std + mean).clamp(-1, 1)


@torch.no_grad()
def generate(
    pipeline: WanPipeline,
    prompts: list[str],
    seeds: list[int],
    clean: Tensor | None = None,
    num_inference_steps: int = 20,
    guidance_scale: float = 3.0,
    length: int = models.WINDOW,
    size: tuple[int, int] = (8, 8),
) -> Tensor:
    """Normalised latents [B, C, length, h, w], the first of which are `clean` [B, C, k, h, w] where given.

    Same steps as diffusers' pipelines: the model sees the clean latents with timestep 0 at every step.
    """
    noise = [
        torch.randn(models.LATENT_CHANNELS, length, *size, generator=torch.Generator().manual_seed(seed))
        for seed in seeds
    ]
    latents = torch.stack(noise)
    k = 0 if clean is None else clean.shape[2]
    num_clean = torch.full((len(prompts),), k)
    contexts = []
    for texts in (prompts, [""] * len(prompts)) if guidance_scale > 1 else (prompts,):
        rows = pipeline.tokenizer(texts, padding=True, return_tensors="pt")
        lengths = rows.attention_mask.sum(1)
        context = models.encode_text(pipeline.text_encoder, rows.input_ids, lengths, rows.input_ids.shape[1] + 1)
        contexts.append((context, models.zero_row_scores(rows.input_ids, lengths)))
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    scheduler.set_timesteps(num_inference_steps)
    for t in scheduler.timesteps:
        x = latents if clean is None else torch.cat([clean, latents[:, :, k:]], dim=2)
        timestep = t.float().expand(len(prompts))
        v = [models.velocity(pipeline.transformer, x, timestep, num_clean, *context) for context in contexts]
        v = v[0] if len(v) == 1 else v[1] + guidance_scale * (v[0] - v[1])
        latents = scheduler.step(v, t, latents, return_dict=False)[0]
    return latents if clean is None else torch.cat([clean, latents[:, :, k:]], dim=2)


def sheet(rows: list[tuple[str, np.ndarray]], path: Path, zoom: int = 2) -> None:
    """Draws (label, [F, H, W, 3] u8) rows: some frames of each beside each other under the label."""
    height = rows[0][1].shape[1] * zoom
    width = rows[0][1].shape[2] * zoom
    image = Image.new("RGB", ((width + 2) * len(SHOWN), (height + 16) * len(rows)), "black")
    draw = ImageDraw.Draw(image)
    for i, (label, frames) in enumerate(rows):
        draw.text((4, i * (height + 16) + 2), label, fill="white")
        for j, f in enumerate(SHOWN):
            if f < len(frames):
                frame = Image.fromarray(frames[f]).resize((width, height), Image.Resampling.NEAREST)
                image.paste(frame, (j * (width + 2), i * (height + 16) + 16))
    image.save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prompts", nargs="*")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reel", default="build/release/reel")
    parser.add_argument("--continue", dest="num_continued", type=int, default=0)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    pipeline = WanPipeline.from_pretrained(args.model)
    pipeline.set_progress_bar_config(disable=True)
    rows = []
    for i, prompt in enumerate(args.prompts):
        frames = pipeline(
            prompt,
            height=models.HEIGHT,
            width=models.WIDTH,
            num_frames=models.NUM_FRAMES,
            num_inference_steps=args.steps,
            guidance_scale=args.guidance,
            generator=torch.Generator().manual_seed(args.seed + i),
        ).frames[0]
        rows.append((prompt, (255 * frames).round().astype(np.uint8)))
    if args.num_continued:
        seed = data.HELD_OUT + args.seed
        held_out = list(data.clips(args.reel, seed, args.num_continued, frames=models.NUM_FRAMES))
        latents = encode(pipeline, torch.stack([data.to_video(clip.frames) for clip in held_out]))
        made = generate(
            pipeline,
            [clip.caption for clip in held_out],
            [clip.seed for clip in held_out],
            latents[:, :, :2],
            args.steps,
            args.guidance,
        )
        for clip, frames in zip(held_out, data.to_frames(decode(pipeline, made)), strict=True):
            rows += [("truth: " + clip.caption, clip.frames), ("model, from 5 frames", frames)]
    sheet(rows, args.out)


if __name__ == "__main__":
    main()
