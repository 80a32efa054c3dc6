#!/usr/bin/env python3
"""Text features that are kept between runs: a sweep computes each prompt once, and no digest depends on them.

    text_cache.py --reel PROGRAM --fixtures FOLDER --mpiexec MPIEXEC
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import h5py

parser = argparse.ArgumentParser()
parser.add_argument("--reel", required=True)
parser.add_argument("--fixtures", required=True)
parser.add_argument("--mpiexec", required=True)
args = parser.parse_args()
ENV = {key: value for key, value in os.environ.items() if not key.startswith(("OMPI_", "PMIX_", "PMI_", "SLURM_", "REEL_"))}
ENV.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_mpi_yield_when_idle="1", NO_COLOR="1")
EXPERIMENT = f"""reel = 1
shot.prompt = "a ball falls"
shot.frames = 5
shot.size = [32, 32]
model.path = "{pathlib.Path(args.fixtures).resolve() / 'pipeline_tiny'}"
sampler.steps = 1
run.threads = 1
output.video = "none"
"""
MPIRUN = [args.mpiexec, "--oversubscribe", "--bind-to", "none"]
failures = []


def expect(condition, text):
    if not condition:
        failures.append(text)
        print("FAILED", text)


def start(out, *words, launch=(), cache=None):
    env = dict(ENV, REEL_CACHE=str(cache)) if cache else ENV
    return subprocess.Popen([*launch, args.reel, "--json", "run", "e.toml", "-o", out, *words], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(process, read=None):
    """Digest and messages of a run; `read`: prompts whose features it must have read, None for a run without a cache."""
    out, err = process.communicate(timeout=120)
    if process.returncode != 0:
        expect(False, f"{process.args} ended with {process.returncode}\n{out}{err}")
        return "", err
    summary = json.loads(out)
    with h5py.File(summary["result"]) as result:
        dataset = result["measured"].get("text_features_read")
        got = None if dataset is None else int(dataset[()])
    expect(got == read if read != "any" else got in range(3), f"{process.args}: {got} features were read, not {read}")
    return summary["result_digest"], err


def features_in(folder):
    return sorted(path for path in pathlib.Path(folder).rglob("*") if path.suffix == ".safetensors")


def reads(pattern):
    """How many features each of these results read, in rising order."""
    counts = []
    for path in pathlib.Path(".").glob(pattern):
        with h5py.File(path) as result:
            counts.append(int(result["measured/text_features_read"][()]))
    return sorted(counts)


def main():
    pathlib.Path("e.toml").write_text(EXPERIMENT)
    digest, _ = end(start("alone"))
    expect(not features_in("."), "a run alone keeps features without being asked")

    # Computed, then read, on any ranks; the environment of one rank is enough.
    for read in (0, 2):
        got, err = end(start("named", cache="cache"), read)
        expect(got == digest and "left out" not in err, f"{read} read: digest {got}, not {digest}")
    kept = features_in("cache/text_features")
    good = [path.read_bytes() for path in kept]
    expect(len(kept) == 2 and len(features_in(".")) == 2, f"prompt and negative prompt: {kept}")
    for ranks in (2, 3):
        for cache, read in (("cache", 2), (f"cache-{ranks}", 0), (f"cache-{ranks}", 2)):
            got, _ = end(start(f"ranks-{ranks}", launch=[*MPIRUN, "-n", str(ranks)], cache=cache), read)
            expect(got == digest, f"{ranks} ranks, {read} read: digest {got}, not {digest}")
    for first, second, read in ((["REEL_CACHE=cache"], [], 2), ([], ["REEL_CACHE=cache"], None)):
        run = [args.reel, "--json", "run", "e.toml", "-o", "one-sided"]
        process = subprocess.Popen([*MPIRUN, "-n", "1", "env", *first, *run, ":", "-n", "1", "env", *second, *run], env=ENV, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        expect(end(process, read)[0] == digest, "the environment of one rank alone: another digest")

    # Damaged: told once, computed, replaced; also on several ranks.
    for launch in ([], [*MPIRUN, "-n", "2"]):
        kept[0].write_bytes(good[0][:100])
        got, err = end(start("damaged", launch=launch, cache="cache"), 1)
        expect(got == digest and err.count("left out: ") == 1 and str(kept[0]) in err, f"a cut file: digest {got}, {err}")
        expect(kept[0].read_bytes() == good[0], "a cut file is not replaced")

    # A place that cannot be written.
    pathlib.Path("file").touch()
    for launch in ([], [*MPIRUN, "-n", "2"]):
        got, err = end(start("unwritable", launch=launch, cache="file"), 0)
        expect(got == digest and err.count("text features are not kept in file/text_features: ") == 1, f"unwritable: digest {got}, {err}")

    # Several at once.
    processes = [start(f"at-once-{k}", cache="at-once") for k in range(4)]
    for process in processes:
        got, err = end(process, "any")
        expect(got == digest and "left out" not in err and "not kept" not in err, f"at once: digest {got}, {err}")
    expect([path.read_bytes() for path in features_in("at-once")] == good, "at once: other files")
    expect(len(list(pathlib.Path("at-once/text_features").iterdir())) == 2, "at once: something is left behind")

    # Another profile takes nothing of this one; another prompt only the negative prompt's.
    end(start("bf16", "--set", 'model.profile="bf16"', cache="cache"), 0)
    end(start("other", "--set", 'shot.prompt="a ball rolls"', cache="cache"), 1)

    # A sweep: three seeds times two steps of one prompt.
    pathlib.Path("sweep.toml").write_text('reel = 1\nbase = "e.toml"\n[sweep]\nseeds = 3\n[sweep.matrix]\nsampler.steps = [1, 2]\n[output]\ndir = "swept"\n')
    swept = subprocess.run([args.reel, "--json", "sweep", "sweep.toml"], env=ENV, text=True, capture_output=True, timeout=240)
    expect(swept.returncode == 0, f"sweep: {swept.stdout}{swept.stderr}")
    counts = reads("swept/*-r0.h5")
    expect(counts == [0, 2, 2, 2, 2, 2], f"features that the runs of a sweep read: {counts}")
    expect([path.read_bytes() for path in features_in("swept/text_features")] == good, "the sweep keeps other files")
    collected = subprocess.run([args.reel, "sweep", "collect", "sweep.toml"], env=ENV, text=True, capture_output=True, timeout=60)
    expect(collected.returncode == 0, f"collect: {collected.stdout}{collected.stderr}")

    # Takes of one shot.
    takes = start("takes", "--set", "cost.takes=2", "--set", 'cost.shot="establishing_house"')
    out, err = takes.communicate(timeout=120)
    expect(takes.returncode == 0 and reads("takes/*-r0.h5") == [0, 2], f"takes: {reads('takes/*-r0.h5')}\n{err}")


with tempfile.TemporaryDirectory(prefix="reel-text-") as folder:
    os.chdir(folder)
    main()
print("FAILED" if failures else "all good")
raise SystemExit(1 if failures else 0)
