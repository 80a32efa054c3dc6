#!/usr/bin/env python3
"""Bad input at the border of the program: one message with what, where and what to do, the documented exit code on every
rank, no hang, nothing half-written. Each case is made in a folder of its own from the fixtures, then damaged.

    bad_input.py --reel PROGRAM --fixtures FOLDER --mpiexec MPIEXEC [words of case names ...]
"""
import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True  # nothing is left in the source folder
from bad_cases import CASES, tensors, toml  # noqa: E402

TIMEOUT_S = 60
NOISE = ("terminate called", "Traceback", "received signal", "Segmentation fault", "core dumped", "Sanitizer",
         "HDF5-DIAG", "Assertion", "broken promise", "basic_string", "filesystem error", "json.exception.out_of_range")
HEADER = re.compile(r"^error: (rank \d+: )?(.+) \(exit (\d+)\)$", re.MULTILINE)


class Failure(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failure(text)


class Runner:
    def __init__(self, options, root):
        self.root = root
        self.mpiexec = options.mpiexec
        self.fixtures = pathlib.Path(options.fixtures)
        # A copy that anybody may run, also where the build folder is private.
        (root / "bin").mkdir()
        self.reel = root / "bin" / "reel"
        shutil.copy(options.reel, self.reel)
        self.reel.chmod(0o755)
        # Keeps the exit code of every rank. In a session of its own, because mpirun kills, a second after the first rank has
        # left, those that a busy machine keeps on their way out.
        self.rank_sh = root / "bin" / "rank.sh"
        self.rank_sh.write_text("#!/bin/sh\nexec setsid --fork --wait sh -c '"
                                'at="$CODES/$OMPI_COMM_WORLD_RANK"; echo $$ > "$at.pid"; "$@"; code=$?; '
                                'echo $code > "$at.new"; mv "$at.new" "$at"; exit $code\' rank "$@"\n')
        self.rank_sh.chmod(0o755)
        for name in ("pipeline_tiny", "pipeline_expand"):
            shutil.copytree(self.fixtures / name, root / name)
        for path in root.rglob("*"):
            path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
        self.env = {key: value for key, value in os.environ.items()
                    if not key.startswith(("OMPI_", "PMIX_", "PMI_", "SLURM_", "REEL_"))}
        self.env.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_mpi_yield_when_idle="1",
                        NO_COLOR="1", LC_ALL="C.UTF-8")

    def folder(self, name, model="pipeline_tiny", damage=None, text=None, **changes):
        folder = self.root / re.sub(r"\W+", "_", name)
        folder.mkdir()
        shutil.copytree(self.root / model, folder / "model")
        data = toml(**changes) if text is None else text
        (folder / "e.toml").write_bytes(data if isinstance(data, bytes) else data.encode())
        if damage:
            damage(folder)
        return folder

    def mpirun(self, ranks, command):
        return [self.mpiexec, "--oversubscribe", "--bind-to", "none", "-n", str(ranks), *command]

    def call(self, command, cwd, env=None, user=None, file_limit=None, stdout=subprocess.PIPE):
        def prepare():
            if file_limit:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
            if user is not None and os.geteuid() == 0:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
        process = subprocess.Popen([str(part) for part in command], cwd=cwd, env=dict(self.env, **(env or {})), stdout=stdout,
                                   stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, preexec_fn=prepare,
                                   start_new_session=True)
        try:
            out, err = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise Failure(f"hangs: no end after {TIMEOUT_S} s\n{err.decode(errors='replace')}")
        return process.returncode, (out or b"").decode(errors="replace"), err.decode(errors="replace")

    def run(self, name, code, says, args=("run", "-q", "e.toml"), ranks=(0,), findings=1, place=True, alone=False, silent=True,
            every_rank=True, seconds=TIMEOUT_S, model="pipeline_tiny", damage=None, text=None, keeps=(), env=None, user=None,
            file_limit=None, command=None, stdout=subprocess.PIPE, changes=None):
        """args: of the program. ranks: launches, 0 without mpirun. findings: number of messages. place: a '-->' is due.
        alone: one rank fails alone and speaks for itself. silent: nothing on stdout. every_rank: all ranks end with `code`.
        keeps: files that may be there afterwards."""
        folder = self.folder(name, model, damage, text, **(changes or {}))
        if user is not None and os.geteuid() == 0:
            (folder / "home").mkdir()
            os.chown(folder / "home", user, user)
            env = dict(env or {}, HOME=str(folder / "home"), TMPDIR=str(folder / "home"))
        for count in ranks:
            before = self.files(folder)
            codes = folder / f"codes-{count}"
            codes.mkdir()
            line = [self.reel, *args] if command is None else [str(part).replace("REEL", str(self.reel)) for part in command]
            if count:
                line = self.mpirun(count, [self.rank_sh, *line])
                os.chmod(codes, 0o777)
            begin = time.monotonic()
            got, out, err = self.call(line, folder, dict(env or {}, CODES=str(codes)), user, file_limit, stdout)
            took = time.monotonic() - begin
            told = f"{count} ranks: exit code {got}, {took:.1f} s\nstdout: {out}\nstderr: {err}"
            expect(got == code, f"exit code {code} expected\n{told}")
            expect(took < seconds, f"took more than {seconds} s\n{told}")
            all_codes = self.codes_of_ranks(codes, count, seconds) if count else []
            left = sorted(str(p) for p in self.files(folder) - before
                          if not p.parts[0].startswith(("codes-", "home")) and not any(p.match(k) for k in keeps))
            expect(not left, f"left behind: {left}\n{told}")
            if code:
                self.check_message(err, code, says, findings, place, alone, told)
                expect(out == "" or not silent, f"stdout should be empty\n{told}")
            else:
                for text_part in says:
                    expect(text_part in out + err, f"'{text_part}' is not said\n{told}")
                expect(not HEADER.search(err), f"a message about nothing\n{told}")
            for noise in NOISE:
                expect(noise not in err, f"noise: {noise}\n{told}")
            if count and every_rank and not alone:
                expect(all_codes == [str(code)] * count, f"exit codes of the ranks: {all_codes}\n{told}")

    @staticmethod
    def codes_of_ranks(codes, count, seconds):
        """Waits for the ranks that mpirun left behind; ends those that stay."""
        ends, deadline = [codes / str(rank) for rank in range(count)], time.monotonic() + seconds
        while not all(end.exists() for end in ends) and time.monotonic() < deadline:
            time.sleep(0.02)
        for rank, end in enumerate(ends):
            if not end.exists() and (codes / f"{rank}.pid").exists():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(int((codes / f"{rank}.pid").read_text()), signal.SIGKILL)
        return [end.read_text().strip() if end.exists() else "none" for end in ends]

    @staticmethod
    def files(folder):
        return {p.relative_to(folder) for p in folder.rglob("*") if not p.is_dir()}

    @staticmethod
    def check_message(err, code, says, findings, place, alone, told):
        heads = list(HEADER.finditer(err))
        expect(len(heads) == len(re.findall("^error", err, re.MULTILINE)), f"a message of another form\n{told}")
        expect(len(heads) == findings, f"{findings} message(s) expected, found {len(heads)}\n{told}")
        for i, head in enumerate(heads):
            expect(head.group(3) == str(code), f"the message names another exit code\n{told}")
            expect(bool(head.group(1)) == alone, f"who speaks?\n{told}")
            block = err[head.end():heads[i + 1].start() if i + 1 < len(heads) else len(err)].strip("\n").split("\n")
            expect(not place or block[0].startswith("  --> "), f"no place\n{told}")
            expect(any(re.match(r"  try: .+|\s+\| +\^+( .+)?$", line) for line in block), f"no advice\n{told}")
        for text in says:
            expect(text in err, f"'{text}' is not said\n{told}")


def lone_model(runner, name):
    """The experiment leads rank 1 to a folder without weights: all ranks agree on that."""
    folder = runner.folder(name)
    (folder / "other").mkdir()
    shutil.copy(folder / "e.toml", folder / "other")
    script = folder / "go.sh"
    script.write_text(f'#!/bin/sh\nif [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then cd other; fi\nexec {runner.reel} run -q e.toml\n')
    script.chmod(0o755)
    begin = time.monotonic()
    code, out, err = runner.call(runner.mpirun(3, [script]), folder)
    told = f"exit code {code}\n{out}\n{err}"
    expect(code == 3 and time.monotonic() - begin < 30, told)
    runner.check_message(err, 3, ["other/model", "no such folder"], 1, True, False, told)
    expect(not list((folder / "out").iterdir()), told)


def lone_tensor(runner, name):
    """Rank 1 alone is given a tensor of another shape: it waits a while for the others, speaks and ends them all."""
    folder = runner.folder(name)
    tensors(folder / "0.safetensors", z=([1, 16, 5, 8, 8],))
    tensors(folder / "1.safetensors", z=([1, 8, 5, 8, 8],))
    script = folder / "go.sh"
    script.write_text(f"#!/bin/sh\nexec {runner.reel} forward vae_decode --model model --in $OMPI_COMM_WORLD_RANK.safetensors --out y\n")
    script.chmod(0o755)
    begin = time.monotonic()
    code, out, err = runner.call(runner.mpirun(2, [script]), folder)
    told = f"exit code {code}\n{out}\n{err}"
    expect(code == 3 and time.monotonic() - begin < 30, told)
    runner.check_message(err, 3, ["1.safetensors", "'z'"], 1, True, True, told)
    expect(not list(folder.glob("*y*")), told)


def singletons(runner, name):
    """srun without PMIx: four processes that each believe to be alone."""
    folder = runner.folder(name)
    processes = [subprocess.Popen([runner.reel, "run", "-q", "e.toml"], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env=dict(runner.env, SLURM_STEP_NUM_TASKS="4", SLURM_PROCID=str(i))) for i in range(4)]
    ends = [process.communicate(timeout=TIMEOUT_S) for process in processes]
    err = b"".join(e for _, e in ends).decode()
    told = f"{[p.returncode for p in processes]}\n{err}"
    expect([p.returncode for p in processes] == [5] * 4, told)
    runner.check_message(err, 5, ["4 processes", "SLURM_STEP_NUM_TASKS", "srun --mpi=pmix"], 1, True, False, told)
    expect(not (folder / "out").exists(), told)
    expect(not any(noise in err for noise in NOISE), told)


def other_program(runner, name):
    folder = runner.folder(name)
    other = folder / "reel"
    other.write_bytes(runner.reel.read_bytes() + b"\0")
    other.chmod(0o755)
    tail = ["run", "-q", "e.toml"]
    code, out, err = runner.call(runner.mpirun(1, [runner.reel, *tail]) + [":", "-n", "1", other, *tail], folder)
    told = f"exit code {code}\n{out}\n{err}"
    expect(code == 5, told)
    runner.check_message(err, 5, ["rank 1", "another reel program"], 1, True, False, told)
    expect(not (folder / "out").exists(), told)


def clips(runner, name):
    """Given clips that do not go with the shot."""
    folder = runner.folder(name, "pipeline_expand")
    for frames, size in ((5, "64x64"), (1, "32x32")):
        code, out, err = runner.call([runner.reel, "world", "uniform", "--frames", frames, "--size", size, "--out", size], folder)
        expect(code == 0, err)
    for video, latents, says in (("64x64/uniform-0.mkv", 1, "the clip is 64 x 64 pixels, the shot 32 x 32"),
                                 ("32x32/uniform-0.mkv", 2, "the clip has 1 frames, 5 are needed")):
        (folder / "e.toml").write_text(toml(shot__frames="9", shot__first_frames=f'{{video = "{video}", latents = {latents}}}'))
        for launch in (lambda c: c, lambda c: runner.mpirun(2, c)):
            code, out, err = runner.call(launch([runner.reel, "run", "-q", "e.toml"]), folder)
            expect(code == 3, f"exit code {code}\n{err}")
            runner.check_message(err, 3, [video, says], 1, True, False, err)
    expect(not list((folder / "out").iterdir()), "left behind")


def on_small_disk(runner, folder, kib, command, fill=0):
    """Runs with folder/out on a file system of that size. Returns code, stderr, names in it afterwards; None: not allowed."""
    (folder / "out").mkdir(exist_ok=True)
    script = (f"mount -t tmpfs -o size={kib}k tmpfs out || exit 99\n"
              f"head -c {fill} /dev/zero > out/full\n\"$@\"\ncode=$?\nls -A out > names\nexit $code")
    code, out, err = runner.call(["unshare", "-m", "sh", "-c", script, "sh", *command], folder)
    if code == 99 or err.startswith("unshare"):
        return None
    return code, err, (folder / "names").read_text().split()


def full_disk(runner, name):
    """No room at the start, then no room for the result, then little for the film."""
    folder = runner.folder(name, shot__frames="17", shot__size="[64, 64]")
    command = [runner.reel, "run", "-q", "e.toml"]
    if shutil.which("unshare") is None:
        return
    for kib, fill, launch in ((16, 1 << 20, lambda c: c), (32, 0, lambda c: c), (32, 0, lambda c: runner.mpirun(2, c))):
        found = on_small_disk(runner, folder, kib, launch(command), fill)
        if found is None:  # not root, or no right to mount
            return
        code, err, names = found
        expect(code == 7, f"{kib} kB: exit code {code}\n{err}")
        runner.check_message(err, 7, ["No space left", "needed", "free", "bytes", "out"], 1, True, False, err)
        expect({n.split(".")[-1] for n in names} - {"checkpoint", "before"} == {"full"}, f"left behind: {names}")
    film = folder / "e.toml"
    film.write_text(toml(shot__frames="17", shot__size="[64, 64]", output__video='"ffv1"', output__pixels="false", output__latents="false"))
    code, err, names = on_small_disk(runner, folder, 128, command)  # for the film, or for the checkpoint that holds it
    expect(code == 7, f"exit code {code}\n{err}")
    runner.check_message(err, 7, ["No space left", "free"], 1, True, False, err)
    expect({n.split(".")[-1] for n in names} - {"checkpoint", "before", "h5"} == {"full"}, f"left behind: {names}")


def terminated(runner, name):
    """SIGTERM while it computes: it stops in order, a checkpoint and no result; twice: at once. While it writes the film: no
    half film, the result is whole."""
    for ranks in (0, 2):
        folder = runner.folder(f"{name} {ranks}", sampler__steps="1000", shot__frames="81", shot__size="[64, 64]")
        command = [runner.reel, "run", "-q", "e.toml"]
        process = subprocess.Popen([str(c) for c in (runner.mpirun(ranks, command) if ranks else command)], cwd=folder, env=runner.env,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        while not (folder / "out").exists() and process.poll() is None:
            time.sleep(0.02)
        time.sleep(0.5)
        process.terminate()
        err = process.communicate(timeout=TIMEOUT_S)[1].decode()
        expect(process.returncode == 75 or (ranks and process.returncode == 1), f"exit code {process.returncode}\n{err}")  # 1: mpirun's own
        left = [p.name for p in (folder / "out").iterdir()]
        expect(all(".checkpoint" in name and not name.endswith((".next", ".tmp")) for name in left), f"left behind: {left}")
        expect(ranks or left, "no checkpoint")
    folder = runner.folder(f"{name} twice", sampler__steps="2", shot__frames="81", shot__size="[512, 512]")
    process = subprocess.Popen([runner.reel, "run", "-q", "e.toml"], cwd=folder, env=runner.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "out").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(1)  # in a long step
    process.terminate()
    time.sleep(0.1)
    process.terminate()
    expect(process.wait(timeout=TIMEOUT_S) == -signal.SIGTERM, f"exit code {process.returncode}")
    folder = runner.folder(f"{name} film", "pipeline_expand", shot__frames="201", output__video='"h264"', shot__size="[64, 64]")
    process = subprocess.Popen([runner.reel, "run", "-q", "e.toml"], cwd=folder, env=runner.env, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)
    while process.poll() is None and not (folder / "out").exists():
        time.sleep(0.01)
    while process.poll() is None and not list((folder / "out").glob(".*.mp4*.tmp")):
        time.sleep(0.001)
    process.terminate()
    expect(process.wait(timeout=TIMEOUT_S) == -signal.SIGTERM, f"exit code {process.returncode}")
    left = {p.suffix for p in (folder / "out").iterdir()}
    expect(left - {".checkpoint", ".before"} == {".h5"}, f"left behind: {left}")


def verify(runner, name):
    """reel verify lists every file on stdout and ends with 3 when one cannot be read."""
    folder = runner.folder(name)
    (folder / "cut.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    for ranks in (0, 2):
        command = [runner.reel, "verify", "none.h5", "cut.h5", "e.toml", "model"]
        code, out, err = runner.call(runner.mpirun(ranks, command) if ranks else command, folder)
        expect(code == 3, f"exit code {code}\n{out}{err}")
        for file in ("none.h5", "cut.h5", "e.toml", "model"):
            expect(f"UNREADABLE {file}" in out, f"{file}\n{out}")
        expect(not any(noise in err for noise in NOISE), err)


def good_run(runner, name):
    """After all that a good run still works, alone and on ranks, with one digest; its result verifies."""
    folder = runner.folder(name, output__video='"h264"', sampler__steps="2", sampler__guidance="5.0")
    digests = set()
    for ranks in (0, 2, 3):
        command = [runner.reel, "--json", "run", "-q", "e.toml"]
        code, out, err = runner.call(runner.mpirun(ranks, command) if ranks else command, folder)
        expect(code == 0, f"exit code {code}\n{err}")
        summary = json.loads(out)
        digests.add(summary["result_digest"])
        code, out, err = runner.call([runner.reel, "verify", summary["result"]], folder)
        expect(code == 0 and out.startswith("ok"), f"exit code {code}\n{out}{err}")
    expect(len(digests) == 1, f"digests differ: {digests}")
    names = sorted(p.suffix for p in (folder / "out").iterdir())
    expect(names == [".h5"] * 3 + [".mp4"] * 3, f"files: {names}")


SCENES = [("one rank finds no model", lone_model), ("one rank fails alone", lone_tensor), ("four singletons", singletons),
          ("different programs", other_program), ("given clips", clips), ("full disk", full_disk), ("terminated", terminated),
          ("verify", verify), ("good run", good_run)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reel", required=True)
    parser.add_argument("--fixtures", required=True)
    parser.add_argument("--mpiexec", required=True)
    parser.add_argument("--jobs", type=int, default=3 * len(os.sched_getaffinity(0)))
    parser.add_argument("words", nargs="*")
    options = parser.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="reel-bad-input-"))
    root.chmod(0o755)
    try:
        runner = Runner(options, root)
        jobs = [(name, lambda name=name, scene=scene: scene(runner, name)) for name, scene in SCENES]
        jobs += [(name, lambda c=(name, code, says, more): runner.run(c[0], c[1], c[2], **c[3])) for name, code, says, more in CASES]
        jobs = [job for job in jobs if not options.words or any(word in job[0] for word in options.words)]
        failed, begin, lock = [], time.monotonic(), threading.Lock()

        def one(job):
            name, do = job
            start = time.monotonic()
            try:
                do()
            except Exception as problem:  # one bad case does not hide the others
                with lock:
                    failed.append(name)
                    print(f"FAILED {name}: {type(problem).__name__}: {problem}\n", flush=True)
            if options.words:
                print(f"{time.monotonic() - start:6.1f} s  {name}", flush=True)

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(one, jobs))
        print(f"{len(jobs) - len(failed)} of {len(jobs)} cases good, {time.monotonic() - begin:.0f} s")
        return 1 if failed or not jobs else 0
    finally:
        for path in root.rglob("*"):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
