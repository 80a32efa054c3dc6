"""Tiny random models in the shape of Wan, and the folders that hold them."""

import copy
import json
import shutil
from pathlib import Path

import torch
from diffusers import (AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler, WanPipeline,
                       WanTransformer3DModel)
from transformers import T5TokenizerFast, UMT5Config, UMT5EncoderModel

from tokens import build_tokenizer

DIT_HD12 = dict(num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16, text_dim=32,
                freq_dim=256, ffn_dim=32, num_layers=2, rope_max_seq_len=64)
DIT_HD20 = dict(DIT_HD12, num_attention_heads=3, attention_head_dim=20, in_channels=12, out_channels=12, ffn_dim=48,
                freq_dim=32, num_layers=1)
DIT_HD128 = dict(DIT_HD12, num_attention_heads=1, attention_head_dim=128, freq_dim=32, num_layers=1)
UMT5 = dict(vocab_size=300, d_model=32, num_heads=4, d_kv=8, d_ff=64, num_layers=2, feed_forward_proj="gated-gelu",
            tie_word_embeddings=False, is_encoder_decoder=False, use_cache=False)
VAE = dict(base_dim=4, z_dim=16, dim_mult=[1, 2, 2, 2], num_res_blocks=1, temperal_downsample=[False, True, True])
VAE_PATCH2 = dict(base_dim=8, z_dim=12, dim_mult=[1, 2, 4], num_res_blocks=1, temperal_downsample=[True, True],
                  in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=8, is_residual=False)
VAE_RESIDUAL = dict(base_dim=4, decoder_base_dim=4, z_dim=12, dim_mult=[1, 2, 4, 4], num_res_blocks=1,
                    temperal_downsample=[False, True, True], in_channels=12, out_channels=12, patch_size=2,
                    scale_factor_spatial=16, is_residual=True)
UNIPC = dict(prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0)
EULER = dict(num_train_timesteps=1000, shift=3.0)


@torch.no_grad()
def randomise(model: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Overwrite every parameter by random values that keep activations near one; returns the model in eval mode.

    Norm weights 1 + 0.2 n, biases 0.1 n, modulation tables 0.3 n, embedding and position-bias tables n, every other
    weight n / sqrt(fan in), with n drawn from N(0, 1) in the order of the parameters' names.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sorted(model.named_parameters()):
        n = torch.randn(parameter.shape, generator=generator)
        if name.endswith("bias"):
            n *= 0.1
        elif name.endswith("gamma") or "norm" in name:
            n = 1 + 0.2 * n
        elif name.endswith("scale_shift_table"):
            n *= 0.3
        elif "relative_attention_bias" not in name and "shared" not in name:
            n /= (n.numel() / n.shape[0]) ** 0.5
            if "condition_embedder" in name:
                n *= 1.5  # time and text must be heard
            if name == "decoder.conv_out.weight":
                n *= 0.4  # the decoder clamps to [-1, 1]
        parameter.copy_(n)
    return model.eval().requires_grad_(False)


def latent_statistics(z_dim: int, seed: int) -> dict:
    """Means and deviations of the latents: random, four decimals as in the published file."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(z_dim, generator=generator) * 0.3
    std = 0.5 + torch.rand(z_dim, generator=generator)
    return dict(latents_mean=[round(v, 4) for v in mean.tolist()], latents_std=[round(v, 4) for v in std.tolist()])


def write_folders(root: Path) -> None:
    """Write every model folder below `root`; all random numbers are fixed here."""
    transformer = randomise(WanTransformer3DModel(**DIT_HD12), 1)
    vae = randomise(AutoencoderKLWan(**VAE, **latent_statistics(VAE["z_dim"], 2)), 3)
    text_encoder = randomise(UMT5EncoderModel(UMT5Config(**UMT5)), 4)
    words = root / "tokenizer"
    tokenizer = build_tokenizer(words)

    def save(name, scheduler, **options):
        WanPipeline(scheduler=scheduler, tokenizer=tokenizer, text_encoder=text_encoder, vae=vae,
                    transformer=transformer, expand_timesteps=name == "pipeline_expand").save_pretrained(
                        root / name, **options)

    save("pipeline_tiny", UniPCMultistepScheduler(**UNIPC))
    save("pipeline_expand", UniPCMultistepScheduler(**UNIPC))
    save("pipeline_euler", FlowMatchEulerDiscreteScheduler(**EULER))
    save("pipeline_sharded", UniPCMultistepScheduler(**UNIPC), max_shard_size="48KB")
    shorten(root / "pipeline_sharded" / "vae" / "config.json")
    shutil.rmtree(root / "pipeline_tiny" / "tokenizer")  # saving a loaded tokenizer rounds its scores
    words.rename(root / "pipeline_tiny" / "tokenizer")
    link(root / "pipeline_expand", "tokenizer", "text_encoder", "transformer", "vae")
    link(root / "pipeline_euler", "tokenizer", "text_encoder", "transformer", "vae")
    link(root / "pipeline_sharded", "tokenizer")
    for name, dtype in (("pipeline_bf16", torch.bfloat16), ("pipeline_f16", torch.float16)):
        copy.deepcopy(transformer).to(dtype).save_pretrained(root / name / "transformer")

    randomise(WanTransformer3DModel(**DIT_HD20), 5).save_pretrained(root / "dit_hd20")
    randomise(WanTransformer3DModel(**DIT_HD128), 6).to(torch.bfloat16).save_pretrained(root / "dit_hd128")
    vae = randomise(AutoencoderKLWan(**VAE_PATCH2, **latent_statistics(VAE_PATCH2["z_dim"], 7)), 8)
    vae.to(torch.bfloat16).save_pretrained(root / "vae_patch2")
    vae = randomise(AutoencoderKLWan(**VAE_RESIDUAL, **latent_statistics(VAE_RESIDUAL["z_dim"], 9)), 10)
    vae.to(torch.bfloat16).save_pretrained(root / "vae_residual")


def link(folder: Path, *names: str) -> None:
    """Replace parts of a pipeline folder by links to the same parts of pipeline_tiny."""
    for name in names:
        shutil.rmtree(folder / name)
        (folder / name).symlink_to(f"../pipeline_tiny/{name}")


def shorten(config: Path) -> None:
    """Leave out of a VAE config what the one published with Wan 2.1 does not say either."""
    words = json.loads(config.read_text())
    for key in ("is_residual", "in_channels", "out_channels", "patch_size", "scale_factor_temporal",
                "scale_factor_spatial", "decoder_base_dim"):
        del words[key]
    config.write_text(json.dumps(words, indent=2, sort_keys=True) + "\n")


def load_transformer(folder: Path) -> WanTransformer3DModel:
    """The transformer of `folder` in F32, whatever it is stored in."""
    return WanTransformer3DModel.from_pretrained(folder, torch_dtype=torch.float32).eval()


def load_vae(folder: Path) -> AutoencoderKLWan:
    """The VAE of `folder` in F32, whatever it is stored in."""
    return AutoencoderKLWan.from_pretrained(folder, torch_dtype=torch.float32).eval()


def load_pipeline(folder: Path) -> WanPipeline:
    """The whole pipeline of `folder` in F32; checks that the text encoder's embeddings were really loaded."""
    pipeline = WanPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert not pipeline.text_encoder.training and isinstance(pipeline.tokenizer, T5TokenizerFast)
    assert pipeline.text_encoder.encoder.embed_tokens.weight.abs().sum() > 0
    return pipeline
