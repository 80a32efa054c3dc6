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


SIDE_FILE = """
import h5py, sys
f = h5py.File(sys.argv[1])
def units(name, item):
    if isinstance(item, h5py.Dataset):
        assert item.attrs["long_name"], name
        assert item.dtype.kind == "O" or item.attrs["units"], name
f.visititems(units)
t = {k.split("_", 1)[1]: v[:] for k, v in f["result"].items() if k.startswith(sys.argv[2] + "_")}
assert len({len(column) for column in t.values()}) == 1, "columns of one table differ in length"
print(len(next(iter(t.values()))), *t)
"""


def check_cost(reel, mpirun, source):
    """A priced experiment on few takes: prices do not depend on ranks or threads, and nothing is rendered to price again."""
    prices = {}
    with tempfile.TemporaryDirectory() as out:
        for ranks, threads in ((1, 1), (1, 2), (2, 1)):
            text = command([mpirun, "--oversubscribe", "--bind-to", "none", "-n", ranks, reel, "run",
                            source / "experiments/hundred_dollar_house.toml", "--set", "cost.takes=2", "--set", "cost.draws=20000",
                            "--set", "sampler.steps=4", "--threads", threads, "--out", out, "--json", "-q"])
            answer = json.loads(text)
            assert answer["acceptance"]["takes"] == 2, answer["acceptance"]
            # Times of takes differ from run to run, and with them what was measured here alone.
            kept = [a for a in answer["alternatives"] if a["name"] != "measured"]
            assert len(kept) == len(answer["alternatives"]) - 1
            prices[ranks, threads] = json.dumps([kept, answer["sobol"][:3], answer["value_of_labels"]])
        assert len(set(prices.values())) == 1, "prices depend on the layout"
        results = sorted(Path(out).glob("*-r0.h5"))
        assert len(results) == 6, results
        again = json.loads(command([reel, "cost", *results, "--json"]))
        assert again["currency"] == "USD" and len(again["takes"]) == 2, "layouts of one take are one take"
        for side, table, wanted in ((next(Path(out).glob("*.measure.h5")), "metric", "value"), (next(Path(out).glob("*.cost.h5")), "alternative", "p50")):
            rows, *columns = command(["/usr/bin/python3", "-c", SIDE_FILE, side, table]).split()
            assert int(rows) > 5 and wanted in columns, (rows, columns)
    print("hundred_dollar_house: one price on 1 and 2 ranks and threads")


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
    check_cost(reel, mpirun, source)
    check_benchmark(reel, mpirun, source)
    print("good")


if __name__ == "__main__":
    main()
