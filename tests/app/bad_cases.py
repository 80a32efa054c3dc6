"""What bad_input.py runs: bad experiments, models, weights, launches, places, tensors, and what must be said about each."""
import array
import json
import os
import shutil
import struct

NOBODY = 65534  # user without rights

CASES = []


def case(name, code, *says, **options):
    """A run that must end with `code` and a message holding each of `says`. Options: see Runner.run in bad_input.py."""
    CASES.append((name, code, says, options))


# ---- making things

GOOD = {
    "shot.prompt": '"a ball falls"', "shot.frames": "5", "shot.size": "[32, 32]", "model.path": '"model"',
    "sampler.steps": "1", "sampler.guidance": "1.0", "output.dir": '"out"', "output.video": '"none"', "run.threads": "1",
}


def toml(**changes):
    """A small good experiment; `shot__frames="9"` changes a key, None leaves it out."""
    keys = dict(GOOD, **{key.replace("__", "."): value for key, value in changes.items()})
    return "reel = 1\n" + "".join(f"{key} = {value}\n" for key, value in keys.items() if value is not None)


def read_safetensors(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8:8 + size]), data[8 + size:]


def write_safetensors(path, header, data):
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def tensors(path, **entries):
    """Small F32 (or given dtype) tensors: name=(shape[, dtype[, value]])."""
    header, data = {}, b""
    for name, (shape, *rest) in entries.items():
        dtype, value = (rest + ["F32", 0][len(rest):])[:2]
        count = 1
        for extent in shape:
            count *= extent
        code = {"F32": "f", "I64": "q", "F64": "d"}[dtype]
        raw = array.array(code, [value]) * count
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(raw.tobytes())]}
        data += raw.tobytes()
    write_safetensors(path, header, data)


WEIGHTS = {"transformer": "transformer/diffusion_pytorch_model.safetensors",
           "vae": "vae/diffusion_pytorch_model.safetensors", "text_encoder": "text_encoder/model.safetensors"}


def header_edit(component, edit):
    """Damage: `edit(header)` changes the header of the weights of a component."""
    def damage(folder):
        path = folder / "model" / WEIGHTS[component]
        header, data = read_safetensors(path)
        edit(header)
        write_safetensors(path, header, data)
    return damage


def bytes_edit(file, edit):
    def damage(folder):
        path = folder / file
        path.write_bytes(edit(path.read_bytes()))
    return damage


def json_edit(file, edit):
    def damage(folder):
        path = folder / file
        value = json.loads(path.read_text())
        edit(value)
        path.write_text(json.dumps(value))
    return damage


def remove(file):
    def damage(folder):
        path = folder / file
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return damage


def folder_instead(file):
    def damage(folder):
        (folder / file).unlink()
        (folder / file).mkdir()
    return damage


def not_a_number(component):
    """Damage: NaN in the first weights of the first block of a component."""
    def damage(folder):
        path = folder / "model" / WEIGHTS[component]
        header, data = read_safetensors(path)
        for name in sorted(header):
            entry = header[name]
            early = "blocks.0" in name or "block.0" in name or "conv_in" in name
            if early and name.endswith(".weight") and entry["dtype"] == "F32":
                at = entry["data_offsets"][0]
                data = data[:at] + struct.pack("<f", float("nan")) + data[at + 4:]
        write_safetensors(path, header, data)
    return damage


def first(header):
    return min(name for name in header if name != "__metadata__")


# ---- cases: experiment files

RUN = ("run", "-q", "e.toml")
BOTH = (0, 2)

case("experiment missing", 3, "none.toml", args=("run", "none.toml"), ranks=BOTH)
case("experiment is a folder", 3, "cannot read", "model", args=("run", "model"))
case("experiment unreadable", 3, "e.toml", user=NOBODY, damage=lambda f: (f / "e.toml").chmod(0))
case("experiment empty", 2, "'reel' is missing", "'shot.prompt' is missing", text="", findings=5, ranks=BOTH)
case("experiment without shot", 2, "'shot.prompt' is missing", findings=3,
     text='reel = 1\n[model]\npath = "model"\n')
case("experiment of garbage", 2, "e.toml:", text=bytes((i * 7919 + i // 251) % 256 for i in range(1 << 20)))
case("experiment of one long line", 2, "e.toml:1:", text=b"a" * (1 << 20))
case("experiment with NUL", 2, "e.toml:2:", text=b"reel = 1\nshot.prompt = \"a\0b\"\n")
case("experiment deep", 2, "e.toml", text="reel = 1\na = " + "[" * 100_000)
case("experiment of one endless key", 2, "e.toml:2:", "more than 16 parts", text="reel = 1\n" + "a." * 2_000_000 + "a = 1\n")
case("set of one endless key", 2, "--set", "more than 16 parts", args=(*RUN, "--set", "a." * 60_000 + "a=1"))
case("experiment of 17 MB", 3, "e.toml", text=b"#" * (17 << 20))
case("prompt not UTF-8", 2, "e.toml:2:", text=toml().encode().replace(b"ball", b"b\xff\xfe"), ranks=BOTH)
case("prompt with an escape", 2, "shot.prompt", "0x1b", changes={"shot__prompt": '"\\u001b[31m"'})
case("width no multiple of 16", 2, "'shot.size' is [40, 32]", "multiples of 16", changes={"shot__size": "[40, 32]"}, ranks=BOTH)
case("size zero", 2, "'shot.size' holds 0", changes={"shot__size": "[0, 32]"})
case("size negative", 2, "'shot.size' holds -32", changes={"shot__size": "[-32, 32]"})
case("size enormous", 2, "'shot.size' holds 1000000000000", changes={"shot__size": "[1000000000000, 1000000000000]"})
case("steps zero", 2, "'sampler.steps' is 0", changes={"sampler__steps": "0"}, ranks=(0, 2, 3))
case("guidance negative", 2, "'sampler.guidance' is -1", changes={"sampler__guidance": "-1.0"}, ranks=BOTH)
case("guidance NaN", 2, "'sampler.guidance' is nan", changes={"sampler__guidance": "nan"})
case("duration and frames", 2, "not both", changes={"shot__duration": '"1 s"'})
case("frames not 4k+1", 2, "'shot.frames' is 6", "use 5 or 9", changes={"shot__frames": "6"})
case("frames beyond int64", 2, "e.toml:3:", changes={"shot__frames": "99999999999999999999"})
case("unknown key", 2, "unknown key 'sampler.step'", "did you mean 'steps'?", changes={"sampler__step": "1"})
case("unknown sampler", 2, "'sampler.name' cannot be 'eular'", "did you mean 'euler'?", changes={"sampler__name": '"eular"'})
case("seed negative", 2, "'shot.seed' is -1", changes={"shot__seed": "-1"})
case("a film that is not kept, measured", 2, "output.pixels", "set output.pixels = true",
     changes={"output__pixels": "false", "measure__overlay": "true"}, ranks=BOTH)
case("set without meaning", 2, "--set", args=(*RUN, "--set", "sampler.steps"))
case("set not UTF-8", 2, "--set", args=(*RUN, "--set", b"shot.prompt=\xff".decode(errors="surrogateescape")))
case("set beyond range", 2, "--set:1:", "'sampler.steps' is 0", args=(*RUN, "--set", "sampler.steps=0"))
case("two mistakes at once", 2, "'sampler.steps' is 0", "'shot.seed' is -1", findings=2,
     changes={"shot__seed": "-1", "sampler__steps": "0"}, ranks=BOTH)

# ---- cases: command line

# Before MPI starts the other ranks wait for rank 0 to speak; mpirun may end them meanwhile.
case("no verb", 2, args=(), place=False, ranks=BOTH, every_rank=False)
case("unknown verb", 2, "rnu", args=("rnu",), place=False)
case("unknown option", 2, "--bogus", args=("run", "e.toml", "--bogus"), place=False)
case("threads zero", 2, "--threads", args=(*RUN, "--threads", "0"), place=False)
case("threads no number", 2, "many", args=(*RUN, "--threads", "many"), place=False)
case("unknown component", 2, "bogus", place=False,
     args=("forward", "bogus", "--model", "model", "--in", "x", "--out", "y"), ranks=BOTH, every_rank=False)
case("REEL_ISA unknown", 2, "sse9", "REEL_ISA", "available here", env={"REEL_ISA": "sse9"}, ranks=BOTH)

# ---- cases: model folders

INDEX, CONFIG = "model/model_index.json", "model/transformer/config.json"
case("model missing", 3, "none", "no such folder", changes={"model__path": '"none"'}, ranks=BOTH)
case("model is a file", 3, "not a folder", "e.toml", changes={"model__path": '"e.toml"'})
case("model_index missing", 3, "model_index.json", damage=remove(INDEX), ranks=(0, 2, 3))
case("model_index is a folder", 3, "model_index.json", damage=folder_instead(INDEX))
case("model_index cut", 3, "model_index.json", "not valid JSON", damage=bytes_edit(INDEX, lambda b: b[:100]))
case("model_index not UTF-8", 3, "model_index.json",
     damage=bytes_edit(INDEX, lambda b: b.replace(b"WanPipeline", b"Wan\xff")))
case("model_index deep", 3, "model_index.json",
     damage=bytes_edit(INDEX, lambda b: b'{"_class_name": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"))
case("unknown pipeline class", 3, "WanImageToVideoPipeline", "model_index.json", ranks=BOTH,
     damage=json_edit(INDEX, lambda j: j.update(_class_name="WanImageToVideoPipeline")))
case("unknown transformer class", 3, "'transformer'", "FluxTransformer2DModel", "WanTransformer3DModel",
     damage=json_edit(INDEX, lambda j: j.update(transformer=["diffusers", "FluxTransformer2DModel"])))
case("unknown scheduler class", 3, "'scheduler'", "DDIMScheduler",
     damage=json_edit(INDEX, lambda j: j.update(scheduler=["diffusers", "DDIMScheduler"])))
case("vae not named", 3, "'vae'", "missing", damage=json_edit(INDEX, lambda j: j.pop("vae")))
case("config class", 3, "transformer/config.json", "Other",
     damage=json_edit(CONFIG, lambda j: j.update(_class_name="Other")))
case("config missing", 3, "vae/config.json", damage=remove("model/vae/config.json"))
case("config deep", 3, "num_layers",
     damage=bytes_edit(CONFIG, lambda b: b'{"num_layers": ' + b"[" * 500_000 + b"]" * 500_000 + b"}"))
case("config heads huge", 3, "num_attention_heads", damage=json_edit(CONFIG, lambda j: j.update(num_attention_heads=10**12)))
case("config layers text", 3, "num_layers", damage=json_edit(CONFIG, lambda j: j.update(num_layers="two")))
case("config other width", 3, "has shape", "config.json",
     damage=json_edit(CONFIG, lambda j: j.update(ffn_dim=64)), ranks=BOTH)
case("components do not fit", 3, "do not fit", damage=json_edit(CONFIG, lambda j: j.update(text_dim=64)))
case("trained frames zero", 3, "reel.json", "trained_frames",
     damage=lambda f: (f / "model/reel.json").write_text('{"trained_frames": 0}'))
case("tokenizer missing", 3, "tokenizer", damage=remove("model/tokenizer"), ranks=BOTH)
case("tokenizer cut", 3, "spiece.model", damage=bytes_edit("model/tokenizer/spiece.model", lambda b: b[:1000]))
case("tokenizer is a folder", 3, "spiece.model", damage=folder_instead("model/tokenizer/spiece.model"))
case("tokenizer.json garbage", 3, "tokenizer.json", damage=bytes_edit("model/tokenizer/tokenizer.json", lambda b: b[::-1]))
case("wrong model hash", 3, "digest", "model.sha256", changes={"model__sha256": '"' + "0" * 64 + '"'}, ranks=BOTH)
case("model unreadable", 3, "model", user=NOBODY,
     damage=lambda f: ((f / "model").chmod(0), (f / "out").mkdir(), (f / "out").chmod(0o777)))

# ---- cases: weights

for part, file in WEIGHTS.items():
    case(f"weights missing: {part}", 3, part, damage=remove("model/" + file), ranks=BOTH)
    case(f"weights cut: {part}", 3, file, "is cut off", damage=bytes_edit("model/" + file, lambda b: b[:len(b) // 2]), ranks=BOTH)
T = "model/" + WEIGHTS["transformer"]
case("weights empty", 3, T[6:], "empty", damage=bytes_edit(T, lambda b: b""))
case("weights of 5 bytes", 3, T[6:], "too short", damage=bytes_edit(T, lambda b: b[:5]))
case("weights are a folder", 3, T[6:], damage=folder_instead(T))
case("weights garbage", 3, T[6:], damage=bytes_edit(T, lambda b: bytes(i * 31 % 256 for i in range(100_000))))
case("header of 2^63 bytes", 3, "9223372036854775808",
     damage=bytes_edit(T, lambda b: struct.pack("<Q", 1 << 63) + b[8:]), ranks=BOTH)
case("header longer than the file", 3, "is cut off", damage=bytes_edit(T, lambda b: struct.pack("<Q", len(b)) + b[8:]))
case("header no JSON", 3, "not valid JSON", damage=bytes_edit(T, lambda b: b[:9] + b"?" + b[10:]))


def overlap(header):
    a, b = sorted((n for n in header if n != "__metadata__"), key=lambda n: header[n]["data_offsets"])[:2]
    length = header[b]["data_offsets"][1] - header[b]["data_offsets"][0]
    header[b]["data_offsets"] = [0, length]


def transposed(header):
    entry = header["blocks.0.ffn.net.2.weight"]
    entry["shape"] = entry["shape"][::-1]


case("tensors overlap", 3, "overlapping", T[6:], damage=header_edit("transformer", overlap), ranks=BOTH)
case("shape overflows", 3, "overflows", "tensor",
     damage=header_edit("transformer", lambda h: h[first(h)].update(shape=[1 << 62, 8])))
case("shape negative", 3, "tensor", damage=header_edit("transformer", lambda h: h[first(h)].update(shape=[-1])))
case("offsets beyond the file", 3, "tensor",
     damage=header_edit("transformer", lambda h: h[first(h)].update(data_offsets=[1 << 40, (1 << 40) + 4])))
case("wrong shape", 3, "'blocks.0.ffn.net.2.weight'", "has shape",
     damage=header_edit("transformer", transposed), ranks=(0, 2, 3))
case("wrong dtype", 3, "'proj_out.bias'", "I32",
     damage=header_edit("transformer", lambda h: h["proj_out.bias"].update(dtype="I32")), ranks=BOTH)
case("unknown dtype", 3, "Q4_K", damage=header_edit("transformer", lambda h: h[first(h)].update(dtype="Q4_K")))
case("tensor renamed", 3, "'proj_out.bias'", "missing",
     damage=header_edit("transformer", lambda h: h.update({"proj_out.bios": h.pop("proj_out.bias")})))
case("tensor too many", 3, "'more'",
     damage=header_edit("vae", lambda h: h.update(more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]})))
case("bytes after the tensors", 3, "after its last tensor", damage=bytes_edit(T, lambda b: b + b"1234"))


def index_of(shard):
    def damage(folder):
        header, _ = read_safetensors(folder / T)
        (folder / T).rename(folder / "model/transformer/a.safetensors")
        names = [n for n in header if n != "__metadata__"]
        (folder / "model/transformer/diffusion_pytorch_model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {n: shard for n in names}}))
    return damage


case("shard missing", 3, "lost.safetensors", damage=index_of("lost.safetensors"), ranks=BOTH)
case("shard outside", 3, "leaves the folder", damage=index_of("../../x.safetensors"))
case("NaN in the transformer", 6, "not finite", "denoising step 1", damage=not_a_number("transformer"), ranks=(0, 2, 3))
case("NaN in the text encoder", 6, "not finite", "denoising step 1", damage=not_a_number("text_encoder"), ranks=BOTH)
case("NaN in the autoencoder", 6, "not finite", "autoencoder", damage=not_a_number("vae"), ranks=BOTH)

# ---- cases: shot, model and machine must fit

case("too many frames", 2, "latent frames", "trained", changes={"shot__frames": "85"}, ranks=BOTH)
case("frames beyond the model's positions", 2, "positions", model="pipeline_expand",
     damage=lambda f: (f / "model/reel.json").write_text('{"trained_frames": 1001}'), changes={"shot__frames": "301"})
case("size beyond the model's positions", 2, "positions", changes={"shot__size": "[16384, 16384]"}, ranks=BOTH)
# Terabytes: no machine that runs this test has them.
case("film beyond the memory", 4, "GB are needed", model="pipeline_expand", ranks=BOTH,
     damage=json_edit(CONFIG, lambda j: j.update(rope_max_seq_len=4096)),
     changes={"shot__size": "[16384, 16384]", "shot__frames": "100001"})
case("tokens beyond the memory", 4, "GB are needed",
     changes={"model__path": None, "model__config": '"wan2.1-t2v-14b"', "shot__size": "[16384, 16384]", "shot__frames": "81"})
case("size does not fit the patch", 2, "do not fit", "multiples of 32", changes={"shot__size": "[64, 48]"}, ranks=BOTH,
     damage=json_edit(CONFIG, lambda j: j.update(patch_size=[1, 4, 4])))
case("given frames, plain model", 2, "cannot start from given frames", "expand_timesteps", ranks=BOTH,
     changes={"shot__first_frames": '{world = "uniform", latents = 1}'})
case("given frames leave nothing", 2, "at least one must be rendered", model="pipeline_expand",
     changes={"shot__first_frames": '{world = "uniform", latents = 2}'})
case("given video missing", 3, "none.mkv", model="pipeline_expand",
     changes={"shot__first_frames": '{video = "none.mkv", latents = 1}'}, ranks=BOTH)
case("given video garbage", 3, "e.toml", model="pipeline_expand",
     changes={"shot__first_frames": '{video = "e.toml", latents = 1}'})
case("given world unknown", 2, "'shot.first_frames.world' cannot be 'moon'", model="pipeline_expand",
     changes={"shot__first_frames": '{world = "moon", latents = 1}'})
case("segments cannot overlap", 2, "segment_overlap", model="pipeline_expand",
     changes={"shot__frames": "85", "sampler__segment_overlap": "21"})

# ---- cases: launch

case("more ranks than tokens", 5, "run.ranks", changes={"shot__frames": "1", "shot__size": "[16, 16]"}, ranks=(2, 3))
case("two groups, one rank", 5, "guidance groups", changes={"run__guidance_groups": "2", "sampler__guidance": "5.0"})
case("two groups, no guidance", 2, "run.guidance_groups", changes={"run__guidance_groups": "2"}, ranks=(2,))
case("other number of ranks", 5, "run.ranks", "mpirun -n 4", changes={"run__ranks": "4"}, ranks=BOTH)

# ---- cases: writing

case("results under a file", 7, "e.toml", changes={"output__dir": '"e.toml/results"'}, ranks=BOTH)
case("results folder read-only", 7, "out", user=NOBODY, damage=lambda f: ((f / "out").mkdir(), (f / "out").chmod(0o555)))
case("results beyond the file limit", 7, "needed", "free", "bytes", file_limit=16384, keeps=("out/*.checkpoint*",),
     env={"OMPI_MCA_ess_singleton_isolated": "1"})  # its helper process would meet the limit first
case("stdout full", 7, "standard output", args=("info", "model"), stdout=open("/dev/full", "wb"))

# ---- cases: reel cost

SHOT = """shot = 1
name = "mine"
title = "Mine"
date = 2026-11-22
[specification]
duration = "5 s"
size = [64, 64]
[[alternative]]
name = "day"
title = "A day"
kind = "shoot"
  [[alternative.line]]
  rate = "crew.dp.day"
"""
CARD = """rates = 1
name = "Mine"
[[rate]]
id = "my.fee"
item = "Fee"
value = 3
unit = "USD/dya"
year = 2026
source = "none"
confidence = "U"
read = 2026-11-22
"""


def written(**files):
    """Damage: files beside the experiment; `mine__toml=text` becomes mine.toml."""
    def damage(folder):
        for name, text in files.items():
            (folder / name.replace("__", ".")).write_bytes(text if isinstance(text, bytes) else text.encode())
    return damage


def folder_of_cards(text):
    def damage(folder):
        (folder / "cards").mkdir()
        (folder / "cards" / "mine.toml").write_text(text)
    return damage


CROWD = ("cost", "--shot", "crowd", "--draws", "1024")
case("cost: good", 0, "headline", "cheapest that meets the specification", args=CROWD, silent=False)
case("cost: of what", 2, "which shot is priced?", "--shot", args=("cost",), ranks=BOTH, every_rank=False)
case("cost: experiment without a table", 2, "which shot is priced?", args=("cost", "e.toml"))
case("cost: unknown shot", 3, "no shot 'establishing_hose'", "did you mean 'establishing_house'?",
     args=("cost", "--shot", "establishing_hose"), ranks=BOTH, every_rank=False)
case("cost: shot file missing", 3, "none.toml", args=("cost", "--shot", "none.toml"))
case("cost: shot is a folder", 3, "model.toml", args=("cost", "--shot", "model.toml"), damage=lambda f: (f / "model.toml").mkdir())
case("cost: shot of garbage", 2, "mine.toml:", args=("cost", "--shot", "mine.toml"),
     damage=written(mine__toml=bytes((i * 7919 + i // 251) % 256 for i in range(1 << 16))))
case("cost: shot of one endless key", 2, "mine.toml:15:", "more than 16 parts", args=("cost", "--shot", "mine.toml"),
     damage=written(mine__toml=SHOT + "\n" + "a." * 2_000_000 + "a = 1\n"))
case("cost: two mistakes in a shot", 2, "mine.toml:14:", "did you mean 'crew.dp.day'?", "unknown key 'titel'", findings=2,
     args=("cost", "--shot", "mine.toml"), damage=written(mine__toml="titel = 1\n" + SHOT.replace("dp.day", "dp.dya")))
case("cost: no cards there", 3, "no such rate card", "none", args=(*CROWD, "--cards", "none"))
case("cost: folder without cards", 3, "no rate card in this folder", "model", args=(*CROWD, "--cards", "model"))
case("cost: card with an error", 2, "cards/mine.toml:7:", "did you mean 'day'?", args=(*CROWD, "--cards", "cards"),
     damage=folder_of_cards(CARD))
case("cost: card of one endless key", 2, "cards/mine.toml:3:", "more than 16 parts", args=(*CROWD, "--cards", "cards"),
     damage=folder_of_cards("rates = 1\nname = \"x\"\n" + "a." * 2_000_000 + "a = 1\n"))
case("cost: a rate twice", 2, "crew.dp.day", "is valid twice", "cards/mine.toml", args=(*CROWD, "--cards", "cards"),
     damage=folder_of_cards(CARD.replace("my.fee", "crew.dp.day").replace("dya", "day").replace("year", 'region = "US"\nyear')))
case("cost: result missing", 3, "none.h5", args=(*CROWD, "none.h5"))
case("cost: result is no result", 3, "odd.h5", args=(*CROWD, "odd.h5"), damage=written(odd__h5=b"\x89HDF\r\n\x1a\n" + bytes(100)))
case("cost: a damaged result in the folder", 0, "left out", "odd.h5", "headline", args=("cost", "e.toml"), silent=False,
     changes={"cost__shot": '"crowd"', "cost__draws": "1024", "output__dir": '"."'}, damage=written(odd__h5=b"\x89HDF\r\n\x1a\n" + bytes(100)))
case("cost: result is a folder", 3, "model", args=(*CROWD, "model"))
case("cost: two experiments", 2, "stands alone", "e.toml", args=("cost", "e.toml", "e.toml"))
case("cost: draws out of range", 2, "--draws", args=("cost", "--shot", "crowd", "--draws", "1000"), place=False)
case("cost: year out of range", 2, "--year", args=(*CROWD, "--year", "1900"), place=False)
case("cost: no date", 2, "'22.11.2026' is not a date", args=(*CROWD, "--date", "22.11.2026"))
case("cost: no currency", 2, "unknown currency 'XYZ'", args=(*CROWD, "--currency", "XYZ"))
case("cost: unknown alternative", 2, "no alternative 'day_off'", "it has: day, shared", args=(*CROWD, "--without", "day_off"))
case("cost: nothing to compare with", 3, "no conventional alternative", args=(*CROWD, "--without", "day,shared,tiled"))
case("cost: unknown key", 2, "e.toml: cost.tkaes", "did you mean 'takes'?", args=("cost", "e.toml"),
     changes={"cost__shot": '"crowd"', "cost__tkaes": "3"})
case("cost: side file under a file", 7, "e.toml/x.h5", args=(*CROWD, "--out", "e.toml/x.h5"))
case("cost: top sheet under a file", 7, "e.toml/x.csv", args=(*CROWD, "--topsheet", "e.toml/x.csv"))

# ---- cases: reel forward


def forward(component, *more):
    return ("forward", component, "--model", "model", "--in", "in.safetensors", "--out", "y.safetensors", *more)


def given(**entries):
    return lambda folder: tensors(folder / "in.safetensors", **entries)


DIT = {"hidden_states": ([1, 16, 1, 4, 4],), "timestep": ([1], "F32", 500.0), "encoder_hidden_states": ([1, 8, 32],)}
case("forward: model missing", 3, "nowhere",
     args=("forward", "vae_decode", "--model", "nowhere", "--in", "x", "--out", "y"), ranks=BOTH)
case("forward: input missing", 3, "in.safetensors", args=forward("vae_decode"), ranks=BOTH)
case("forward: tensor missing", 3, "'z' is missing", args=forward("vae_decode"),
     damage=given(x=([1, 16, 1, 4, 4],)), ranks=BOTH)
case("forward: wrong shape", 3, "'z'", "[B, 16, T, H, W]", args=forward("vae_decode"),
     damage=given(z=([1, 8, 1, 4, 4],)), ranks=BOTH)
case("forward: no batch", 3, "'z'", args=forward("vae_decode"), damage=given(z=([0, 16, 1, 4, 4],)))
case("forward: wrong dtype", 3, "'z'", "I64", args=forward("vae_decode"), damage=given(z=([1, 16, 1, 4, 4], "I64")))
case("forward: film of odd size", 2, "33 x 32", args=forward("vae_encode"), damage=given(x=([1, 3, 1, 32, 33],)))
case("forward: steps out of range", 2, "--steps", args=forward("scheduler", "--steps", "0"), place=False)
case("forward: too few velocities", 3, "'velocities'", args=forward("scheduler"),
     damage=given(noise=([4],), velocities=([3, 4],)))
case("forward: scalar noise", 3, "'velocities'", args=forward("scheduler"), damage=given(noise=([],), velocities=([],)))
case("forward: output in no folder", 7, "none/y",
     args=("forward", "vae_decode", "--model", "model", "--in", "in.safetensors", "--out", "none/y"),
     damage=given(z=([1, 16, 1, 4, 4],)), ranks=BOTH)
case("forward: output is no file", 7, "pipe",
     args=("forward", "vae_decode", "--model", "model", "--in", "in.safetensors", "--out", "pipe"),
     damage=lambda f: (given(z=([1, 16, 1, 4, 4],))(f), os.mkfifo(f / "pipe")))
case("forward: output folder read-only", 7, "ro/y", user=NOBODY,
     args=("forward", "vae_decode", "--model", "model", "--in", "in.safetensors", "--out", "ro/y"),
     damage=lambda f: (given(z=([1, 16, 1, 4, 4],))(f), (f / "ro").mkdir(), (f / "ro").chmod(0o555)))
case("forward: text as floats", 3, "'input_ids'", "integers", args=forward("text_encoder"),
     damage=given(input_ids=([1, 4],), attention_mask=([1, 4],)))
case("forward: all masked", 3, "attention_mask", args=forward("text_encoder"),
     damage=given(input_ids=([1, 4], "I64", 5), attention_mask=([1, 4], "I64", 0)))
case("forward: id outside the vocabulary", 3, "99999", args=forward("text_encoder"),
     damage=given(input_ids=([1, 4], "I64", 99999), attention_mask=([1, 4], "I64", 1)), ranks=BOTH)
case("forward: scalar timestep", 3, "'timestep'", args=forward("transformer"), damage=given(**dict(DIT, timestep=([],))))
case("forward: patch does not fit", 2, "patches", args=forward("transformer"),
     damage=given(**dict(DIT, hidden_states=([1, 16, 1, 4, 5],))))
case("forward: more ranks than tokens", 5, "tokens", args=forward("transformer"),
     damage=given(**dict(DIT, hidden_states=([1, 16, 1, 2, 2],))), ranks=(2,))
case("forward: text of another batch", 3, "'encoder_hidden_states'", args=forward("transformer"),
     damage=given(**dict(DIT, encoder_hidden_states=([2, 8, 32],))))
case("forward: frames of another size", 3, "'frames'", model="pipeline_expand", args=forward("pipeline"),
     damage=given(latents=([1, 16, 3, 4, 4],), frames=([1, 3, 1, 64, 64],)), ranks=BOTH)
case("forward: frames leave nothing", 3, "'frames'", model="pipeline_expand", args=forward("pipeline"),
     damage=given(latents=([1, 16, 3, 4, 4],), frames=([1, 3, 9, 32, 32],)))
case("forward: frames, plain model", 2, "expand_timesteps", args=forward("pipeline"),
     damage=given(latents=([1, 16, 3, 4, 4],), frames=([1, 3, 1, 32, 32],)))
case("forward: prompt not UTF-8", 2, "UTF-8", args=forward("pipeline", "--prompt", b"\xff".decode(errors="surrogateescape")),
     damage=given(latents=([1, 16, 1, 4, 4],)), ranks=BOTH)
case("forward: prompt file not UTF-8", 3, "p.json",
     args=("forward", "tokenizer", "--model", "model", "--in", "p.json", "--out", "y"),
     damage=lambda f: (f / "p.json").write_bytes(b'{"prompt": "\xff"}'))
case("forward: prompt file is a folder", 3, "model",
     args=("forward", "tokenizer", "--model", "model", "--in", "model", "--out", "y"))

# ---- cases: info, verify, world (rank 0 works, the others have nothing to do)

ONE = {"every_rank": False}
case("info: missing", 3, "none.h5", args=("info", "none.h5"), ranks=BOTH, **ONE)
case("info: text file", 3, "e.toml", args=("info", "e.toml"))
case("info: empty file", 3, "x.h5", args=("info", "x.h5"), damage=lambda f: (f / "x.h5").touch())
case("info: cut weights", 3, T, "is cut off", args=("info", T), damage=bytes_edit(T, lambda b: b[:-1]))
case("info: model without vae weights", 3, "vae", args=("info", "model"), damage=remove("model/" + WEIGHTS["vae"]))
case("info: folder of nothing", 3, "model/tokenizer", args=("info", "model/tokenizer"))
case("info: device", 3, "/dev/zero", args=("info", "/dev/zero"))
case("world: unknown", 2, "moon", args=("world", "moon", "--captions"), ranks=BOTH, **ONE)
case("world: bad size", 2, "--size", args=("world", "fall", "--size", "64", "--out", "clips"))
case("world: nowhere to go", 2, "--out", args=("world", "fall"))
case("world: out under a file", 7, "e.toml", args=("world", "fall", "--frames", "1", "--out", "e.toml/x"), ranks=BOTH, **ONE)
case("world: stream to a full disk", 7, "No space left",
     args=("world", "fall", "--stream", "-"), stdout=open("/dev/full", "wb"))

# ---- cases: these are fine

FINE = {"keeps": ("out/*.h5",), "silent": False}
case("prompt with emoji", 0, "result ", changes={"shot__prompt": '"\U0001f3ac \U0001f469\u200d\U0001f680 na\u00efve \u65e5\u672c"'}, **FINE)
case("prompt of 4 KiB", 0, "result ", changes={"shot__prompt": '"' + "a ball falls, " * 293 + '"'}, **FINE)
case("prompt of spaces", 0, "result ", changes={"shot__prompt": '"   "'}, ranks=BOTH, **FINE)
