"""Trains the reference pipeline in stages. Every stage resumes from `--run` where it was stopped.

  python train.py restore   --run RUN --model datasets/models/backlot-1  (instead of the first three stages)
  python train.py grow      --run RUN --old OLD_RUN                      (the next generation: more blocks, same latents)
  python train.py tokenizer --run RUN --reel build/release/reel
  python train.py stills    --run RUN --reel build/release/reel --minutes 15
  python train.py vae       --run RUN --reel build/release/reel --minutes 15
  python train.py latents   --run RUN --reel build/release/reel          (beside the next stage, at low priority)
  python train.py dit       --run RUN --minutes 60
  python train.py decoder   --run RUN --reel build/release/reel --minutes 20

`torchrun --nproc-per-node N -- train.py ...` shares the work of a stage: every process draws its own clips, and gradients
are averaged.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor, nn
from tqdm import tqdm
from transformers import T5TokenizerFast, UMT5EncoderModel

import data
import models
from training import DEVICE, PROCESSES, RANK, Training

DECODER_SEED = 500_000_000  # clips that the encoder was not trained on
SEEDS_PER_PROCESS = 50_000_000  # each process of a shared stage has a range of clips of its own
SKIPPED = {"uniform": 0.7, "parabola": 0.7, "collision": 0.5, "fall": 0.3}  # share of clips the VAE leaves out
SKIPPED_BY_DECODER = {"uniform": 0.9, "parabola": 0.9, "collision": 0.8, "fall": 0.8}  # houses are what it lacks


def restore(args: argparse.Namespace) -> None:
    """Begins a run from a published folder: its weights and latent statistics, with fresh optimisers."""
    vae = AutoencoderKLWan.from_pretrained(args.model / "vae")
    transformer = WanTransformer3DModel.from_pretrained(args.model / "transformer", torch_dtype=torch.float32)
    text_encoder = UMT5EncoderModel.from_pretrained(args.model / "text_encoder")
    shutil.copytree(args.model / "tokenizer", args.run / "tokenizer")
    statistics = {name: vae.config[name] for name in ("latents_mean", "latents_std")}
    (args.run / "latents.json").write_text(json.dumps(statistics))
    Training(args.run / "vae.pt", {"vae": vae}, 1.0, 1.0, 1.0).save()
    modules = {"transformer": transformer, "text_encoder": text_encoder}
    Training(args.run / "dit.pt", modules, 1.0, 1.0, 1.0).save()


def grow(args: argparse.Namespace) -> None:
    """Begins a run whose transformer has more blocks (transformer.json) than that of the run `--old`.

    The autoencoder, its latents and the tokenizer are the old ones. New blocks stand evenly among the old and give nothing
    at first: their output projections are zero, so the grown network is the old one until it learns more.
    """
    for name in ("tokenizer", "latents", "latents.json", "vae.pt", "decoder.pt"):
        if (args.old / name).exists():
            (args.run / name).symlink_to((args.old / name).resolve())
    tokenizer = T5TokenizerFast.from_pretrained(args.run / "tokenizer")
    old = {"transformer": build_transformer(args.old), "text_encoder": models.build_text_encoder(len(tokenizer))}
    Training(args.old / "dit.pt", old, 1.0, 1.0, 1.0).load_average()
    new = {"transformer": build_transformer(args.run), "text_encoder": old["text_encoder"]}
    few, many = len(old["transformer"].blocks), len(new["transformer"].blocks)
    source = {(i + 1) * many // few - 1: i for i in range(few)}  # where each old block stands among the new
    state = old["transformer"].state_dict()
    weights = {name: value for name, value in state.items() if not name.startswith("blocks.")}
    for at in range(many):
        nearest = source.get(at, min(at * few // many, few - 1))
        prefix = f"blocks.{nearest}."
        for name, value in state.items():
            if name.startswith(prefix):
                silent = at not in source and any(part in name for part in (".to_out.0.", ".ffn.net.2."))
                weights[f"blocks.{at}." + name[len(prefix) :]] = torch.zeros_like(value) if silent else value.clone()
    new["transformer"].load_state_dict(weights)
    Training(args.run / "dit.pt", new, 1.0, 1.0, 1.0).save()


def train_tokenizer(args: argparse.Namespace) -> None:
    """The vocabulary, from the captions of the first 20,000 training clips."""
    captions = [clip.caption for clip in tqdm(data.clips(args.reel, 0, 20_000, frames=1), total=20_000, mininterval=10)]
    tokenizer = models.train_tokenizer(captions, args.run / "tokenizer")
    assert all(tokenizer.unk_token_id not in ids for ids in tokenizer(captions).input_ids)
    lengths = [len(ids) for ids in tokenizer(captions).input_ids]
    print(f"{len(tokenizer)} pieces, {len(set(captions))} captions, at most {max(lengths)} tokens")


def vae_loss(vae: nn.Module, video: Tensor, encoder_frozen: bool = False) -> tuple[Tensor, str]:
    """Reconstruction of `video` [B, 3, F, H, W] from sampled latents, with a light pull towards N(0, 1)."""
    with torch.autocast(DEVICE.type, torch.bfloat16):
        with torch.set_grad_enabled(not encoder_frozen):
            mean, logvar = models.encode(vae, video)
        latents = mean + torch.exp(0.5 * logvar) * torch.randn_like(mean)
        output = models.decode(vae, latents)
    error = output - video
    # A ball covers a hundredth of the frame: without a weight the network would rather polish the background.
    moving = (video - video.median(dim=2, keepdim=True).values).abs().amax(dim=1, keepdim=True)
    weight = 1 + 4 * (moving * 4).clamp(max=1)
    if encoder_frozen:  # the last polish goes for what is reported
        pixels, edges = (weight * 16 * error.square()).mean(), torch.zeros(())
    else:
        pixels = (weight * (error.abs() + 4 * error.square())).mean()
        edges = error.diff(dim=3).abs().mean() + error.diff(dim=4).abs().mean()
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    psnr = -10 * torch.log10(error.detach().square().mean(dim=(1, 2, 3, 4)) / 4)
    text = f"{video.shape[2]} frames psnr {psnr.mean():.1f} worst {psnr.min():.1f} kl {kl.item():.2f}"
    return pixels + 0.5 * edges + 1e-4 * kl, text


def clip_stream(reel: str, training: Training, frames: int = data.CLIP_FRAMES) -> tuple[random.Random, Any]:
    """This process's random numbers and its clips, from where the stage was stopped."""
    first = training.next_seed + RANK * SEEDS_PER_PROCESS
    rng = random.Random(training.step * PROCESSES + RANK)
    torch.manual_seed(training.step * PROCESSES + RANK)
    return rng, data.clips(reel, first, SEEDS_PER_PROCESS, frames=frames)


def train_stills(args: argparse.Namespace) -> None:
    """The VAE on single frames: most of what it must learn is in them, and they cost a fifteenth of a short clip."""
    vae = models.build_vae()
    training = Training(args.run / "stills.pt", {"vae": vae}, args.lr or 2e-3, 0.995, args.minutes, args.threads)
    rng, stream = clip_stream(args.reel, training, frames=24)

    def one_step() -> tuple[Tensor, str]:
        frames = []
        for _ in range(16):
            clip = next(stream)
            training.next_seed = clip.seed + 1
            frames += [data.to_video(clip.frames[[f]]) for f in rng.sample(range(24), 2)]
        return vae_loss(vae, torch.stack(frames).to(DEVICE))

    training.loop(one_step)


def train_vae(args: argparse.Namespace) -> None:
    """The VAE on short crops of fresh clips, from what the stills taught it."""
    vae = models.build_vae()
    if not (args.run / "vae.pt").exists():
        Training(args.run / "stills.pt", {"vae": vae}, 1.0, 1.0, 1.0).load_average()
        models.inflate(vae)
    training = Training(args.run / "vae.pt", {"vae": vae}, args.lr or 1e-3, 0.99, args.minutes, args.threads)
    rng, stream = clip_stream(args.reel, training)

    def one_step() -> tuple[Tensor, str]:
        # Small batches: many steps count for more here than smooth ones. The long crops teach the causal layers a
        # full history; single frames keep teaching what is in a picture, at a fraction of the price.
        sizes = ((1, 24), (5, 4), (9, 3), (17, 2), (33, 1))
        frames, batch = training.choose(sizes, (0.4, 0.2, 0.15, 0.1, 0.15))
        return vae_loss(vae, random_crops(stream, training, rng, frames, batch, SKIPPED))

    training.loop(one_step)


def random_crops(
    stream: Any, training: Training, rng: random.Random, frames: int, batch: int, skipped: dict[str, float]
) -> Tensor:
    """`batch` crops of `frames` frames from the next clips, [B, 3, F, H, W]; one in five from the start of the shot."""
    crops: list[Tensor] = []
    while len(crops) < batch:
        clip = next(stream)
        training.next_seed = clip.seed + 1
        # Houses and facades are full of detail; balls on white are learned soon and need fewer pictures.
        if rng.random() < skipped.get(clip.world, 0.0):
            continue
        start = 0 if rng.random() < 0.2 else rng.randint(0, data.CLIP_FRAMES - frames)
        crops.append(data.to_video(clip.frames[start : start + frames]))
    return torch.stack(crops).to(DEVICE)


def train_decoder(args: argparse.Namespace) -> None:
    """The decoder alone, for latents that a frozen encoder makes: may run when the transformer has begun."""
    vae = load_vae(args.run)
    vae.decoder.requires_grad_(True)
    modules = {"decoder": vae.decoder}
    training = Training(args.run / "decoder.pt", modules, args.lr or 5e-4, 0.99, args.minutes, args.threads)
    training.next_seed = max(training.next_seed, DECODER_SEED)
    rng, stream = clip_stream(args.reel, training)

    def one_step() -> tuple[Tensor, str]:
        frames, batch = training.choose(((1, 24), (9, 4), (17, 2), (33, 1)), (0.2, 0.4, 0.2, 0.2))
        crops = random_crops(stream, training, rng, frames, batch, SKIPPED_BY_DECODER)
        return vae_loss(vae, crops, encoder_frozen=True)

    training.loop(one_step)


def load_vae(run: Path) -> models.AutoencoderKLWan:
    """The averaged VAE of a run, with the latent statistics in its config when they are known."""
    vae = models.build_vae()
    Training(run / "vae.pt", {"vae": vae}, 1.0, 1.0, 1.0).load_average()
    if (run / "decoder.pt").exists():
        Training(run / "decoder.pt", {"decoder": vae.decoder}, 1.0, 1.0, 1.0).load_average()
    statistics = run / "latents.json"
    if statistics.exists():
        vae.register_to_config(**json.loads(statistics.read_text()))
    return vae.eval().requires_grad_(False)


def build_transformer(run: Path) -> WanTransformer3DModel:
    """In the sizes that the run's transformer.json gives: {"num_layers": 8, "num_heads": 8, "ffn_dim": 1024}."""
    sizes = run / "transformer.json"
    return models.build_transformer(**(json.loads(sizes.read_text()) if sizes.exists() else {}))


def produce_latents(args: argparse.Namespace) -> None:
    """Encodes training clips into shards without end; the first shards also give the latent statistics."""
    vae = load_vae(args.run)
    folder, batch = args.run / "latents", 16
    index = len(list(folder.glob("shard-*.pt")))
    stream = data.clips(args.reel, index * batch, data.HELD_OUT - index * batch, args.world)
    lengths = (45, 45, 65)  # room for windows that start in the middle of a shot

    def encode_next(frames: int) -> tuple[Tensor, list[data.Clip]]:
        batch_clips = [next(stream) for _ in range(batch)]
        video = torch.stack([data.to_video(clip.frames[:frames]) for clip in batch_clips]).to(DEVICE)
        with torch.no_grad(), torch.autocast(DEVICE.type, torch.bfloat16):
            return models.encode(vae, video)[0].float().cpu(), batch_clips

    waiting = []
    if not (args.run / "latents.json").exists():
        waiting = [encode_next(lengths[i % len(lengths)]) for i in range(12)]
        latents = torch.cat([mean.transpose(1, 2).flatten(0, 1) for mean, _ in waiting])
        mean, std = latents.mean(dim=(0, 2, 3)), latents.std(dim=(0, 2, 3))
        print("latent mean", mean, "std", std)
        # A channel that the VAE does not use must not be blown up to unit variance.
        std = std.clamp(min=0.25 * std.median().item())
        values = {"latents_mean": mean, "latents_std": std}
        values = {name: [round(v, 4) for v in value.tolist()] for name, value in values.items()}
        (args.run / "latents.json").write_text(json.dumps(values))
        vae.register_to_config(**values)
    mean = torch.tensor(vae.config.latents_mean).view(1, -1, 1, 1, 1)
    std = torch.tensor(vae.config.latents_std).view(1, -1, 1, 1, 1)
    for number in tqdm(range(index, args.shards), initial=index, total=args.shards, mininterval=10):
        latents, batch_clips = waiting.pop(0) if waiting else encode_next(lengths[number % len(lengths)])
        data.write_shard(folder, number, (latents - mean) / std, batch_clips)


def tokenize(tokenizer: T5TokenizerFast, captions: list[str]) -> tuple[Tensor, Tensor]:
    """Ids [B, L] padded with 0 to the longest caption, and lengths [B]."""
    rows = tokenizer(captions).input_ids
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
    return ids.to(DEVICE), lengths.to(DEVICE)


def train_dit(args: argparse.Namespace) -> None:
    """The transformer and the text encoder together, by flow matching on windows of latents."""
    tokenizer = T5TokenizerFast.from_pretrained(args.run / "tokenizer")
    transformer, text_encoder = build_transformer(args.run), models.build_text_encoder(len(tokenizer))
    modules = {"transformer": transformer, "text_encoder": text_encoder}
    training = Training(args.run / "dit.pt", modules, args.lr or 2e-3, 0.999, args.minutes, args.threads)
    pool, rng = data.LatentPool(args.run / "latents"), random.Random(training.step * PROCESSES + RANK)
    torch.manual_seed(training.step * PROCESSES + RANK)

    def one_step() -> tuple[Tensor, str]:
        if training.step % 50 == 0 or not pool.clips:
            while pool.refresh() < args.batch:
                time.sleep(5)
        # Every step costs the same: many single frames and short windows teach the scenes and the first moves
        # sooner than few long ones.
        young = training.seconds < 0.15 * 60 * training.minutes
        length = training.choose((1, 3, 5, models.WINDOW), (1, 3, 3, 3) if young else (1, 0, 2, 7))
        batch = args.batch * models.WINDOW // length
        latents, captions, num_clean = pool.windows(batch, length, rng)
        latents, num_clean = latents.to(DEVICE), num_clean.to(DEVICE)
        captions = ["" if rng.random() < 0.1 else caption for caption in captions]
        ids, lengths = tokenize(tokenizer, captions)
        # Logit-normal, then shifted as the sampler's grid is: most of the work is where objects are placed.
        sigma = torch.sigmoid(torch.randn(batch, device=DEVICE) * 1.2)
        sigma = 2 * sigma / (1 + sigma)
        noise = torch.randn_like(latents)
        level = sigma.view(-1, 1, 1, 1, 1)
        frame = torch.arange(length, device=DEVICE).view(1, 1, -1, 1, 1)
        noisy = (frame >= num_clean.view(-1, 1, 1, 1, 1)).float()
        mixed = torch.where(noisy > 0, (1 - level) * latents + level * noise, latents)
        with torch.autocast(DEVICE.type, torch.bfloat16):
            context = models.encode_text(text_encoder, ids, lengths, ids.shape[1] + 1)
            scores = models.zero_row_scores(ids, lengths)
            output = models.velocity(transformer, mixed, 1000 * sigma, num_clean, context, scores)
        error = (output - (noise - latents)).square().mean(dim=(1, 3, 4), keepdim=True)
        loss = (error * noisy).sum() / noisy.sum()
        return loss, f"frames {length} clips {len(pool.clips)}"

    training.loop(one_step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=("restore", "grow", "tokenizer", "stills", "vae", "latents", "dit", "decoder"))
    parser.add_argument("--run", type=Path, required=True, help="folder of the training state")
    parser.add_argument("--model", type=Path, help="published folder for `restore`")
    parser.add_argument("--old", type=Path, help="run folder of the generation before, for `grow`")
    parser.add_argument("--reel", default="build/release/reel", help="the program that makes the clips")
    parser.add_argument("--minutes", type=float, default=60, help="length of the stage, all sittings together")
    parser.add_argument("--shards", type=int, default=10_000, help="latent shards of 16 clips to produce at most")
    parser.add_argument("--world", default="mix", help="what the next latent shards show")
    parser.add_argument("--batch", type=int, default=12, help="full windows per step of the transformer")
    parser.add_argument("--lr", type=float, default=None, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.run.mkdir(parents=True, exist_ok=True)
    if PROCESSES > 1:
        dist.init_process_group("gloo")
    stages = {
        "restore": restore,
        "grow": grow,
        "tokenizer": train_tokenizer,
        "stills": train_stills,
        "vae": train_vae,
        "latents": produce_latents,
        "dit": train_dit,
        "decoder": train_decoder,
    }
    stages[args.stage](args)


if __name__ == "__main__":
    main()
