"""How far diffusers in bf16 is from itself in F32, for each module case of cases.json: fixtures/bf16.json.

    python bf16.py

Relative L2 of the output against the golden F32 tensor. Modules are loaded as users load them, with torch_dtype bfloat16;
diffusers and transformers then keep in F32 what they always keep. Reel's bf16 profiles must come within 1.5 times this.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import load_file
from transformers import UMT5EncoderModel

FIXTURES = Path(__file__).parent / "fixtures"


@torch.no_grad()
def output(case: dict, given: dict) -> torch.Tensor:
    """What the module of `case` makes of `given` in bf16."""
    folder, half = FIXTURES / case["folder"], torch.bfloat16
    if case["component"] == "transformer":
        model = WanTransformer3DModel.from_pretrained(folder, torch_dtype=half).eval()
        return model(given["hidden_states"].to(half), given["timestep"], given["encoder_hidden_states"].to(half), return_dict=False)[0]
    if case["component"] == "text_encoder":
        model = UMT5EncoderModel.from_pretrained(folder, torch_dtype=half).eval()
        assert model.encoder.embed_tokens.weight.abs().sum() > 0
        hidden = model(**given).last_hidden_state
        return hidden * given["attention_mask"][..., None]
    model = AutoencoderKLWan.from_pretrained(folder, torch_dtype=half).eval()
    if case["component"] == "vae_encode":
        return model.encode(given["x"].to(half)).latent_dist.mean
    return model.decode(given["z"].to(half), return_dict=False)[0]


def main() -> None:
    torch.set_num_threads(1)
    deviations = {}
    for case in json.loads((FIXTURES / "cases.json").read_text(encoding="utf-8"))["cases"]:
        if case["component"] not in ("transformer", "text_encoder", "vae_encode", "vae_decode"):
            continue
        given = load_file(FIXTURES / f"{case['name']}.in.safetensors")
        golden = load_file(FIXTURES / f"{case['name']}.out.safetensors")
        want = golden[{"transformer": "sample", "text_encoder": "last_hidden_state", "vae_encode": "mean", "vae_decode": "sample"}[case["component"]]]
        if case["component"] == "text_encoder":
            want = want * given["attention_mask"][..., None]
        got = output(case, given).float()
        deviations[case["name"]] = float(f"{((got - want).double().norm() / want.double().norm()).item():.4g}")
    lines = ",\n".join(f"{json.dumps(name)}: {value}" for name, value in deviations.items())
    (FIXTURES / "bf16.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
