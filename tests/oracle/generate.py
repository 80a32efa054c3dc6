"""Makes the golden fixtures: tiny random Wan pipelines and what diffusers computes with them.

    python generate.py            rewrite fixtures/
    python generate.py --check    make them twice elsewhere; both must agree byte for byte, and with fixtures/
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import diffusers  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import golden  # noqa: E402
from models import write_folders  # noqa: E402
from tokens import write_token_cases  # noqa: E402

HERE = Path(__file__).parent
PACKAGES = ("torch", "diffusers", "transformers", "tokenizers", "sentencepiece", "ftfy", "safetensors", "numpy")
LIMIT_BYTES = 7_000_000
TOLERANCE = 1e-5  # between two machines; one machine repeats its bytes


def stamp(path: Path, words: dict) -> None:
    """Add `words` to the metadata of a safetensors file and write its header in one fixed order."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header["__metadata__"] = dict(header.get("__metadata__", {}), **words)
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])


@torch.no_grad()
def generate(root: Path) -> None:
    """Write all fixtures below `root`."""
    versions = {name: version(name) for name in PACKAGES}
    write_folders(root)
    write_token_cases(root / "pipeline_tiny" / "tokenizer", root / "tokenizer.json", versions)
    book = golden.Book(root)
    for chapter in (golden.tables, golden.noise, golden.schedules, golden.text_encoders, golden.transformers,
                    golden.vaes, golden.films, golden.conditioned_films):
        chapter(book)
    for path in root.rglob("*.safetensors"):
        stamp(path, versions)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in book.cases)
    (root / "cases.json").write_text(f'{{"versions": {json.dumps(versions)}, "cases": [\n{lines}\n]}}\n',
                                     encoding="utf-8")
    total = sum(path.stat().st_size for path in root.rglob("*") if path.is_file())
    assert total <= LIMIT_BYTES, f"{total} bytes of fixtures"


def files_below(root: Path) -> dict:
    """Relative name -> path of every file below `root`; links to folders are not followed."""
    return {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}


def compare(made: Path, kept: Path) -> list[str]:
    """What differs between two folders: nothing, or one line a file with max|delta| / max|ref| of its worst tensor."""
    a, b = files_below(made), files_below(kept)
    lines = [f"{name}: only in the {'new' if name in a else 'kept'} fixtures" for name in sorted(a.keys() ^ b.keys())]
    for name in sorted(a.keys() & b.keys()):
        if a[name].read_bytes() == b[name].read_bytes():
            continue
        if not name.endswith(".safetensors"):
            lines.append(f"{name}: text differs")
            continue
        new, old = load_file(a[name]), load_file(b[name])
        if {k: v.shape for k, v in new.items()} != {k: v.shape for k, v in old.items()}:
            lines.append(f"{name}: names or shapes differ")
            continue
        worst = max(((new[k] - old[k]).abs().max() / old[k].abs().max().clamp_min(1e-30)).item() for k in old)
        if worst > TOLERANCE:
            lines.append(f"{name}: differs by {worst:.1e}")
    return lines


def main() -> int:
    """Rewrite or check the fixtures; the number of differing files decides the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    torch.use_deterministic_algorithms(True)
    fixtures = HERE / "fixtures"
    if not arguments.check:
        with tempfile.TemporaryDirectory() as made:
            generate(Path(made))
            shutil.rmtree(fixtures, ignore_errors=True)
            shutil.copytree(made, fixtures, symlinks=True)
        return 0
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        generate(Path(first))
        generate(Path(second))
        a, b = files_below(Path(first)), files_below(Path(second))
        assert a.keys() == b.keys() and all(a[name].read_bytes() == b[name].read_bytes() for name in a), \
            "two runs differ"
        lines = compare(Path(first), fixtures)
    print("\n".join(lines) or "fixtures are up to date")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
