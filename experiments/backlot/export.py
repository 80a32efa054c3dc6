"""Writes the pipeline folder of a run, in the standard diffusers layout, and checks that it loads.

  python export.py --run RUN --out datasets/models/backlot-1
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from diffusers import WanPipeline
from transformers import T5TokenizerFast

import models
from train import build_transformer, load_vae
from training import Training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()

    vae = load_vae(args.run)
    tokenizer = T5TokenizerFast.from_pretrained(args.run / "tokenizer")
    transformer, text_encoder = build_transformer(args.run), models.build_text_encoder(len(tokenizer))
    if (args.run / "dit.pt").exists():
        Training(
            args.run / "dit.pt", {"transformer": transformer, "text_encoder": text_encoder}, 1.0, 1.0, 1.0
        ).load_average()
    # Its weights are stored in half the bytes; diffusers widens them again unless told otherwise.
    transformer.to(torch.bfloat16)

    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder.eval(),
        vae=vae,
        scheduler=models.build_scheduler(),
        transformer=transformer.eval(),
        expand_timesteps=True,
    )
    pipeline.save_pretrained(args.out)
    # What Reel must know beyond diffusers' files: longer shots are rendered in segments of this length.
    (args.out / "reel.json").write_text(json.dumps({"trained_frames": models.NUM_FRAMES}) + "\n")
    index = args.out / "model_index.json"
    content = json.loads(index.read_text())
    content.pop("_name_or_path", None)
    index.write_text(json.dumps(content, indent=2) + "\n")
    for component in ("vae", "transformer", "text_encoder"):
        path = args.out / component / "config.json"
        content = json.loads(path.read_text())
        content.pop("_name_or_path", None)
        path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
    # The slow tokenizer's vocabulary is not part of what save_pretrained of a fast one promises.
    shutil.copy(args.run / "tokenizer" / "spiece.model", args.out / "tokenizer" / "spiece.model")

    again = WanPipeline.from_pretrained(args.out)
    assert again.text_encoder.encoder.embed_tokens.weight.abs().sum() > 0
    prompt = "a small red ball moves fast to the left"
    assert again.tokenizer(prompt).input_ids == tokenizer(prompt).input_ids
    size = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file())
    print(f"{args.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
