"""A private Slurm for a test, what processes do, and a namespace that none of them outlives."""
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

HANG_S = 180
ENDED = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "PREEMPTED")


class Failure(Exception):
    pass


def expect(condition, text):
    if not condition:
        raise Failure(text)


def wait_until(what, condition, every_s=0.5):
    end = time.monotonic() + HANG_S
    while not (found := condition()):
        expect(time.monotonic() < end, f"not within {HANG_S} s: {what}")
        time.sleep(every_s)
    return found


def signal_all(pids, number):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def status_of(pid):
    """What /proc tells of a process, {} when it is gone."""
    with contextlib.suppress(OSError):
        return dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    return {}


def is_gone(pid):
    return status_of(pid).get("State", "Z")[0] in "ZX"


def is_stopped(pid):
    return status_of(pid).get("State", "").startswith("T")


def is_told(pid):
    """Whether USR1 waits for it."""
    status = status_of(pid)
    return any(int(status.get(key, "0"), 16) & 1 << signal.SIGUSR1 - 1 for key in ("SigPnd", "ShdPnd"))


class Cluster:
    def __init__(self, root, reel, source):
        self.root, self.reel, self.script, self.folder = root, root / "reel", source / "slurm/private_cluster.sh", root / "cluster"
        shutil.copy(reel, self.reel)
        foreign = ("OMPI_", "PMIX_", "PMI_", "SLURM_", "REEL_")
        self.env = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        self.env.update(NO_COLOR="1", LC_ALL="C.UTF-8", TMPDIR=str(root), REEL_CLUSTER_DIR=str(self.folder),
                        SLURM_CONF=str(self.folder / "etc/slurm.conf"))

    def command(self, *words, code=0, stderr=subprocess.PIPE):
        """What a command says on standard output; it must end with `code`."""
        done = subprocess.run([str(word) for word in words], cwd=self.root, env=self.env, stdout=subprocess.PIPE, stderr=stderr,
                              text=True, timeout=HANG_S)
        expect(done.returncode == code, f"{words} ended with {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
        return done.stdout

    def control(self, *words):
        return self.command("bash", self.script, *words)

    def jobs(self):
        """State of all jobs that ever were, by "JOB_ELEMENT"."""
        return dict(line.split("|") for line in self.command("squeue", "-h", "-r", "-t", "all", "-o", "%F_%K|%T").splitlines())

    def facts(self, job):
        lines = self.command("scontrol", "-o", "show", "job", job).splitlines()  # all of an array, if it is one's first
        line = next(line for line in lines if line.startswith(f"JobId={job} "))
        return dict(word.split("=", 1) for word in line.split() if "=" in word)

    def wait_until_idle(self):
        wait_until("all jobs have ended", lambda: all(state in ENDED for state in self.jobs().values()))

    def completed(self):
        """How often each element of an array was completed."""
        lines = [line for line in (self.folder / "log/jobs").read_text().splitlines() if "JobState=COMPLETED" in line]
        found = ["_".join(match.groups()) for line in lines if (match := re.search(r"ArrayJobId=(\d+) ArrayTaskId=(\d+)", line))]
        return {element: found.count(element) for element in found}

    def stop(self):
        """Nothing of it stays in this namespace."""
        self.control("stop")
        left = [path.name for path in pathlib.Path("/proc").glob("[0-9]*") if int(path.name) != os.getpid() and not is_gone(path.name)]
        expect(not left, f"processes that stay: {left}")

    def tell(self):
        """All logs, for whoever looks for the cause of a failure."""
        for log in [*self.root.glob("*/slurm/*.log"), self.folder / "log/slurmctld.log", self.folder / "log/jobs"]:
            if log.exists():
                print(f"--- {log}\n{log.read_text(errors='replace')[-4000:]}")


def in_namespace(able, test):
    """Runs `test` on a folder, as process 1 of a namespace and on a file system in it: when it ends, the kernel ends all others in it.
    Returns the exit code: 0 or 1, or that of the command `able` when it is not 0."""
    if len(sys.argv) > 2 and sys.argv[-2] == "--inside":
        root, code = pathlib.Path(sys.argv[-1]), 1
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", root], check=True)
        try:
            test(root)
            code = 0
        except BaseException:  # whatever it is
            traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
        os._exit(code)  # does not wait for threads
    code = subprocess.run(able).returncode
    if code != 0:
        return code
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder, process = tempfile.mkdtemp(prefix="reel-slurm-", dir="/tmp"), None
    try:  # setpriv: should this process be killed, the namespace goes with it
        words = ["setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--mount"]
        process = subprocess.Popen([*words, sys.executable, *sys.argv, "--inside", folder])
        return process.wait()
    finally:
        if process:
            process.kill()
            process.wait()
        os.rmdir(folder)
