"""The experiments that ship with Reel: one digest each on 1, 2 and 3 ranks, results that other programs can open, and a
README that tells the truth.

usage: experiments_test.py REEL MPIRUN SOURCE_DIR
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BACKLOT = ("establishing_shot", "stunt_fall", "throw")


def command(args, **kwargs):
    """Runs a command and returns its standard output; a failure shows everything it said."""
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=240, **kwargs)
    if done.returncode != 0:
        raise AssertionError(f"{args} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def check_experiments(reel, mpirun, source):
    for name in BACKLOT:
        digests = {}
        with tempfile.TemporaryDirectory() as out:
            for ranks in (1, 2, 3):
                text = command([mpirun, "--oversubscribe", "--bind-to", "none", "-n", ranks, reel, "run",
                                source / "experiments" / f"{name}.toml", "--out", out, "--json", "-q"])
                summary = json.loads(text)
                digests[ranks] = summary["result_digest"]
                assert Path(summary["film"]).stat().st_size > 0
                if ranks == 2:
                    assert sum(p["sent_bytes"] for p in summary["phases"]) > 0, "two ranks exchanged nothing"
            assert len(set(digests.values())) == 1, f"{name}: digests differ: {digests}"
            measured = sorted(Path(out).glob("*.measure.h5"))
            results = sorted(set(Path(out).glob("*.h5")) - set(measured))
            assert len(results) == len(measured) == 3, (results, measured)
            numbers = {command([reel, "verify", side]).split()[-1] for side in measured}
            assert len(numbers) == 1, f"{name}: measurements differ: {numbers}"
            command([reel, "verify", *results])
            assert "result_digest" in command(["h5dump", "-A", results[0]])
            pixels = command(["/usr/bin/python3", "-c",
                              "import h5py, sys; f = h5py.File(sys.argv[1]);"
                              "p = f['result/pixels']; print(p.shape[3], p[:].std() > 1, f.attrs['result_digest'])", results[0]])
            assert pixels.split() == ["3", "True", digests[1]], pixels
        print(f"{name}: {digests[1]} on 1, 2 and 3 ranks")


def check_benchmark(reel, mpirun, source):
    model = source / "datasets/models/backlot-1"
    small = [f"benchmark.models=[\"{model}\"]", "benchmark.scenes=[\"collision\", \"fall\", \"house\"]", "benchmark.clips=1",
             "benchmark.seeds=2", "benchmark.preference=1", "shot.frames=17", "sampler.steps=2"]
    sets = [word for value in small for word in ("--set", value)]
    digests = {}
    with tempfile.TemporaryDirectory() as out:
        for ranks in (1, 2, 3):
            text = command([mpirun, "--oversubscribe", "--bind-to", "none", "-n", ranks, reel, "run",
                            source / "experiments/generations.toml", *sets, "--out", out, "--json", "-q"])
            answer = json.loads(text)
            digests[ranks] = answer["result_digest"]
            assert answer["num_films"] == 5 * (3 + 1 + 2), answer["num_films"]  # two bands of two scenes, one of the house
        command([reel, "verify", *Path(out).glob("*.h5")])
    assert len(set(digests.values())) == 1, f"generations: digests differ: {digests}"
    assert len(answer["preferences"]) > 3, answer["preferences"]
    print(f"generations: {digests[1]} on 1, 2 and 3 ranks")


def check_readme(reel, source):
    readme = (source / "README.md").read_text()
    helps = command([reel, "--help"])
    for verb in sorted(set(re.findall(r"`reel (\w+)", readme))):
        helps += command([reel, verb, "--help"])
    for path in sorted(set(re.findall(r"(?<![\w/])((?:experiments|datasets|tests|src|slurm|bench|kernels)/[\w./*-]*)", readme))):
        assert list(source.glob(path.rstrip("/."))), f"README names {path}, which is not there"
    for option in sorted(set(re.findall(r"`(--[a-z-]+)", readme))):
        assert option in helps, f"README names {option}"
    codes = dict(re.findall(r"(\w+) = (\d+),", (source / "src/core/error.hpp").read_text()))
    for code in codes.values():
        assert re.search(rf"\b{code} ", readme), f"README does not name exit code {code}"
    for script in re.findall(r"^\./(\S+) (\w+)", readme, re.M):
        assert f"  {script[1]})" in (source / script[0]).read_text(), f"README names {script}"


def main():
    reel, mpirun, source = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    check_readme(reel, source)
    check_experiments(reel, mpirun, source)
    check_benchmark(reel, mpirun, source)
    print("good")


if __name__ == "__main__":
    main()
