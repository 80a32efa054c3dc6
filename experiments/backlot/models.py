"""The four networks of the reference pipeline, and exact fast paths through them for training.

Every network is diffusers' or transformers' own class; nothing here adds a parameter. The fast paths run the same
modules in another order, so that training on a CPU is affordable:

* `encode` / `decode` run the VAE over a whole clip at once instead of one chunk of four frames at a time;
* `velocity` runs the transformer with two timesteps per sample (clean tokens and noisy tokens) instead of one per
  token, and with one key for all zero rows of the text instead of up to 512.

`check.py` holds them against the stock classes.

Shapes: B samples, F frames, H x W pixels, C latent channels, T = (F - 1) / 4 + 1 latent frames, h = H / 8, w = W / 8,
N = T * h/2 * w/2 tokens, L text rows, S = 512 text rows that the pipeline feeds, D model width.
"""

from __future__ import annotations

import math
from pathlib import Path

import sentencepiece
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_wan import patchify, unpatchify
from torch import Tensor
from transformers import T5Tokenizer, T5TokenizerFast, UMT5Config, UMT5EncoderModel

HEIGHT = WIDTH = 64
FPS = 16
NUM_FRAMES = 33
LATENT_CHANNELS = 32
WINDOW = 9  # latent frames the transformer sees: 33 frames
TEXT_ROWS = 512  # hard-coded by the pipeline
TEXT_DIM = 64


# ---------------------------------------------------------------------------------------------------------------------
# Building


def build_vae() -> AutoencoderKLWan:
    """A small VAE: pixels in 2 x 2 patches, two levels down; 64 x 64 x 33 -> 32 x 9 x 8 x 8."""
    return AutoencoderKLWan(
        base_dim=32,
        z_dim=LATENT_CHANNELS,
        dim_mult=[1, 2, 3],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
        is_residual=False,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )


def build_text_encoder(vocab_size: int) -> UMT5EncoderModel:
    """A two-layer UMT5 encoder, no dropout."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=vocab_size,
            d_model=TEXT_DIM,
            d_kv=16,
            d_ff=160,
            num_layers=2,
            num_heads=4,
            relative_attention_num_buckets=32,
            relative_attention_max_distance=128,
            dropout_rate=0.0,
            layer_norm_epsilon=1e-6,
            feed_forward_proj="gated-gelu",
            is_encoder_decoder=False,
            tie_word_embeddings=False,
            pad_token_id=0,
            eos_token_id=1,
            decoder_start_token_id=0,
        )
    )


def build_transformer(num_layers: int = 6, num_heads: int = 6, ffn_dim: int = 768) -> WanTransformer3DModel:
    """Heads of 32. The default is the first generation's."""
    model = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=num_heads,
        attention_head_dim=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_DIM,
        freq_dim=128,
        ffn_dim=ffn_dim,
        num_layers=num_layers,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        eps=1e-6,
        rope_max_seq_len=1024,
    )
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
    embedder = model.condition_embedder
    for linear in (embedder.time_embedder.linear_1, embedder.time_embedder.linear_2, embedder.time_proj):
        torch.nn.init.normal_(linear.weight, std=0.02)
    # The head starts as the inverse of the patch embedding: noise in, noise out, which is most of a velocity.
    width, inputs = model.patch_embedding.weight.flatten(1).shape
    basis = torch.nn.init.orthogonal_(torch.empty(width, inputs))
    with torch.no_grad():
        model.patch_embedding.weight.copy_(basis.view_as(model.patch_embedding.weight))
        torch.nn.init.zeros_(model.patch_embedding.bias)
        head = basis.view(width, LATENT_CHANNELS, 2, 2).permute(2, 3, 1, 0)  # (ih, iw, c) in the head's rows
        model.proj_out.weight.copy_(head.reshape(inputs, width) * math.sqrt(inputs / width))
    return model


def build_scheduler() -> UniPCMultistepScheduler:
    """UniPC as the published Wan folders configure it."""
    return UniPCMultistepScheduler(
        num_train_timesteps=1000,
        solver_order=2,
        solver_type="bh2",
        prediction_type="flow_prediction",
        predict_x0=True,
        lower_order_final=True,
        use_flow_sigmas=True,
        flow_shift=3.0,
        final_sigmas_type="zero",
    )


def train_tokenizer(captions: list[str], folder: Path, vocab_size: int = 384) -> T5TokenizerFast:
    """Trains a unigram vocabulary with umT5's special ids (pad 0, eos 1, bos 2, unk 3) and saves it to `folder`.

    All printable ASCII is in the vocabulary, so that any English prompt has pieces, if not trained ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "captions.txt"
    text.write_text("\n".join(captions))
    sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "spiece"),
        model_type="unigram",
        vocab_size=vocab_size,
        hard_vocab_limit=False,
        character_coverage=1.0,
        required_chars="".join(chr(c) for c in range(33, 127)),
        normalization_rule_name="identity",
        byte_fallback=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        pad_piece="<pad>",
        eos_piece="</s>",
        bos_piece="<s>",
        unk_piece="<unk>",
        minloglevel=2,
    )
    text.unlink()
    (folder / "spiece.vocab").unlink()
    (folder / "spiece.model").rename(folder / "trained.model")
    slow = T5Tokenizer(str(folder / "trained.model"), extra_ids=0, legacy=True, model_max_length=TEXT_ROWS)
    slow.save_pretrained(folder)
    fast = T5TokenizerFast.from_pretrained(folder, extra_ids=0, legacy=True)
    fast.save_pretrained(folder)
    (folder / "trained.model").unlink()
    return fast


# ---------------------------------------------------------------------------------------------------------------------
# VAE over a whole clip


def _causal(x: Tensor, conv: torch.nn.Conv3d) -> Tensor:
    """A causal convolution on its whole stream: zero frames in front, none behind."""
    kt, kh, kw = conv.kernel_size
    if kt > 1 and x.shape[2] == 1:  # a still: the other taps would only meet zeros
        y = F.conv2d(x[:, :, 0], conv.weight[:, :, -1], conv.bias, padding=(kh // 2, kw // 2))
        return y.unsqueeze(2)
    if kt > 1:
        x = F.pad(x, (0, 0, 0, 0, kt - 1, 0))
    return F.conv3d(x, conv.weight, conv.bias, padding=(0, kh // 2, kw // 2))


def _norm(x: Tensor, norm: torch.nn.Module) -> Tensor:
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True).clamp_min(1e-12)
    gamma = norm.gamma.view(1, -1, 1, 1, 1).to(x.dtype)  # products of mixed types are slow
    return x * (norm.scale / length) * gamma


def _residual(x: Tensor, block: torch.nn.Module) -> Tensor:
    shortcut = x if isinstance(block.conv_shortcut, torch.nn.Identity) else _causal(x, block.conv_shortcut)
    x = _causal(F.silu(_norm(x, block.norm1)), block.conv1)
    return _causal(F.silu(_norm(x, block.norm2)), block.conv2) + shortcut


def _mid(x: Tensor, block: torch.nn.Module) -> Tensor:
    x = _residual(x, block.resnets[0])
    x = block.attentions[0](x)
    return _residual(x, block.resnets[1])


def _per_frame(x: Tensor, layers: torch.nn.Module) -> Tensor:
    b, c, t, h, w = x.shape
    x = x.transpose(1, 2).reshape(b * t, c, h, w)
    x = layers(x)
    return x.unflatten(0, (b, t)).transpose(1, 2).contiguous(memory_format=torch.channels_last_3d)


def _down(x: Tensor, layer: torch.nn.Module) -> Tensor:
    """Half the height and width, then every second frame; the first frame skips the time convolution."""
    x = _per_frame(x, layer.resample)
    if x.shape[2] == 1:
        return x
    rest = F.conv3d(x, layer.time_conv.weight, layer.time_conv.bias, stride=(2, 1, 1))
    return torch.cat([x[:, :, :1], rest], dim=2)


def _up(x: Tensor, layer: torch.nn.Module) -> Tensor:
    """Two frames of every frame but the first, which the time convolution never sees; then twice the size."""
    b, c, t, h, w = x.shape
    if t > 1:
        rest = _causal(x[:, :, 1:], layer.time_conv)
        rest = rest.unflatten(1, (2, c)).permute(0, 2, 3, 1, 4, 5).reshape(b, c, 2 * (t - 1), h, w)
        x = torch.cat([x[:, :, :1], rest], dim=2)
    return _per_frame(x, layer.resample)


@torch.no_grad()
def inflate(vae: AutoencoderKLWan) -> None:
    """Makes a VAE that was trained on stills treat a film as stills: the last of every four, shown four times."""
    for name, module in vae.named_modules():
        if isinstance(module, torch.nn.Conv3d) and module.kernel_size[0] == 3:
            module.weight[:, :, :-1] = 0
            if name.endswith("time_conv"):
                module.weight.zero_()
                module.bias.zero_()
                for i in range(module.out_channels):
                    # Down: the last of the three frames it sees. Up: the frame itself, for the even and the odd one.
                    module.weight[i, i % module.in_channels, -1] = 1


def encode(vae: AutoencoderKLWan, video: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log-variance [B, C, T, h, w] of `video` [B, 3, F, H, W] in [-1, 1], F = 4 (T - 1) + 1."""
    encoder = vae.encoder
    x = patchify(video, 2).contiguous(memory_format=torch.channels_last_3d)
    x = _causal(x, encoder.conv_in)
    for layer in encoder.down_blocks:
        x = _down(x, layer) if hasattr(layer, "resample") else _residual(x, layer)
    x = _mid(x, encoder.mid_block)
    x = _causal(F.silu(_norm(x, encoder.norm_out)), encoder.conv_out)
    mean, logvar = _causal(x, vae.quant_conv).float().chunk(2, dim=1)
    return mean, logvar.clamp(-30.0, 20.0)


def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Video [B, 3, F, H, W], not clamped, of raw (denormalised) latents [B, C, T, h, w]."""
    decoder = vae.decoder
    x = latents.contiguous(memory_format=torch.channels_last_3d)
    x = _causal(_causal(x, vae.post_quant_conv), decoder.conv_in)
    x = _mid(x, decoder.mid_block)
    for block in decoder.up_blocks:
        for resnet in block.resnets:
            x = _residual(x, resnet)
        if block.upsamplers is not None:
            x = _up(x, block.upsamplers[0])
    x = _causal(F.silu(_norm(x, decoder.norm_out)), decoder.conv_out)
    return unpatchify(x.float().contiguous(), 2)


# ---------------------------------------------------------------------------------------------------------------------
# Text and velocity


def encode_text(
    text_encoder: UMT5EncoderModel, ids: Tensor, lengths: Tensor, rows: int = TEXT_ROWS
) -> Tensor:
    """Context [B, rows, text_dim] of `ids` [B, L] (padded with 0): valid rows, then zero rows, as the pipeline does."""
    valid = torch.arange(ids.shape[1], device=ids.device)[None] < lengths[:, None]
    hidden = text_encoder(input_ids=ids, attention_mask=valid.long()).last_hidden_state
    hidden = hidden * valid[..., None]
    return F.pad(hidden, (0, 0, 0, rows - ids.shape[1]))


def zero_row_scores(ids: Tensor, lengths: Tensor) -> Tensor:
    """Additive scores [B, 1, 1, L + 1] for contexts cut to L + 1 rows: the last row stands for all zero rows.

    All zero rows have one key and one value, so one of them with log(count) added to its score is exact.
    """
    columns = torch.arange(ids.shape[1], device=ids.device)[None]
    scores = torch.zeros(ids.shape[0], ids.shape[1] + 1, device=ids.device)
    scores[:, :-1].masked_fill_(columns >= lengths[:, None], -math.inf)
    scores[:, -1] = torch.log((TEXT_ROWS - lengths).float())
    return scores[:, None, None, :]


def _rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Interleaved rotary pairs; x [B, N, heads, d] f32, rotation [N, 1, d / 2] complex."""
    return torch.view_as_real(torch.view_as_complex(x.unflatten(-1, (-1, 2))) * rotation).flatten(-2)


def _attention(
    attn: torch.nn.Module, x: Tensor, source: Tensor, rotation: Tensor | None, scores: Tensor | None
) -> Tensor:
    heads = (attn.heads, -1)
    if source is x:
        weight = torch.cat([attn.to_q.weight, attn.to_k.weight, attn.to_v.weight])
        bias = torch.cat([attn.to_q.bias, attn.to_k.bias, attn.to_v.bias])
        q, k, v = F.linear(x, weight, bias).float().chunk(3, dim=-1)
    else:
        q, k, v = attn.to_q(x).float(), attn.to_k(source).float(), attn.to_v(source).float()
    q, k = attn.norm_q(q).unflatten(2, heads), attn.norm_k(k).unflatten(2, heads)
    if rotation is not None:
        q, k = _rotate(q, rotation), _rotate(k, rotation)
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.unflatten(2, heads).transpose(1, 2)
    # Measured on a CPU with bf16: matrix products gain from it, the attention kernel loses.
    with torch.autocast(x.device.type, enabled=False):
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=scores)
    return attn.to_out[0](y.transpose(1, 2).flatten(2))


def velocity(
    model: WanTransformer3DModel,
    latents: Tensor,
    timestep: Tensor,
    num_clean: Tensor,
    context: Tensor,
    scores: Tensor | None = None,
) -> Tensor:
    """Predicted velocity [B, C, T, h, w] of normalised `latents` whose first `num_clean` [B] latent frames are clean.

    `timestep` [B] is that of the noisy tokens; clean tokens have 0. `context` [B, L, text_dim]; `scores` as from
    `zero_row_scores`, or None when `context` holds all 512 rows.
    """
    b, _, t, h, w = latents.shape
    tokens_per_frame = (h // 2) * (w // 2)
    cos, sin = (y[0] for y in model.rope(latents))  # [N, 1, d], every value twice
    rotation = torch.complex(cos[..., 0::2].float(), sin[..., 1::2].float())
    embedder = model.condition_embedder

    x = model.patch_embedding(latents).flatten(2).transpose(1, 2).float()
    both = torch.stack([torch.zeros_like(timestep), timestep], dim=1).flatten()
    temb = embedder.time_embedder(embedder.timesteps_proj(both))
    tproj = embedder.time_proj(embedder.act_fn(temb)).float().view(b, 2, 1, 6, -1)
    temb = temb.float().view(b, 2, 1, -1)
    text = embedder.text_embedder(context)
    noisy = (torch.arange(t, device=latents.device)[None] >= num_clean[:, None]).float()[:, :, None, None]

    def per_frame(pair: Tensor) -> Tensor:
        """[B, 2, 1, D] -> [B, T, 1, D]: the first of the pair on clean frames, the second on noisy ones."""
        return pair[:, :1] + noisy * (pair[:, 1:] - pair[:, :1])

    def modulate(y: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        y = F.layer_norm(y, y.shape[-1:], eps=model.config.eps).view(b, t, tokens_per_frame, -1)
        return (y * (1 + scale) + shift).flatten(1, 2)

    def gated(y: Tensor, gate: Tensor) -> Tensor:
        return (y.float().view(b, t, tokens_per_frame, -1) * gate).flatten(1, 2)

    for block in model.blocks:
        shift1, scale1, gate1, shift2, scale2, gate2 = (
            per_frame(y) for y in (block.scale_shift_table.view(1, 1, 1, 6, -1) + tproj).unbind(3)
        )
        u = modulate(x, shift1, scale1)
        x = x + gated(_attention(block.attn1, u, u, rotation, None), gate1)
        x = x + _attention(block.attn2, block.norm2(x), text, None, scores).float()
        x = x + gated(block.ffn(modulate(x, shift2, scale2)), gate2)

    shift, scale = (per_frame(y) for y in (model.scale_shift_table.view(1, 1, 2, 1, -1) + temb[:, :, None]).unbind(2))
    y = model.proj_out(modulate(x, shift, scale)).float()
    y = y.view(b, t, h // 2, w // 2, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
    return y.reshape(b, -1, t, h, w)
