"""What run.py runs: programs that speak Google Benchmark's language, the names of their benchmarks, and the machine."""
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
FLAGS = "avx2 fma avx512f avx512bw avx512_vnni avx512_bf16 amx_tile amx_bf16 amx_int8".split()
SUFFIX = re.compile(r"(real|process|manual)_time|(min_time|min_warmup_time|iterations|repeats):.*")


class Failure(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def say(text):
    print(text, file=sys.stderr, flush=True)


def key_of(name):
    """op/PROFILE/shape/threads:T of a benchmark's name. Named arguments lose their names, `threads` goes last; an attention
    without heads has one; names of another form stay as they are."""
    parts = [p for p in name.split("/") if not SUFFIX.fullmatch(p)]
    numbers = [p.split(":")[-1] for p in parts if re.fullmatch(r"(?!threads:)\w+:\d+", p)]
    threads = next((p.split(":")[1] for p in parts if p.startswith("threads:")), "1")
    rest = [p for p in parts if ":" not in p]
    if not numbers and len(rest) < 3:
        return "/".join(parts)
    op = "product" if rest[0] == "matrix_product" else rest[0]
    shape = "x".join([*rest[2:], *numbers])
    if op == "attention" and shape.count("x") == 1:
        shape = "1x" + shape
    return "/".join([op, *rest[1:2], *([shape] if shape else []), f"threads:{threads}"])


def group_of(key):
    """op/PROFILE, or op alone where the name has no profile."""
    return "/".join(p for i, p in enumerate(key.split("/")[:2]) if i == 0 or p[:1].isalpha() and ":" not in p)


def threads_of(key):
    found = re.search(r"/threads:(\d+)$", key)
    return int(found.group(1)) if found else 1


def work_of(key):
    """Product of the numbers of the shape: a measure of cost within one kernel."""
    work = 1
    for number in re.findall(r"\d+", re.sub(r"/threads:\d+$", "", key).split("/", 2)[-1]):
        work *= int(number)
    return work


def cpu():
    """What numbers depend on."""
    fields = {}
    for line in pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    flags = [f for f in FLAGS if f in fields.get("flags", "").split()]
    cores = len(os.sched_getaffinity(0))
    governor = pathlib.Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    isa = next((f for f in ("amx_bf16", "avx512_bf16", "avx512f", "avx2") if f in flags), "other")
    key = "-".join([*(fields.get(f, "unknown") for f in ("vendor_id", "cpu family", "model", "stepping")), isa, f"{cores}cores"])
    return {
        "key": re.sub(r"[^A-Za-z0-9_-]+", "_", key),  # of the file in bench/baseline
        "model": fields.get("model name", "unknown"),
        "flags": flags,
        "cores": cores,
        "governor": governor.read_text().strip() if governor.exists() else "none seen",
    }


def built(source, build):
    """Commit of the source now, compiler and flags of the build tree; `unknown` where nothing tells."""
    describe = ["git", "-C", source, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    git = subprocess.run(describe, capture_output=True, text=True)
    about = {"commit": git.stdout.strip() or "unknown", "compiler": "unknown", "flags": "unknown"}
    for path in sorted(build.glob("CMakeFiles/*/CMakeCXXCompiler.cmake"))[-1:]:
        told = dict(re.findall(r'set\(CMAKE_CXX_COMPILER_(ID|VERSION) "([^"]*)"\)', path.read_text()))
        about["compiler"] = f"{told.get('ID', 'unknown')} {told.get('VERSION', '')}".strip()
    if (build / "CMakeCache.txt").exists():
        cache = dict(re.findall(r"^(\w+):\w+=(.*)$", (build / "CMakeCache.txt").read_text(), re.MULTILINE))
        kind = cache.get("CMAKE_BUILD_TYPE", "")
        about["flags"] = " ".join([f"{kind}:", cache.get("CMAKE_CXX_FLAGS", ""), cache.get(f"CMAKE_CXX_FLAGS_{kind.upper()}", "")]).strip()
    return about


class Program:
    """A program that speaks Google Benchmark's language; `only` limits the keys it is asked for."""

    def __init__(self, command, environment=None, only=""):
        self.command, self.environment, self.only = [str(c) for c in command], environment or {}, only
        self.title = pathlib.Path(self.command[-1]).name + (f" ({only.strip('/')} only)" if only else "")
        self.peer, self.names, self.all_names, self.foreign = self.title, {}, {}, []

    def call(self, arguments, timeout):
        """Standard output; notes how many cores others used meanwhile."""

        def busy():
            ticks = [int(t) for t in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
            own = resource.getrusage(resource.RUSAGE_CHILDREN)
            return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK") - own.ru_utime - own.ru_stime

        before, begin = busy(), time.monotonic()
        try:
            done = subprocess.run(
                self.command + arguments, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=max(0.1, timeout)
            )
        except OSError as error:
            raise Failure(2, f"{self.command[0]}: {error.strerror}; build it first, or name the build tree with --build")
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            raise Failure(2, f"{self.title} ended with {done.returncode}: {last}")
        self.foreign.append(max(0.0, busy() - before) / max(1e-3, time.monotonic() - begin))
        return done.stdout

    def list(self):
        names = self.call(["--benchmark_list_tests"], 60).split("\n")
        self.names = {key_of(n): n for n in names if n.strip() and self.only in n}
        self.all_names = self.names
        self.foreign.clear()

    def measure(self, keys, min_time, timeout):
        """Key -> what the program tells of it."""
        # Special characters only: to escape more is undefined in POSIX expressions.
        names = [re.sub(r"([.+*?()\[\]{}|^$\\])", r"\\\1", self.names[k]) for k in keys]
        chosen = f"--benchmark_filter=^({'|'.join(names)})$"
        text = self.call([chosen, f"--benchmark_min_time={min_time}", "--benchmark_format=json"], timeout)
        try:
            told = json.loads(text)
            self.peer = told["context"].get("peer", self.title)
            results = {}
            for entry in told["benchmarks"]:
                if entry.get("run_type", "iteration") == "iteration":
                    results[key_of(entry["name"])] = reading(entry)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Failure(3, f"{self.title} did not print Google Benchmark's JSON: {type(error).__name__}: {error}")
        return results


def reading(entry):
    """Seconds, share of peak, rates and label of one entry of Google Benchmark's JSON."""
    if entry.get("error_occurred"):
        return {"error": entry.get("error_message", "failed")}
    told = {"seconds": float(entry["real_time"]) * SECONDS[entry.get("time_unit", "ns")]}
    for name, value in entry.items():
        if re.match(r"(share[ _])?of[ _]peak", name):
            told.setdefault("of_peak", float(value))
        elif name == "GFLOP/s":
            told["gflops"] = float(value)
        elif name in ("bytes_per_second", "bytes/s"):
            told["bytes_per_s"] = float(value)
    if entry.get("label"):
        told["label"] = entry["label"]
    return told
