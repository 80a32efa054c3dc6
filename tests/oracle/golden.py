"""Golden tensors: what diffusers and transformers make of given inputs, component by component."""

import contextlib
import json
from pathlib import Path

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler, WanTransformer3DModel
from diffusers.models.embeddings import Timesteps
from diffusers.models.transformers import transformer_wan
from diffusers.utils.torch_utils import randn_tensor
from safetensors.torch import save_file

from models import EULER, UNIPC, load_pipeline, load_transformer, load_vae

PROMPT = "A red ball rolls down a wooden ramp and comes to rest against the wall."
NEGATIVE = "blurry, low quality, distorted, watermark"


class Book:
    """Writes `<name>.in`, `.out` and `.mid` safetensors below `root` and keeps the list for cases.json."""

    def __init__(self, root: Path):
        self.root, self.cases = root, []

    def add(self, name, component, folder, about, inputs=None, outputs=None, mid=None, **parameters) -> None:
        """Write one case: what goes in, what comes out, what was seen on the way."""
        case = dict(name=name, component=component, folder=folder, about=about, parameters=parameters)
        for part, tensors in (("in", inputs), ("out", outputs), ("mid", mid)):
            if not tensors:
                continue
            tensors = {key: value if value.dtype == torch.int64 else value.float() for key, value in tensors.items()}
            tensors = {key: value.detach().clone().contiguous() for key, value in tensors.items()}
            assert all(value.isfinite().all() for value in tensors.values()), name
            words = {"case": json.dumps(dict(name=name, **parameters), sort_keys=True, ensure_ascii=False)}
            save_file(tensors, self.root / f"{name}.{part}.safetensors", metadata=words)
            case[part] = {key: list(value.shape) for key, value in sorted(tensors.items())}
        self.cases.append(case)


def normal(*shape, seed: int) -> torch.Tensor:
    """Standard normal numbers of `shape` from a generator seeded with `seed`."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def tables(book: Book) -> None:
    """Rotary tables and time sinusoids."""
    out = {}
    for width in (12, 20, 128):
        rope = transformer_wan.WanRotaryPosEmbed(width, (1, 2, 2), 64)
        far = transformer_wan.WanRotaryPosEmbed(width, (1, 2, 2), 1024)
        positions = [100, 511, 1023]
        cos, sin = rope(torch.empty(1, 1, 3, 4, 10))
        # diffusers repeats every value twice, once for each member of a pair
        out |= {f"hd{width}.cos": rope.freqs_cos[:, 0::2], f"hd{width}.sin": rope.freqs_sin[:, 1::2],
                f"hd{width}.far.cos": far.freqs_cos[positions, 0::2],
                f"hd{width}.far.sin": far.freqs_sin[positions, 1::2],
                f"hd{width}.grid3x2x5.cos": cos[0, :, 0, 0::2], f"hd{width}.grid3x2x5.sin": sin[0, :, 0, 1::2]}
    book.add("rope", "rope", None, "columns: dt/2 pairs of time, dh/2 of height, dw/2 of width; rows: positions 0..63, "
             "positions 100, 511 and 1023, and the tokens of a 3x2x5 grid", outputs=out, theta=10000.0)
    timestep = torch.tensor([0, 0.5, 1, 8.928572, 250.25, 499.5, 602.15057, 750, 999, 1000])
    book.add("sinusoid", "sinusoid", None, "rows: timesteps; columns: cosines, then sines", {"timestep": timestep},
             {f"freq{n}": Timesteps(n, flip_sin_to_cos=True, downscale_freq_shift=0)(timestep) for n in (256, 64, 32)})


def noise(book: Book) -> None:
    """Initial noise of the PyTorch CPU generator, drawn as diffusers draws it."""
    shapes = [(3,), (15,), (16,), (20,), (32,), (100,), (1, 16, 3, 4, 6), (1, 12, 3, 3, 5)]
    out = {}
    for seed in (0, 42, 2**32 + 42, 2**63 - 1):
        for shape in shapes:
            name = f"seed{seed}.n{'x'.join(map(str, shape))}"
            out[name] = randn_tensor(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    book.add("noise", "noise", None, "randn of the PyTorch CPU generator; the seed and the shape are in the name",
             outputs=out)


def make_scheduler(kind: str, shift: float):
    """`unipc` or `euler` as Wan configures it, at another shift."""
    if kind == "unipc":
        return UniPCMultistepScheduler(**dict(UNIPC, flow_shift=shift))
    return FlowMatchEulerDiscreteScheduler(**dict(EULER, shift=shift))


def schedules(book: Book) -> None:
    """Timesteps and sigmas of both schedulers, and all their steps on random velocities."""
    out = {}
    for kind in ("unipc", "euler"):
        for steps in (1, 2, 4, 5, 20, 50):
            for shift in (1.0, 3.0, 5.0, 12.0):
                scheduler = make_scheduler(kind, shift)
                scheduler.set_timesteps(steps)
                out[f"{kind}.steps{steps}.shift{shift:.0f}.timesteps"] = scheduler.timesteps
                out[f"{kind}.steps{steps}.shift{shift:.0f}.sigmas"] = scheduler.sigmas
    out = {key: value.float() for key, value in out.items()}
    book.add("schedules", "schedule", None, "timesteps [steps] and sigmas [steps+1]", outputs=out)

    for kind in ("unipc", "euler"):
        for steps, shift in ((1, 3.0), (4, 3.0), (7, 5.0), (20, 12.0)):
            start, velocities = normal(1, 4, 3, 4, 6, seed=10), normal(steps, 1, 4, 3, 4, 6, seed=11)
            scheduler = make_scheduler(kind, shift)
            scheduler.set_timesteps(steps)
            sample, samples = start, []
            for t, velocity in zip(scheduler.timesteps, velocities):
                sample = scheduler.step(velocity, t, sample, return_dict=False)[0]
                samples.append(sample)
            book.add(f"scheduler_{kind}_{steps}", "scheduler", None, "samples[k] is the sample after step k",
                     {"noise": start, "velocities": velocities},
                     {"timesteps": scheduler.timesteps.float(), "sigmas": scheduler.sigmas,
                      "samples": torch.stack(samples)}, scheduler=kind, steps=steps, shift=shift)


def text_encoders(book: Book) -> None:
    """UMT5 on two padded prompts, on the empty one, and on one long enough for every position bucket."""
    pipeline = load_pipeline(book.root / "pipeline_tiny")
    encoder = pipeline.text_encoder.encoder
    for name, prompts, length in (("pair", [PROMPT, NEGATIVE], 36), ("empty", ["", "ball"], 36),
                                  ("long", [PROMPT * 8], 130)):
        words = pipeline.tokenizer(prompts, padding="max_length", max_length=length, truncation=True,
                                   return_tensors="pt")
        inputs = {"input_ids": words.input_ids, "attention_mask": words.attention_mask}
        mid = {}
        with hooked(encoder.embed_tokens, lambda module, args, output: mid.update({"embed_tokens": output})), \
                hooked(encoder.block[0], lambda module, args, output: mid.update({"block.0": output[0]})), \
                hooked(encoder.block[1], lambda module, args, output: mid.update({"block.1": output[0]})):
            hidden = pipeline.text_encoder(**inputs).last_hidden_state
        book.add(f"text_encoder_{name}", "text_encoder", "pipeline_tiny/text_encoder",
                 "only rows whose mask is 1 mean anything; block.i is the sum after layer i", inputs,
                 {"last_hidden_state": hidden}, mid if name == "pair" else None)


@contextlib.contextmanager
def hooked(module, function):
    """Call `function(module, arguments, output)` after every forward of `module` while the context lasts."""
    handle = module.register_forward_hook(function)
    try:
        yield
    finally:
        handle.remove()


def trace_transformer(model: WanTransformer3DModel, inputs: dict) -> tuple[torch.Tensor, dict]:
    """The prediction for `inputs` and what block 0 and the ends of the model saw on the way."""
    mid = {}

    def keep(name, what):
        def hook(module, args, output):
            mid.setdefault(name, what(args, output))
        return hook

    block, embedder = model.blocks[0], model.condition_embedder
    points = [
        ("patch_embedding", model.patch_embedding, lambda args, output: output.flatten(2).transpose(1, 2)),
        ("sinusoid", embedder.timesteps_proj, lambda args, output: output),
        ("temb", embedder, lambda args, output: output[0]),
        ("timestep_proj", embedder, lambda args, output: output[1].unflatten(-1, (6, -1))),
        ("context", embedder, lambda args, output: output[2]),
        ("block0.attn1.in", block.attn1, lambda args, output: args[0]),
        ("block0.attn1.norm_q", block.attn1.norm_q, lambda args, output: output),
        ("block0.attn1.norm_k", block.attn1.norm_k, lambda args, output: output),
        ("block0.attn1.out", block.attn1, lambda args, output: output),
        ("block0.after_attn1", block.norm2, lambda args, output: args[0]),
        ("block0.attn2.in", block.attn2, lambda args, output: args[0]),
        ("block0.attn2.out", block.attn2, lambda args, output: output),
        ("block0.after_attn2", block.norm3, lambda args, output: args[0]),
        ("block0.ffn.in", block.ffn, lambda args, output: args[0]),
        ("block0.ffn.out", block.ffn, lambda args, output: output),
        ("proj_out.in", model.proj_out, lambda args, output: args[0]),
        ("proj_out.out", model.proj_out, lambda args, output: output),
    ]
    points += [(f"block{i}.out", module, lambda args, output: output) for i, module in enumerate(model.blocks)]
    attend = transformer_wan.dispatch_attention_fn

    def attend_and_keep(query, key, value, **options):
        mid.setdefault("block0.attn1.q_rope", query)
        mid.setdefault("block0.attn1.k_rope", key)
        return attend(query, key, value, **options)

    transformer_wan.dispatch_attention_fn = attend_and_keep
    try:
        with contextlib.ExitStack() as stack:
            for name, module, what in points:
                stack.enter_context(hooked(module, keep(name, what)))
            sample = model(**inputs, return_dict=False)[0]
    finally:
        transformer_wan.dispatch_attention_fn = attend
    return sample, mid


def transformer_inputs(model, shape, timestep, rows: list[int], length: int, seed: int) -> dict:
    """Random latents [2,C,T,H,W] and contexts [2,length,text_dim] whose rows from rows[i] on are zero."""
    context = normal(2, length, model.config.text_dim, seed=seed + 1)
    for i, valid in enumerate(rows):
        context[i, valid:] = 0
    return dict(hidden_states=normal(2, model.config.in_channels, *shape, seed=seed), timestep=timestep,
                encoder_hidden_states=context)


def transformers(book: Book) -> None:
    """The whole transformer: three head widths, per-sample and per-token times, three storage types."""
    two_times = torch.tensor([999.0, 250.25])
    tokens = torch.tensor([[750.0], [602.15057]]).repeat(1, 3 * 3 * 2)
    tokens[0, :6] = 0  # the first frame of sample 0, the first two of sample 1
    tokens[1, :12] = 0
    hd12 = "pipeline_tiny/transformer"
    cases = [("hd12", hd12, (3, 4, 6), two_times, [29, 1], 512),
             ("hd12_blocks", hd12, (3, 6, 4), two_times, [9, 4], 9),
             ("hd12_tokens", hd12, (3, 6, 4), tokens, [5, 9], 9),
             ("hd12_one_frame", hd12, (1, 8, 4), two_times, [3, 3], 3),
             ("hd20", "dit_hd20", (4, 6, 4), two_times, [7, 2], 7),
             ("hd20_tokens", "dit_hd20", (3, 6, 4), tokens, [7, 2], 7),
             ("hd128", "dit_hd128", (3, 4, 10), two_times, [6, 11], 11),
             ("bf16", "pipeline_bf16/transformer", (3, 4, 6), two_times, [7, 2], 7),
             ("f16", "pipeline_f16/transformer", (3, 4, 6), two_times, [7, 2], 7)]
    few = ("temb", "block0.attn1.in", "block0.attn1.q_rope", "block0.attn1.k_rope", "block0.attn1.out", "block0.out")
    kept = {"hd12_blocks": None, "hd12_tokens": few, "hd20": few, "hd128": few}  # None: everything
    for i, (name, folder, shape, timestep, rows, length) in enumerate(cases):
        model = load_transformer(book.root / folder)
        inputs = transformer_inputs(model, shape, timestep, rows, length, 100 + 2 * i)
        sample, mid = trace_transformer(model, inputs)
        mid = {key: value for key, value in mid.items() if name in kept and key in (kept[name] or mid)}
        outputs = {"sample": sample}
        if name == "bf16":
            half = WanTransformer3DModel.from_pretrained(book.root / folder, torch_dtype=torch.bfloat16).eval()
            outputs["sample_bf16"] = half(inputs["hidden_states"].bfloat16(), timestep,
                                          inputs["encoder_hidden_states"].bfloat16(), return_dict=False)[0]
        book.add(f"transformer_{name}", "transformer", folder,
                 "context rows behind the prompt are zero and attended to; sample: all arithmetic in F32"
                 + ("; sample_bf16: diffusers with torch_dtype bfloat16" if name == "bf16" else ""),
                 inputs, outputs, mid)


def trace_vae(vae, run, names: list[str]) -> tuple[torch.Tensor, dict]:
    """The result of `run()` and the outputs of the named modules, the chunks joined along time."""
    seen = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        for name in names:
            keep = seen[name]
            stack.enter_context(hooked(vae.get_submodule(name), lambda m, args, output, keep=keep: keep.append(output)))
        result = run()
    return result, {name: torch.cat(chunks, 2) for name, chunks in seen.items()}


def vaes(book: Book) -> None:
    """Three autoencoders, both ways, for 1 to 4 latent frames; H and W differ."""
    for kind, folder, z_dim, first, scale in (("tiny", "pipeline_tiny/vae", 16, 200, 8), ("patch2", "vae_patch2", 12, 300, 8),
                                              ("residual", "vae_residual", 12, 400, 16)):
        vae = load_vae(book.root / folder)
        down = [f"encoder.down_blocks.{i}" for i in range(len(vae.encoder.down_blocks))]
        up = [f"decoder.up_blocks.{i}" for i in range(len(vae.decoder.up_blocks))]
        encoder = ["encoder.conv_in", *down, "encoder.mid_block", "encoder.norm_out", "encoder.conv_out", "quant_conv"]
        decoder = ["post_quant_conv", "decoder.conv_in", "decoder.mid_block", *up, "decoder.norm_out",
                   "decoder.conv_out"]
        for frames, batch, height, width in ((1, 1, 32, 48), (5, 2, 24, 16), (9, 1, 8, 16), (13, 1, 16, 24)):
            if kind == "residual" and frames == 5:
                continue  # its films are four times as large
            height, width = height * scale // 8, width * scale // 8
            latent_frames, seed = (frames + 3) // 4, first + frames
            x = torch.rand(batch, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1
            mean, mid = trace_vae(vae, lambda: vae.encode(x).latent_dist.mean, encoder)
            book.add(f"vae_{kind}_encode_{frames}", "vae_encode", folder, "AutoencoderKLWan.encode, no normalisation",
                     {"x": x}, {"mean": mean}, mid if frames == 9 and kind != "residual" else None)
            z = normal(batch, z_dim, latent_frames, height // scale, width // scale, seed=seed + 50)
            sample, mid = trace_vae(vae, lambda: vae.decode(z, return_dict=False)[0], decoder)
            book.add(f"vae_{kind}_decode_{frames}", "vae_decode", folder, "AutoencoderKLWan.decode, no normalisation",
                     {"z": z}, {"sample": sample}, mid if frames == 9 and kind != "residual" else None)


def films(book: Book) -> None:
    """Whole films by WanPipeline."""
    runs = [("unipc", "pipeline_tiny", 9, 32, 48, dict(guidance_scale=5.0, negative_prompt=NEGATIVE)),
            ("euler", "pipeline_euler", 13, 48, 16, dict(guidance_scale=1.0)),
            ("euler_cfg", "pipeline_euler", 5, 32, 16, dict(guidance_scale=5.0)),
            ("expand", "pipeline_expand", 5, 32, 48, dict(guidance_scale=5.0, negative_prompt=NEGATIVE)),
            ("seed", "pipeline_tiny", 9, 16, 32, dict(guidance_scale=4.0, seed=42)),
            ("long_prompt", "pipeline_tiny", 1, 48, 32, dict(guidance_scale=6.0, prompt=PROMPT * 40))]
    for name, folder, frames, height, width, options in runs:
        pipeline = load_pipeline(book.root / folder)
        parameters = dict(dict(prompt=PROMPT, height=height, width=width, num_frames=frames, num_inference_steps=4),
                          **options)
        call = {key: value for key, value in parameters.items() if key != "seed"}
        shape = (1, 16, (frames + 3) // 4, height // 8, width // 8)
        if "seed" in options:
            start = randn_tensor(shape, generator=torch.Generator().manual_seed(options["seed"]))
            call["generator"] = torch.Generator().manual_seed(options["seed"])
        else:
            start = call["latents"] = normal(*shape, seed=400 + frames)
        steps = []

        def keep(pipe, i, t, values):
            steps.append(values["latents"])
            return values

        video = pipeline(**call, output_type="np", callback_on_step_end=keep).frames[0]
        book.add(f"pipeline_{name}", "pipeline", folder,
                 "in: latents are the noise, of the seed where one is named; out: latents before latents_mean and "
                 "latents_std are applied; steps[k]: latents after step k", {"latents": start},
                 {"latents": steps[-1], "video": torch.from_numpy(video)},
                 None if name == "long_prompt" else {"steps": torch.stack(steps), **contexts(pipeline, parameters)},
                 **parameters)


def contexts(pipeline, parameters: dict) -> dict:
    """Valid rows of the text encoder's output for both prompts of a run."""
    texts = {"context": parameters["prompt"], "negative_context": parameters.get("negative_prompt", "")}
    if parameters["guidance_scale"] <= 1:
        del texts["negative_context"]
    result = {}
    for key, text in texts.items():
        rows = pipeline.encode_prompt(text, do_classifier_free_guidance=False, max_sequence_length=512)[0][0]
        result[key] = rows[rows.abs().sum(1) > 0]
    return result


def conditioned_films(book: Book) -> None:
    """Films that begin with given frames: the image mode of expand_timesteps with n clean latent frames."""
    pipeline = load_pipeline(book.root / "pipeline_expand")
    mean = torch.tensor(pipeline.vae.config.latents_mean).view(1, -1, 1, 1, 1)
    reciprocal = 1.0 / torch.tensor(pipeline.vae.config.latents_std).view(1, -1, 1, 1, 1)
    for n in (1, 2):
        frames = torch.rand(1, 3, 4 * n - 3, 16, 32, generator=torch.Generator().manual_seed(500 + n)) * 2 - 1
        clean = (pipeline.vae.encode(frames).latent_dist.mode() - mean) * reciprocal
        start = normal(1, 16, 3, 2, 4, seed=510 + n)
        condition, mask = torch.zeros_like(start), torch.ones_like(start)
        condition[:, :, :n], mask[:, :, :n] = clean, 0
        parameters = dict(prompt=PROMPT, negative_prompt=NEGATIVE, height=16, width=32, num_frames=9,
                          num_inference_steps=4, guidance_scale=5.0)
        positive, negative = pipeline.encode_prompt(PROMPT, NEGATIVE, max_sequence_length=512)
        pipeline.scheduler.set_timesteps(4)
        latents, steps = start, []
        for t in pipeline.scheduler.timesteps:
            merged = (1 - mask) * condition + mask * latents
            timestep = (mask[0, 0, :, ::2, ::2] * t).flatten()[None]
            velocity = pipeline.transformer(merged, timestep, positive, return_dict=False)[0]
            without = pipeline.transformer(merged, timestep, negative, return_dict=False)[0]
            latents = pipeline.scheduler.step(without + 5.0 * (velocity - without), t, latents, return_dict=False)[0]
            steps.append(latents)
        latents = (1 - mask) * condition + mask * latents
        video = pipeline.vae.decode(latents / reciprocal + mean, return_dict=False)[0]
        video = pipeline.video_processor.postprocess_video(video, output_type="np")[0]
        book.add(f"pipeline_condition_{n}", "pipeline", "pipeline_expand",
                 f"the first {n} latent frames are given: condition = normalised mean of VAE.encode(frames); "
                 "steps[k]: the unmerged sample after step k; out: latents are merged",
                 {"latents": start, "condition": clean, "frames": frames},
                 {"latents": latents, "video": torch.from_numpy(video)}, {"steps": torch.stack(steps)}, **parameters)
