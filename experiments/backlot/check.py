"""Holds the training fast paths of `models.py` against diffusers' own forward passes. Run: python check.py"""

from __future__ import annotations

import torch

import models


def main() -> None:
    torch.manual_seed(0)
    vae = models.build_vae().eval()
    video = torch.rand(2, 3, 17, 64, 64) * 2 - 1
    with torch.no_grad():
        stock = vae.encode(video).latent_dist
        mean, logvar = models.encode(vae, video)
        errors = {"encode": (stock.mean - mean).abs().max(), "logvar": (stock.logvar - logvar).abs().max()}
        errors["decode"] = (vae.decode(mean).sample - models.decode(vae, mean).clamp(-1, 1)).abs().max()

        text_encoder = models.build_text_encoder(400).eval()
        transformer = models.build_transformer().eval()
        ids = torch.randint(4, 400, (3, 20))
        lengths = torch.tensor([20, 1, 7])
        ids[torch.arange(20)[None] >= lengths[:, None]] = 0
        context = models.encode_text(text_encoder, ids, lengths)
        latents = torch.randn(3, models.LATENT_CHANNELS, models.WINDOW, 8, 8)
        timestep = torch.tensor([900.0, 30.0, 500.0])
        num_clean = torch.tensor([0, 2, 9 - 1])
        frame = torch.arange(models.WINDOW)[None].expand(3, -1)
        tokens = torch.where(frame < num_clean[:, None], 0.0, timestep[:, None]).repeat_interleave(16, dim=1)
        stock_v = transformer(latents, tokens, context, return_dict=False)[0]
        short = context[:, : ids.shape[1] + 1]
        fast_v = models.velocity(transformer, latents, timestep, num_clean, short, models.zero_row_scores(ids, lengths))
        errors["velocity"] = (stock_v - fast_v).abs().max()
    for name, error in errors.items():
        print(f"{name:9s} {error.item():.2e}")
        assert error < 2e-5, name


if __name__ == "__main__":
    main()
