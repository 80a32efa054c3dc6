#!/usr/bin/env python3
"""Products, attention, causal convolutions and passes over rows of PyTorch, as a Google Benchmark program would tell of them: JSON on stdout,
names as in peer.hpp, per benchmark the thread count, dtype and median seconds.

    torch_peers.py [--benchmark_filter=REGEX] [--benchmark_min_time=SECONDS] [--benchmark_list_tests]

Needs torch (the CPU wheel is enough); installs nothing. Where PyTorch has several ways to the same result, the fastest one is
measured and named in the label: fused attention in bf16, for one, is slower than f32 on some CPUs. Results have the dtype of
the operands (bf16: rounded once more than ours). ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 and MKL_ENABLE_INSTRUCTIONS=AVX512
together forbid AMX; PyTorch asks both libraries.
"""
import argparse
import importlib.util
import json
import os
import re
import sys
import time

TOKENS = (1560, 8190, 32760)
LAYERS = ((1536, 1536), (1536, 8960), (8960, 1536), (5120, 5120), (5120, 13824))  # K, N
WINDOWS = ((384, 384, 1, 120, 208), (192, 192, 1, 240, 416), (96, 96, 1, 480, 832))  # in, out, frames, rows, columns
HEADS, HEAD_DIM, TEXT = 12, 128, 512
ROWS = (8190, 1536)
PASSES = ("layer_norm", "rms_norm_rotate", "gated_add", "gelu")  # f32 alone
SAMPLE_ROWS = 4  # checked in double
CHOICE_ROWS = 8190  # on which ways are compared: on few of them another way may be the fastest


def half_profile():
    """What bf16 benchmarks are called here: with AMX or without."""
    caps = os.environ.get("ONEDNN_MAX_CPU_ISA", "AMX"), os.environ.get("MKL_ENABLE_INSTRUCTIONS", "AVX512_E4")
    capped = "AMX" not in caps[0].upper() and caps[1].upper() != "AVX512_E4"
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as cpu:
        amx = re.search(r"^flags\s*:.*\bamx_bf16\b", cpu.read(), re.MULTILINE)
    return "bf16_amx" if amx and not capped else "bf16"


def thread_counts():
    cores = len(os.sched_getaffinity(0))
    return sorted({1, min(2, cores), cores})


def benchmarks():
    """Name -> (op, dtype, shape, threads)."""
    shapes = [("product", (m, k, n)) for k, n in LAYERS for m in TOKENS]
    shapes += [("attention", (heads, m, keys)) for heads in (1, HEADS) for m in TOKENS for keys in (m, TEXT)]
    shapes += [("conv3d", window) for window in WINDOWS]
    both, one = (("f32", "f32"), ("bf16", half_profile())), (("f32", "f32"),)
    return {
        f"{op}/{profile}/{'x'.join(map(str, shape))}/threads:{threads}": (op, dtype, shape, threads)
        for profiles, named in ((both, shapes), (one, [(op, ROWS) for op in PASSES]))
        for op, shape in named
        for dtype, profile in profiles
        for threads in thread_counts()
    }


def seconds_of(body):
    begin = time.perf_counter()
    body()
    return time.perf_counter() - begin


def median_seconds(body, min_time):
    """Median and number of runs: at least three, unless one takes more than ten seconds."""
    times = []
    while not times or (sum(times) < min_time and len(times) < 1000) or (len(times) < 3 and sum(times) < 10):
        times.append(seconds_of(body))
    return sorted(times)[len(times) // 2], len(times)


def fastest(ways):
    """(name, way) with the shortest second run."""
    if len(ways) == 1:
        return ways[0]
    for _, way in ways:
        way()
    return min(ways, key=lambda way: seconds_of(way[1]))


def attention_ways(torch, fused, dtype):
    """Ways to softmax(q k^T / sqrt(d)) v for q [1, heads, queries, d], k and v [1, heads, keys, d]; `fused` is torch's own."""

    def by_head(q, k, v):
        out = torch.empty_like(q)
        for h in range(q.shape[1]):
            scores = torch.matmul(q[0, h] * q.shape[-1] ** -0.5, k[0, h].t())
            out[0, h] = torch.matmul(torch.softmax(scores, -1), v[0, h])
        return out

    ways = [("fused", fused), ("head by head", by_head)]
    if dtype == torch.bfloat16:
        ways.append(("fused in f32", lambda q, k, v: fused(q.float(), k.float(), v.float()).to(q.dtype)))
    return ways


def fastest_attention(torch, fused, q, k, v):
    few, ways = q[:, :, :CHOICE_ROWS].contiguous(), attention_ways(torch, fused, q.dtype)
    name, _ = fastest([(name, lambda way=way: way(few, k, v)) for name, way in ways])
    return name, dict(ways)[name]


def row_pass(torch, op, random):
    """(body, no flops) of what stands between products, as diffusers writes it."""
    functional = torch.nn.functional
    x, y, mul, add = random(*ROWS), random(*ROWS), random(ROWS[1]), random(ROWS[1])
    cos, sin = random(ROWS[0], 1, HEAD_DIM // 2), random(ROWS[0], 1, HEAD_DIM // 2)

    def rms_norm_rotate():
        heads = (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * mul).unflatten(-1, (HEADS, HEAD_DIM))
        even, odd = heads.unflatten(-1, (-1, 2)).unbind(-1)
        out = torch.empty_like(heads)
        out[..., 0::2] = even * cos - odd * sin
        out[..., 1::2] = even * sin + odd * cos
        return out

    return {
        "layer_norm": lambda: functional.layer_norm(x, ROWS[1:], eps=1e-6) * mul + add,
        "rms_norm_rotate": rms_norm_rotate,
        "gated_add": lambda: x + y * mul,
        "gelu": lambda: functional.gelu(x, approximate="tanh"),
    }[op], 0


def build(torch, op, dtype, shape):
    """(label, body, flops); raises ArithmeticError where the result is wrong."""
    functional = torch.nn.functional
    random = lambda *size: torch.rand(*size).sub_(0.5).to(dtype)

    def check(got, want):
        error = ((got.double() - want).abs().max() / want.abs().max()).item()
        if not error <= (1e-5 if dtype == torch.float32 else 2e-2):
            raise ArithmeticError(f"{op} {shape} is wrong by {error:.1e} of its largest value")

    if op == "product":
        m, k, n = shape
        x, w = random(m, k), random(n, k)
        check(functional.linear(x, w)[:SAMPLE_ROWS], x[:SAMPLE_ROWS].double() @ w.double().t())
        return "linear", lambda: functional.linear(x, w), 2 * m * k * n
    if op in PASSES:
        return "eager", *row_pass(torch, op, random)
    if op == "attention":
        heads, queries, keys = shape
        q, k, v = random(1, heads, queries, HEAD_DIM), random(1, heads, keys, HEAD_DIM), random(1, heads, keys, HEAD_DIM)
        name, way = fastest_attention(torch, functional.scaled_dot_product_attention, q, k, v)
        few = q[:, :, :SAMPLE_ROWS].double()
        want = torch.softmax(few @ k.double().transpose(-1, -2) * HEAD_DIM**-0.5, -1) @ v.double()
        check(way(q, k, v)[:, :, :SAMPLE_ROWS], want)
        return name, lambda: way(q, k, v), 4 * heads * queries * keys * HEAD_DIM
    num_in, num_out, frames, rows, columns = shape
    x, w = random(1, num_in, frames + 2, rows, columns), random(num_out, num_in, 3, 3, 3)
    last = [t.to(memory_format=torch.channels_last_3d) for t in (x, w)]
    ways = [("channels first", lambda: functional.conv3d(x, w, padding=(0, 1, 1)))]
    ways.append(("channels last", lambda: functional.conv3d(*last, padding=(0, 1, 1))))
    name, body = fastest(ways)
    check(body()[..., :2, :], functional.conv3d(x[..., :3, :].double(), w.double(), padding=(0, 1, 1))[..., :2, :])
    return name, body, 2 * 27 * num_in * num_out * frames * rows * columns


def need(*modules):
    """Ends the program where one of the modules is missing."""
    missing = [m for m in modules if importlib.util.find_spec(m) is None]
    if missing:
        sys.exit(f"this needs {' and '.join(missing)} in the Python that runs it; nothing is installed from here")


def run(tests, measure, peer, arguments):
    """What Google Benchmark does with `tests` (name -> anything); measure(value, min_time) -> (median, runs, label, flops)."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    parser.add_argument("--benchmark_filter", default="")
    parser.add_argument("--benchmark_min_time", default="0.5")
    parser.add_argument("--benchmark_list_tests", action="store_true")
    parser.add_argument("--benchmark_format", choices=["json"], default="json")
    options = parser.parse_args(arguments)
    chosen = {name: value for name, value in tests.items() if re.search(options.benchmark_filter, name)}
    if options.benchmark_list_tests:
        print("\n".join(chosen))
        return
    results = []
    for name, value in chosen.items():
        entry = {"name": name, "run_type": "iteration", "threads": int(name.rsplit(":", 1)[1]), "dtype": name.split("/")[1][:4].rstrip("_")}
        try:
            median, runs, label, flops = measure(value, float(options.benchmark_min_time.rstrip("s")))
            entry |= {"iterations": runs, "real_time": median, "time_unit": "s", "label": label}
            entry |= {"GFLOP/s": flops / median * 1e-9} if flops else {}
        except (ArithmeticError, RuntimeError) as error:  # RuntimeError: what torch raises, lack of memory included
            entry |= {"error_occurred": True, "error_message": str(error)}
        results.append(entry)
        print(name, entry.get("error_message", f"{entry.get('real_time', 0):.4g} s"), file=sys.stderr)
    json.dump({"context": {"peer": peer(), "num_cpus": os.cpu_count()}, "benchmarks": results}, sys.stdout, indent=1)
    print()


def main():
    need("torch")

    def measure(test, min_time):
        import torch

        op, dtype, shape, threads = test
        torch.set_num_threads(threads)
        torch.manual_seed(1)
        with torch.no_grad():
            label, body, flops = build(torch, op, {"f32": torch.float32, "bf16": torch.bfloat16}[dtype], shape)
            body()
            return *median_seconds(body, min_time), label, flops

    def peer():
        import torch

        return f"PyTorch {torch.__version__.split('+')[0]}"

    run(benchmarks(), measure, peer, sys.argv[1:])


if __name__ == "__main__":
    main()
