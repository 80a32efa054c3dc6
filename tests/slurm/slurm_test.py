#!/usr/bin/env python3
"""A sweep on a real Slurm, with all that happens to jobs there: a node is lost, a task has to make room, another's time is
up, one on two nodes is requeued. In the end each task is done once, and all digests are those of a run without Slurm. A
second sweep, started by mpirun, fails, is tried again, cancelled, and goes on.

    slurm_test.py --reel PROGRAM --source FOLDER

The cluster is one of its own (slurm/private_cluster.sh). All processes live in one namespace and all files on a file system
in it, so that none outlives the test, however that ends (killed, it leaves an empty folder). Exit code 77 (skipped), with the
reason, where that is not possible.
"""
import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

from cluster import Cluster, Failure, expect, in_namespace, is_gone, is_stopped, is_told, signal_all, wait_until

BASE = """reel = 1
[shot]
prompt = "a green ball is thrown to the right and falls down"
frames = 33
size = [64, 64]
seed = 3
[model]
path = "model"
[output]
dir = "out"
video = "none"
"""
SWEEP = """reel = 1
base = "base.toml"
[sweep]
seeds = 2
[sweep.matrix]
sampler.steps = {steps}
[[sweep.zip]]
run.ranks = {ranks}
run.threads = {threads}
[output]
dir = "{name}"
[slurm]
walltime = "1 min"
"""
NODE_CPUS = 4


def has_saved(checkpoint, pids):
    """Whether these processes, not others before them, wrote it: then they also know what a signal means."""
    with contextlib.suppress(OSError):
        return bool(pids) and checkpoint.stat().st_mtime > max(os.stat(f"/proc/{pid}").st_mtime for pid in pids)
    return False


class Held:
    """A task that stands still in the middle of its work, having saved before: what happens next hits it there."""

    def __init__(self, cluster, sweep, claim, pids):
        self.cluster, self.pids, self.job, self.node = cluster, pids, claim["job"], claim["host"]
        facts = cluster.facts(self.job)
        self.restarts = int(facts["Restarts"])
        self.log = sweep.out / "slurm" / f"{facts['ArrayJobId']}_{facts['ArrayTaskId']}.log"

    def go_on_when_told(self):
        """Slurm may have it go on by itself: a task that must make room gets CONT, then USR1."""
        wait_until(f"USR1 for job {self.job}", lambda: any(map(is_told, self.pids)) or not any(map(is_stopped, self.pids)), 0.05)
        signal_all(self.pids, signal.SIGCONT)

    def wait_until_requeued(self):
        wait_until(f"job {self.job} is requeued", lambda: int(self.cluster.facts(self.job)["Restarts"]) > self.restarts)

    def expect_said(self, *texts):
        log = self.log.read_text()
        for text in (*texts, "goes on from"):
            expect(text in log, f"'{text}' is not said in {self.log.name}:\n{log}")


class Sweep:
    def __init__(self, cluster, name, ranks, threads, steps=(30, 45)):
        self.cluster, self.file, self.out, self.disturbed = cluster, cluster.root / f"{name}.toml", cluster.root / name, set()
        self.file.write_text(SWEEP.format(name=name, ranks=ranks, threads=threads, steps=list(steps)))

    def reel(self, *words, **options):
        return self.cluster.command(self.cluster.reel, "sweep", *words, **options)

    def status(self):
        return json.loads(self.reel("status", self.file, "--json"))

    def runs(self):
        lines = (self.out / "sweep.manifest.jsonl").read_text().splitlines()
        return {run["run"]: run for run in map(json.loads, lines) if "run" in run}

    def digest(self, name):
        return self.cluster.command(self.cluster.reel, "verify", self.out / f"{name}.h5").split()[-1]

    def submit(self, machine):
        """Shows the scripts, which writes nothing; then submits, and Slurm has the same ones."""
        shown = self.reel(self.file, "--slurm", "--machine", machine, "--print")
        expect(not self.out.exists(), "--print wrote something")
        self.reel(self.file, "--slurm", "--machine", machine)
        arrays = (self.out / "slurm/jobs").read_text().split()
        submitted = "\n".join(self.cluster.command("scontrol", "write", "batch_script", array, "-").rstrip("\n") + "\n" for array in arrays)
        expect(shown.strip() == submitted.strip(), f"what is shown is not what is submitted\n{shown}\n{submitted}")

    def claim(self, name):
        """Who works on a run, {} when nobody does."""
        with contextlib.suppress(OSError, json.JSONDecodeError):
            return json.loads((self.out / f"{name}.claim").read_text())
        return {}

    def hold(self, nodes=1, not_on=None):
        """The next task on so many nodes that has saved since it was started, and that was not held before."""
        runs = self.runs()

        def caught():
            for name in sorted(path.stem for path in self.out.glob("*.checkpoint")):
                run, claim = runs[name], self.claim(name)
                layout = dict(text.split("=", 1) for text in run["overrides"])
                ranks = int(layout["run.ranks"])
                is_wide = ranks * int(layout["run.threads"]) > NODE_CPUS
                if name in self.disturbed or is_wide != (nodes > 1) or claim.get("host") in (None, not_on):
                    continue
                pids = self.processes(run)
                if not has_saved(self.out / f"{name}.checkpoint", pids):
                    continue
                signal_all(pids, signal.SIGSTOP)
                wait_until("a task stands still", lambda: all(is_stopped(pid) or is_gone(pid) for pid in pids), 0.001)
                if len(pids) == ranks and all(map(is_stopped, pids)) and not (self.out / f"{name}.h5").exists():
                    self.disturbed.add(name)
                    return Held(self.cluster, self, claim, pids)
                signal_all(pids, signal.SIGCONT)
            return None
        return wait_until("a task is at work", caught, 0.02)

    def processes(self, run):
        found = []
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_text().split("\0")[:-1]
                if words[:1] == [str(self.cluster.reel)] and words[-4:] == ["--manifest", str(self.out), "--index", str(run["index"])]:
                    found.append(int(path.parent.name))
        return found

    def expect_complete(self, digests):
        """All is done, each task has one digest, and that is the one in `digests`; nothing else is left."""
        runs, count = self.runs(), self.status()
        expect(count["done"] == count["total"] == len(runs), f"not all done: {count}")
        for name, run in runs.items():
            digest = self.digest(name)
            expect(digest == digests[run["task"]], f"{name}: digest {digest}, not {digests[run['task']]}")
        self.reel("collect", self.file)
        left = {path.name for path in self.out.iterdir()} - {f"{name}.h5" for name in runs} - {"sweep.h5", "sweep.manifest.jsonl", "slurm", "text_features"}
        expect(not left, f"left behind: {sorted(left)}")

    def expect_done_once(self):
        """Slurm completed each element once, and a film was decoded to its end once in each element's log."""
        jobs, completed = self.cluster.jobs(), self.cluster.completed()
        logs = {log.stem: log.read_text() for log in (self.out / "slurm").glob("*.log")}
        expect(len(logs) == len(self.runs()), f"{len(logs)} logs of {len(self.runs())} runs")
        for element, log in logs.items():
            expect(jobs[element] == "COMPLETED" and completed[element] == 1, f"{element}: {jobs[element]}, {completed} times")
            decoded = re.findall(r"^decode +[\d.]+ +[\d.]+%", log, re.MULTILINE)
            expect(len(decoded) == 1, f"{element} rendered {len(decoded)} films\n{log}")

    def expect_hosts(self, hosts):
        """Where the ranks of the runs on two nodes ran."""
        for name, run in self.runs().items():
            if f"run.threads={NODE_CPUS}" in run["overrides"]:
                facts = self.cluster.command("h5dump", "-d", "/provenance/ranks", self.out / f"{name}.h5")
                found = re.findall(r'\\?"host\\?": ?\\?"(\w+)', facts)
                expect(found == hosts, f"{name} ran on {found}, not {hosts}")


def run_here(cluster):
    """The digest of each task, without Slurm."""
    here = Sweep(cluster, "here", [1], [1])
    here.reel(here.file)
    digests = {run["task"]: here.digest(name) for name, run in here.runs().items()}
    expect(len(digests) == len(set(digests.values())) == 4, f"four tasks have four digests: {digests}")
    here.expect_complete(digests)
    return digests


def disturb(sweep, cluster, pool):
    pushed = sweep.hold()
    words = ("--partition=urgent", "--exclusive", f"--nodelist={pushed.node}", "--output=/dev/null", "--wrap=true")
    urgent = cluster.command("sbatch", "--parsable", *words).strip()
    pushed.go_on_when_told()
    wait_until("the urgent job is done", lambda: cluster.facts(urgent)["JobState"] == "COMPLETED")
    pushed.wait_until_requeued()
    print(f"{pushed.log.stem}: made room", flush=True)

    late = sweep.hold()
    time_is_up = pool.submit(late.go_on_when_told)
    lost = sweep.hold(not_on=late.node)
    cluster.control("kill-node", lost.node)
    lost.wait_until_requeued()
    cluster.control("start-node", lost.node)
    print(f"{lost.log.stem}: node {lost.node} was lost", flush=True)
    time_is_up.result()
    late.wait_until_requeued()
    print(f"{late.log.stem}: time was up", flush=True)

    requeued = sweep.hold(nodes=2)
    cluster.command("scontrol", "requeue", requeued.job)
    requeued.wait_until_requeued()
    print(f"{requeued.log.stem}: requeued", flush=True)
    cluster.wait_until_idle()
    for held in (late, pushed):
        held.expect_said("signal 10", "latent frames saved")
    for held in (lost, requeued):
        held.expect_said()


def fail_and_cancel(sweep, cluster, machine):
    """Its model is gone when it starts: it fails and stays so. Tried again it is cancelled at work; what is missing goes on."""
    cluster.command("scontrol", "update", "partitionname=normal", "state=down")
    sweep.submit(machine)
    model = cluster.root / "model"
    model.rename(cluster.root / "away")
    cluster.command("scontrol", "update", "partitionname=normal", "state=up")
    cluster.wait_until_idle()
    count = sweep.status()
    expect(count["failed"] == count["total"] == 2, f"not all failed: {count}")
    (cluster.root / "away").rename(model)
    sweep.reel("retry", sweep.file, "--slurm", "--machine", machine)
    held = sweep.hold(nodes=2)
    sweep.reel("cancel", sweep.file)
    signal_all(held.pids, signal.SIGCONT)
    cluster.wait_until_idle()
    expect("STOP is there: not started again" in held.log.read_text(), f"it was started again\n{held.log.read_text()}")
    count = sweep.status()
    expect(count["stopped"] == count["missing"] == 1, f"not cancelled: {count}")
    (sweep.out / "STOP").unlink()
    sweep.reel(sweep.file, "--slurm", "--machine", machine)
    cluster.wait_until_idle()
    print("failed, tried again, cancelled, done with mpirun", flush=True)


def expect_found(what, check):
    """A check must be able to fail."""
    try:
        check()
    except Failure:
        return
    raise Failure(f"not found: {what}")


def spoil(sweep, cluster, digests):
    """Puts one task's film in another's place, completes an element twice, removes a result: all of that is found."""
    log, (first, *_, last) = cluster.folder / "log/jobs", sweep.runs().values()
    expect(first["task"] != last["task"], "two tasks")
    with log.open("a") as file:
        file.write(next(line for line in log.read_text().splitlines(keepends=True) if "JobState=COMPLETED" in line and "ArrayTaskId=" in line))
    expect_found("an element that is completed twice", sweep.expect_done_once)
    shutil.copy(sweep.out / f"{first['run']}.h5", sweep.out / f"{last['run']}.h5")
    expect_found("a wrong digest", lambda: sweep.expect_complete(digests))
    said = sweep.reel("collect", sweep.file, code=1, stderr=subprocess.STDOUT)
    expect(re.findall(r"digest differs: (\S+) has", said) == [last["run"]], f"'{last['run']}' is not named\n{said}")
    (sweep.out / f"{last['run']}.h5").unlink()
    expect_found("a missing result", lambda: sweep.expect_complete(digests))


def test(root, reel, source):
    (root / "base.toml").write_text(BASE)
    (root / "model").symlink_to(source / "datasets/models/backlot-1")
    (root / "machine.toml").write_text((source / "slurm/machines/private.toml").read_text().replace('command = "srun"', 'command = "mpirun"'))
    cluster = Cluster(root, reel, source)
    try:
        scenes(cluster)
    except Exception:
        cluster.tell()
        raise


def scenes(cluster):
    pool = concurrent.futures.ThreadPoolExecutor()
    cluster.control("start", "2", NODE_CPUS)
    here = pool.submit(run_here, cluster)  # meanwhile, since nothing happens until the lost node is missed
    if "pmix" in cluster.command("srun", "--mpi=list", stderr=subprocess.STDOUT):
        # sbatch must not read anything into the name. Two runs share a node, or one takes both.
        sweep = Sweep(cluster, "on Slurm, 100%a", [1, 2, 2], [2, 1, NODE_CPUS])
        sweep.submit("private")
        disturb(sweep, cluster, pool)
        digests = here.result()
        sweep.expect_complete(digests)
        sweep.expect_done_once()
        sweep.expect_hosts(["n1", "n2"])
        print(f"{len(sweep.runs())} runs of {len(digests)} tasks done once, with the digests of a run without Slurm", flush=True)
        spoil(sweep, cluster, digests)
    else:
        digests = here.result()
        print("NOT TESTED: srun --mpi=pmix, which this Slurm does not have; mpirun alone is tested", flush=True)
    sweep = Sweep(cluster, "mpirun", [2], [NODE_CPUS], steps=[30])
    fail_and_cancel(sweep, cluster, cluster.root / "machine.toml")
    sweep.expect_complete(digests)
    sweep.expect_hosts(["n1", "n2"])
    cluster.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--reel", "--source"):
        parser.add_argument(name, required=True, type=lambda text: pathlib.Path(text).resolve())
    o = parser.parse_known_args()[0]
    sys.exit(in_namespace(["bash", o.source / "slurm/private_cluster.sh", "able"], lambda root: test(root, o.reel, o.source)))
