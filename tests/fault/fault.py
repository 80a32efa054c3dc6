#!/usr/bin/env python3
"""What may happen to a run on its way, and must not matter: killed ranks, full disks, signals, cut weights. After each of
them the result is absent or valid, and the same command ends in the digest that an undisturbed run has.

    fault.py --reel PROGRAM --fixtures FOLDER --mpiexec MPIEXEC --shim full_disk.so [--long] [words of scene names ...]
"""
import argparse
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

HANG_S = 30
HEADER = re.compile(r"^(?:error|stopped): (?:rank \d+: )?.+ \(exit (\d+)\)$", re.MULTILINE)
NOISE = ("terminate called", "Segmentation fault", "Assertion", "broken promise", "HDF5-DIAG", "left out:")
ERRORS = {"ENOSPC": "No space left", "EDQUOT": "quota", "EIO": "Input/output error"}


class Failure(Exception):
    pass


class LauncherHangs(Failure):
    """The launcher saw that a rank was killed, and neither ends the others nor itself."""


def expect(condition, text):
    if not condition:
        raise Failure(text)


class Experiment:
    """A small experiment in a folder of its own, its results in `out`."""

    def __init__(self, faults, name, own_model=False, **changes):
        self.faults, self.folder = faults, faults.root / re.sub(r"\W+", "_", name)
        self.out = self.folder / "out"
        self.folder.mkdir()
        model = faults.fixtures / "pipeline_tiny"
        if own_model:
            shutil.copytree(model, self.folder / "model")
            model = self.folder / "model"
        keys = {"shot.prompt": '"a ball falls"', "shot.frames": "5", "shot.size": "[32, 32]", "model.path": f'"{model}"',
                "sampler.steps": "4", "sampler.guidance": "1.0", "output.dir": '"out"', "output.video": '"ffv1"', "run.threads": "1"}
        keys.update({key.replace("__", "."): value for key, value in changes.items()})
        (self.folder / "e.toml").write_text("reel = 1\n" + "".join(f"{key} = {value}\n" for key, value in keys.items()))

    def command(self, *args, ranks=0, json_too=True):
        line = [str(self.faults.reel), *(["--json"] if json_too else []), "run", "e.toml", *args]
        return [self.faults.mpiexec, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), str(self.faults.rank_sh), *line] if ranks else line

    def start(self, *args, ranks=0, env=None):
        for pid in self.folder.glob("pid.*"):
            pid.unlink()
        return subprocess.Popen(self.command(*args, ranks=ranks), cwd=self.folder, env=dict(self.faults.env, **(env or {})), text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)

    def end(self, process):
        """Waits for its end; nobody takes longer than HANG_S."""
        try:
            out, err = process.communicate(timeout=HANG_S)
        except subprocess.TimeoutExpired:
            stay = [pid for pid in pids_of(self) if alive(pid)]
            os.killpg(process.pid, signal.SIGKILL)
            for pid in filter(alive, stay):
                os.kill(pid, signal.SIGKILL)
            out, err = process.communicate()
            kind = LauncherHangs if "exited on signal 9" in err else Failure
            raise kind(f"hangs: no end after {HANG_S} s, ranks that stay: {stay}\n{out}{err}")
        told = f"exit code {process.returncode}\n{out}{err}"
        expect(not any(noise in err for noise in NOISE), f"noise\n{told}")
        return process.returncode, out, err, told

    def run(self, *args, ranks=0, env=None):
        return self.end(self.start(*args, ranks=ranks, env=env))

    def finish(self, *args, goes_on=None, **options):
        """Runs to the end: the digest. `goes_on`: whether it must go on from a checkpoint."""
        code, out, err, told = self.run(*args, **options)
        expect(code == 0 and not HEADER.search(err), f"no good end\n{told}")
        if goes_on is not None:
            expect(("goes on from" in err) == goes_on, f"{'does not go' if goes_on else 'goes'} on from a checkpoint\n{told}")
        self.expect_sound()
        left = sorted(p.name for p in self.out.iterdir() if p.suffix not in (".h5", ".mkv"))
        expect(not left, f"left behind: {left}")
        return json.loads(out)["result_digest"]

    def expect_sound(self):
        """Results are absent or valid."""
        for result in self.out.glob("*.h5") if self.out.exists() else ():
            found = subprocess.run([self.faults.reel, "verify", result], env=self.faults.env, capture_output=True, text=True, timeout=HANG_S)
            expect(found.returncode == 0 and found.stdout.startswith("ok"), f"{result.name}: {found.stdout}{found.stderr}")

    def expect_message(self, ended, code, *says):
        got, _, err, told = ended
        expect(got == code and HEADER.findall(err) == [str(code)], f"exit code {code} and one message expected\n{told}")
        for text in says:
            expect(text in err, f"'{text}' is not said\n{told}")


class Faults:
    def __init__(self, options, root):
        self.root, self.long, self.shim, self.mpiexec = root, options.long, pathlib.Path(options.shim).resolve(), options.mpiexec
        self.fixtures = pathlib.Path(options.fixtures).resolve()
        self.reel = root / "reel"
        shutil.copy(options.reel, self.reel)
        self.rank_sh = root / "rank.sh"
        self.rank_sh.write_text('#!/bin/sh\necho $$ > "pid.new.$OMPI_COMM_WORLD_RANK"\n'
                                'mv "pid.new.$OMPI_COMM_WORLD_RANK" "pid.$OMPI_COMM_WORLD_RANK"\nexec "$@"\n')
        self.rank_sh.chmod(0o755)
        self.env = {key: value for key, value in os.environ.items()
                    if not key.startswith(("OMPI_", "PMIX_", "PMI_", "SLURM_", "REEL_", "FAULT_"))}
        self.env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_mpi_yield_when_idle="1",
                        NO_COLOR="1", LC_ALL="C.UTF-8", TMPDIR=str(root))
        self.counts, self.lock = collections.Counter(), threading.Lock()

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] += number

    def fault_env(self, experiment, log, at=0, kind=None, stays=False):
        env = {"LD_PRELOAD": str(self.shim), "FAULT_FOLDER": str(experiment.out), "FAULT_LOG": str(log), "FAULT_AT": str(at)}
        if kind:
            env["FAULT_KIND"] = kind
        if stays:
            env["FAULT_STAYS"] = "1"
        return env


def wait_until(condition, process, what):
    deadline = time.monotonic() + HANG_S
    while not condition():
        expect(process.poll() is None, f"it ended before {what}")
        expect(time.monotonic() < deadline, f"hangs: not {what} after {HANG_S} s")
        time.sleep(0.002)


def pids_of(experiment):
    return [int(path.read_text()) for path in sorted(experiment.folder.glob("pid.[0-9]*"))]


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def kills(faults, name, seed, number):
    """SIGKILL of a random rank of one or two, at a random moment of its life; again until it is done, then anew."""
    draw = random.Random(seed)
    experiment = Experiment(faults, name, shot__frames="17", sampler__steps="24", sampler__guidance="3.0", shot__size="[64, 64]")
    begin = time.monotonic()
    digest = experiment.finish("--keep-every-step", goes_on=False)
    life_s = time.monotonic() - begin
    shutil.rmtree(experiment.out)
    done = hangs = 0
    while done < number:
        ranks = draw.choice((1, 2))
        process = experiment.start("--keep-every-step", ranks=ranks)
        wait_until(lambda: len(pids_of(experiment)) == ranks, process, "started")
        pids, victim = pids_of(experiment), draw.randrange(ranks)
        time.sleep(draw.uniform(0.2, 1.1) * life_s)
        killed = process.poll() is None and alive(pids[victim])
        if killed:
            os.kill(pids[victim], signal.SIGKILL)
        try:
            code, out, err, told = experiment.end(process)
        except LauncherHangs as hang:  # Open MPI, when a rank dies in its start; seldom, so that it hides nothing
            faults.count("launches that Open MPI did not end")
            hangs += 1
            expect(hangs <= 1 + number // 50, f"{hangs} times: {hang}")
            code, out, err, told = 1, "", "", str(hang)
        deadline = time.monotonic() + HANG_S
        while any(alive(pid) for pid in pids):
            expect(time.monotonic() < deadline, f"a rank stays after the kill of rank {victim}\n{told}")
            time.sleep(0.01)
        experiment.expect_sound()
        done += killed
        if code == 0:
            expect(json.loads(out)["result_digest"] == digest, f"another digest than {digest}\n{told}")
            faults.count("runs that ended all the same")
            shutil.rmtree(experiment.out)
        else:
            expect(killed, f"it failed by itself\n{told}")
    expect(experiment.finish("--keep-every-step", ranks=2) == digest, f"another digest than {digest}")
    faults.count("kills", done)


def calls_of(log):
    """(name, path) of each call that the shim saw."""
    return [tuple(line.split(" ", 1)) for line in log.read_text().splitlines()] if log.exists() else []


def places(faults, number):
    """Numbers of the calls that are tried."""
    return sorted(n for n in range(1, number + 1) if faults.long or n % 5 == 0 or n <= 3 or n > number - 3)


def prepare_calls(faults):
    """Counts the calls of an undisturbed run. Returns their number and the digest."""
    experiment, log = Experiment(faults, "count calls"), faults.root / "count.log"
    digest = experiment.finish("--keep-every-step", goes_on=False, env=faults.fault_env(experiment, log))
    number = len(calls_of(log))
    expect(number > 50, f"only {number} calls: is the shim at work?")
    return number, digest


def saves_before(calls):
    """Whether a checkpoint was complete before the last of these calls."""
    return any(call == "rename" and path.endswith(".checkpoint") for call, path in calls[:-1])


def failed_call(faults, name, at, kind, stays, digest):
    """The N-th call fails: exit code 7, one message, no temporary file; then the same command goes on."""
    experiment, log = Experiment(faults, name), faults.root / (re.sub(r"\W+", "_", name) + ".log")
    ended = experiment.run("--keep-every-step", env=faults.fault_env(experiment, log, at, kind, stays))
    code, out, err, told = ended
    calls = calls_of(log)
    expect(len(calls) >= at, f"only {len(calls)} calls\n{told}")
    (call, path), told = calls[at - 1], f"{calls[at - 1]}\n{told}"
    # A probe is thrown away; a first checkpoint has none before it, so nothing is at stake in either.
    harmless = call == "close" and ".reel-probe." in path or path.endswith(".checkpoint.before") and not saves_before(calls[:at])
    if code != 0 or not harmless:
        says = [ERRORS[kind]]
        if kind != "EIO":
            says.append("free ")
            if call == "write" and ".mkv." not in path:
                says.append("needed ")
        expect(code == 7, f"exit code 7 expected\n{told}")
        experiment.expect_message(ended, 7, *says)
        if kind != "EIO":
            expect(re.search(r"free \d+ bytes", err) and ("needed " not in says or re.search(r"needed \d+ bytes", err)), f"no bytes\n{told}")
        left = [p.name for p in experiment.out.iterdir() if p.name.startswith(".")]
        expect(not left, f"left behind: {left}\n{told}")
        experiment.expect_sound()
        got = experiment.finish(goes_on=saves_before(calls[:at]))
    else:
        got = json.loads(out)["result_digest"]
    expect(got == digest, f"digest {got}, not {digest}\n{told}")
    faults.count("failed writes")
    faults.count(kind)


def killed_call(faults, name, at, digest):
    """The process dies at the N-th call, in the middle of a write."""
    experiment, log = Experiment(faults, name), faults.root / (re.sub(r"\W+", "_", name) + ".log")
    code, _, _, told = experiment.run("--keep-every-step", env=faults.fault_env(experiment, log, at, "KILL"))
    calls = calls_of(log)
    expect(code == -signal.SIGKILL and len(calls) == at, f"{len(calls)} calls\n{told}")
    experiment.expect_sound()
    got = experiment.finish(goes_on=saves_before(calls))
    expect(got == digest, f"{calls[-1]}: digest {got}, not {digest}")
    faults.count("kills within a write")


STOPS = {"sampler__steps": "6", "shot__frames": "9", "sampler__guidance": "2.0"}
NUM_STOPS = 6 + 3  # steps and latent frames


def stop_after(faults, name, k):
    """Stopped after k steps alone, resumed on two ranks with the other partition; or the other way round."""
    experiment = Experiment(faults, name, **STOPS)
    layouts = [{}, {"ranks": 2}]
    first, second = layouts if k % 2 else layouts[::-1]
    other = ["--set", 'run.partition="stream"']
    experiment.expect_message(experiment.run("--stop-after", str(k), *(other if first else []), **first), 75, "as --stop-after asks", "run the same command again")
    got = experiment.finish(*(other if second else []), goes_on=True, **second)
    expect(got == faults.stop_digest(), f"digest {got}")
    faults.count("stops")


def stop_twice(faults, name):
    """One step at a time."""
    experiment = Experiment(faults, name, **STOPS)
    for k in range(NUM_STOPS):
        experiment.expect_message(experiment.run("--stop-after", "1"), 75, f"{min(k + 1, 6) if k < 6 else 0} steps and {max(0, k - 5)} latent frames saved")
    got = experiment.finish(goes_on=True)
    expect(got == faults.stop_digest(), f"digest {got}")
    faults.count("stops", NUM_STOPS)


def signalled(faults, name, ranks, number):
    """A signal asks to stop: to the process, or to the launcher, or to one rank of two."""
    experiment = Experiment(faults, name, sampler__steps="400", shot__frames="17", shot__size="[64, 64]")
    process = experiment.start("--keep-every-step", ranks=ranks)
    wait_until(lambda: list(experiment.out.glob("*.checkpoint")), process, "a checkpoint was there")
    os.kill(pids_of(experiment)[1] if ranks else process.pid, number)
    experiment.expect_message(experiment.end(process), 75, f"signal {int(number)} ", "saved")
    got, whole = experiment.finish(goes_on=True), faults.signal_digest()
    expect(got == whole, f"digest {got}, not {whole}")
    faults.count("signals")


def stop_file(faults, name):
    experiment = Experiment(faults, name, **STOPS)
    experiment.out.mkdir()
    (experiment.out / "STOP").touch()
    for done in (1, 2):
        experiment.expect_message(experiment.run(), 75, "STOP' is there", f"{done} steps and 0 latent frames saved")
    (experiment.out / "STOP").unlink()
    got = experiment.finish(goes_on=True)
    expect(got == faults.stop_digest(), f"digest {got}")
    faults.count("stops", 2)


def walltime(faults, name):
    """Time is up: by option, by environment, and neither."""
    experiment = Experiment(faults, name, **STOPS)
    experiment.expect_message(experiment.run("--walltime", "1 s"), 75, "s are left (--walltime)", "1 steps and")
    experiment.expect_message(experiment.run(env={"REEL_END_TIME": str(int(time.time()) + 2)}), 75, "s are left (REEL_END_TIME)", "2 steps and")
    experiment.expect_message(experiment.run(env={"REEL_END_TIME": "soon"}), 2, "'soon' is no time", "REEL_END_TIME")
    got = experiment.finish("--walltime", "1 h", goes_on=True)
    expect(got == faults.stop_digest(), f"digest {got}")
    faults.count("stops", 2)


def truncated(faults, name, file, size):
    """A weight file that is cut off."""
    experiment = Experiment(faults, name, own_model=True)
    os.truncate(experiment.folder / "model" / file, size)
    experiment.expect_message(experiment.run(), 3)
    expect(not experiment.out.exists() or not list(experiment.out.iterdir()), "left behind")
    faults.count("cut weights")


def once(make):
    """Computed by whoever asks first."""
    lock, made = threading.Lock(), []

    def get():
        with lock:
            if not made:
                made.append(make())
            return made[0]
    return get


def scenes(faults, seed):
    """Pairs of a name and what to do, the dearest first."""
    faults.stop_digest = once(lambda: Experiment(faults, "stop digest", **STOPS).finish(goes_on=False))
    faults.signal_digest = once(lambda: Experiment(faults, "signal digest", sampler__steps="400", shot__frames="17", shot__size="[64, 64]").finish())
    calls = once(lambda: prepare_calls(faults))
    chains, all_kills = (4, 500) if faults.long else (3, 15)
    for chain in range(chains):
        name = f"kills {chain}"
        yield name, lambda name=name, chain=chain: kills(faults, name, f"{seed} {chain}", all_kills // chains)
    for k in range(1, NUM_STOPS + 1):
        name = f"stop after {k}"
        yield name, lambda name=name, k=k: stop_after(faults, name, k)
    for ranks, number in ((0, signal.SIGUSR1), (0, signal.SIGTERM), (2, signal.SIGUSR1)):
        name = f"signal {number.name} {ranks}"
        yield name, lambda name=name, ranks=ranks, number=number: signalled(faults, name, ranks, number)
    for name, scene in (("one step at a time", stop_twice), ("stop file", stop_file), ("walltime", walltime)):
        yield name, lambda name=name, scene=scene: scene(faults, name)
    number, digest = calls()
    kinds = tuple(ERRORS)
    for index, at in enumerate(places(faults, number)):
        for kind in kinds if faults.long else (kinds[index % len(kinds)],):
            name = f"{kind} at {at}"
            yield name, lambda name=name, at=at, kind=kind, stays=at % 2 == 1: failed_call(faults, name, at, kind, stays, digest)
        name = f"KILL at {at}"
        yield name, lambda name=name, at=at: killed_call(faults, name, at, digest)
    cuts = [(file.relative_to(faults.fixtures / "pipeline_tiny"), size)
            for file in sorted((faults.fixtures / "pipeline_tiny").rglob("*.safetensors")) for size in range(0, file.stat().st_size, 4096)]
    for file, size in cuts if faults.long else cuts[::max(1, len(cuts) // 11)]:
        name = f"{file} cut to {size}"
        yield name, lambda name=name, file=file, size=size: truncated(faults, name, file, size)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reel", required=True)
    parser.add_argument("--fixtures", required=True)
    parser.add_argument("--mpiexec", required=True)
    parser.add_argument("--shim", required=True)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", default="1", help="of the moments at which ranks are killed")
    parser.add_argument("--jobs", type=int, default=3 * len(os.sched_getaffinity(0)))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="reel-fault-"))
    faults, failed, begin = Faults(options, root), [], time.monotonic()

    def one(job):
        name, do = job
        start = time.monotonic()
        try:
            do()
        except Exception as problem:  # one bad scene does not hide the others
            with faults.lock:
                failed.append(name)
                print(f"FAILED {name}: {type(problem).__name__}: {problem}\n", flush=True)
        if options.words:
            print(f"{time.monotonic() - start:6.1f} s  {name}", flush=True)

    try:
        jobs = [job for job in scenes(faults, options.seed) if not options.words or any(word in job[0] for word in options.words)]
        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(one, jobs))
        kinds = ", ".join(f"{kind} {faults.counts.pop(kind)}" for kind in ERRORS if kind in faults.counts)
        told = [f"{number} {what}" + (f" ({kinds})" if what == "failed writes" else "") for what, number in sorted(faults.counts.items())]
        print(f"{', '.join(told)}: {'all good' if jobs and not failed else f'{len(failed)} of {len(jobs)} scenes FAILED'}, "
              f"{time.monotonic() - begin:.0f} s")
        return 1 if failed or not jobs else 0
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
