#!/usr/bin/env python3
"""One forward of diffusers' WanTransformer3DModel in the published shape of Wan2.1-T2V-1.3B with random weights: JSON as
torch_peers.py prints it, plus the peak memory. In bf16 the parts stay f32 that diffusers keeps there when it loads a folder.

    torch_wan_step.py [--attention=diffusers|fastest] [--benchmark_filter=REGEX] [--benchmark_list_tests] ...

Needs torch and diffusers; installs and downloads nothing. 6 GB of memory in f32. `diffusers` is attention as the library calls
it; `fastest` the fastest way of PyTorch here (see torch_peers.py). Takes minutes: the flops of 1,560 tokens are 4.5e12.
"""
import os
import resource
import sys

from torch_peers import fastest_attention, half_profile, median_seconds, need, run, thread_counts

CONFIG = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 12,
    "attention_head_dim": 128,
    "in_channels": 16,
    "out_channels": 16,
    "text_dim": 4096,
    "freq_dim": 256,
    "ffn_dim": 8960,
    "num_layers": 30,
    "cross_attn_norm": True,
    "qk_norm": "rms_norm_across_heads",
    "eps": 1e-6,
    "rope_max_seq_len": 1024,
}
LATENTS = {1560: (1, 60, 104), 8190: (21, 30, 52)}  # tokens -> frames, rows, columns; a token is 2 x 2
TEXT_TOKENS = 512
KEPT_IN_F32 = {"rope", "time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"}


def flops(tokens):
    """Products and attention of all blocks."""
    width, ffn = CONFIG["num_attention_heads"] * CONFIG["attention_head_dim"], CONFIG["ffn_dim"]
    linear = 2 * tokens * (6 * width * width + 2 * width * ffn) + 2 * TEXT_TOKENS * 2 * width * width
    return CONFIG["num_layers"] * (linear + 4 * tokens * (tokens + TEXT_TOKENS) * width)


def make_model(torch, dtype):
    from diffusers import WanTransformer3DModel

    torch.manual_seed(1)
    model = WanTransformer3DModel(**CONFIG).eval()
    for name, value in [*model.named_parameters(), *model.named_buffers()]:
        if dtype != torch.float32 and value.is_floating_point() and not KEPT_IN_F32 & set(name.split(".")):
            value.data = value.data.to(dtype)
    return model


def main():
    need("torch", "diffusers")
    os.environ["HF_HUB_OFFLINE"] = "1"
    attention = "diffusers"
    if len(sys.argv) > 1 and sys.argv[1].startswith("--attention="):
        attention = sys.argv.pop(1).split("=")[1]
        if attention not in ("diffusers", "fastest"):
            sys.exit("--attention is diffusers or fastest")
    tests = {
        f"wan_1.3b_step/{profile}/{tokens}/threads:{threads}": (dtype, tokens, threads)
        for dtype, profile in (("f32", "f32"), ("bf16", half_profile()))
        for tokens in LATENTS
        for threads in thread_counts()
    }
    model_of = {}  # one at a time: the memory is that of one

    def measure(test, min_time):
        import torch

        dtype_name, tokens, threads = test
        torch.set_num_threads(threads)
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype_name]
        if dtype not in model_of:
            model_of.clear()
            model_of[dtype] = make_model(torch, dtype)
        latents = torch.randn(1, CONFIG["in_channels"], *LATENTS[tokens]).to(dtype)
        text, when = torch.randn(1, TEXT_TOKENS, CONFIG["text_dim"]).to(dtype), torch.tensor([500])
        library = torch.nn.functional.scaled_dot_product_attention
        chosen = {}  # keys -> way

        def fastest(query, key, value, **rest):
            assert rest.get("attn_mask") is None and not rest.get("dropout_p") and not rest.get("is_causal"), rest
            if key.shape[2] not in chosen:
                chosen[key.shape[2]] = fastest_attention(torch, library, query, key, value)
            return chosen[key.shape[2]][1](query, key, value)

        def forward():
            return model_of[dtype](latents, when, text, return_dict=False)[0]

        with torch.no_grad():
            try:
                if attention == "fastest":
                    torch.nn.functional.scaled_dot_product_attention = fastest
                out = forward()
                if out.shape != latents.shape or not out.isfinite().all():
                    raise ArithmeticError(f"{list(out.shape)} or not finite")
                median, runs = median_seconds(forward, min_time)
            finally:
                torch.nn.functional.scaled_dot_product_attention = library
        ways = ", ".join(f"{keys} keys {way[0]}" for keys, way in sorted(chosen.items())) or "as diffusers calls it"
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return median, runs, f"attention: {ways}; peak {memory:.1f} GiB so far", flops(tokens)

    def peer():
        import diffusers
        import torch

        return f"diffusers {diffusers.__version__} on PyTorch {torch.__version__.split('+')[0]}"

    run(tests, measure, peer, sys.argv[1:])


if __name__ == "__main__":
    main()
