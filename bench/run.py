#!/usr/bin/env python3
"""Runs the benchmarks and their peers, and tells shares of the measured peak, ratios to peers, and what became slower.

    bench/run.py                  everything in the build tree, under 10 minutes: reel_bench and the peers that were built;
                                  on a slow machine the largest shapes get fewer repeats, or more time with --seconds
    bench/run.py --step           bench/step instead: forwards of a whole transformer, decodes of films (minutes, 7 GB of memory)
    bench/run.py --long           also those that take half a minute each
    bench/run.py --only REGEX     those whose names match
    bench/run.py --peers          PyTorch too (--python VENV/bin/python: the Python that has torch)
    bench/run.py --short          under a minute, without peers: the smallest shapes of each kernel, for CI; the order of AMX where it is
    bench/run.py --save-baseline  keeps the shares of peak as those of this CPU, in bench/baseline
    bench/run.py --table          prints a Markdown table; with --from FILES of earlier runs

Programs take turns, kernel by kernel, several times; numbers are medians. A share of peak is measured against the peak that
reel_bench found in the same process, so a slower clock does not look like slower code; a ratio to a peer compares two
neighbours in time (above 1: Reel is faster). All goes into one JSON file (--out).

Exit code 0: nothing became slower, or REPORT ONLY, said on stderr: this CPU has no baseline, or the machine was too noisy or too
busy to tell. 1: a share of peak fell by more than 15 % against the baseline, or a result was wrong. 2: a program is missing or failed.
3: a file or an output is not what it should be.
"""
import argparse
import datetime
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

from programs import Failure, Program, built, cpu, group_of, say, threads_of, work_of

SOURCE = pathlib.Path(__file__).resolve().parent.parent
MAX_DROP = 0.15  # of a share of peak against the baseline
MAX_SPREAD = 0.10  # (max - min) / median of the shares of one benchmark; the median over all of them tells a noisy machine
MAX_FOREIGN = 0.25  # cores that other processes kept busy meanwhile; beyond, nothing is judged
LONG = re.compile(r"attention/\w+/12x32760x32760/")
# Share of peak and ratio to the best peer to reach; the first pattern that matches counts.
TARGETS = [
    (r"product/f32/.*/threads:1$", 0.94, 1.0),
    (r"product/f32/", 0.91, 1.0),
    (r"product/bf16/.*/threads:1$", 0.93, 1.0),
    (r"product/bf16/", 0.91, 1.0),
    (r"product/", None, 1.0),
    (r"attention/f32/.*x512/", 0.86, 1.1),
    (r"attention/bf16/.*x512/", 0.80, 1.1),
    (r"attention/f32/", 0.86, 1.15),
    (r"attention/bf16/", 0.82, 1.8),
    (r"conv3d/f32/", 0.80, 1.0),
    (r"conv3d/bf16/", 0.70, 1.0),
    (r"(layer_norm|rms_norm_rotate|gated_add|gelu|l2_norm_silu)/", 0.80, 1.0),
    (r"wan_1.3b_step/f32/", 0.80, 1.3),
    (r"wan_1.3b_step/bf16/1560/", 0.70, 1.2),
    (r"wan_1.3b_step/bf16/", 0.70, 1.5),
    (r"vae_decode/(f32|bf16)/", 0.60, None),
]


def targets_of(key):
    return next(((share, ratio) for pattern, share, ratio in TARGETS if re.match(pattern, key)), (None, None))


def smallest(keys, count, any_threads):
    """Of each kernel and profile the `count` smallest shapes, on any or the fewest threads."""
    groups = {}
    for key in keys:
        groups.setdefault((group_of(key), threads_of(key)), []).append(key)
    fewest = {}
    for group, threads in groups:
        fewest[group] = min(threads, fewest.get(group, threads))
    chosen = [sorted(m, key=work_of)[:count] for (group, threads), m in groups.items() if any_threads or threads == fewest[group]]
    return [key for members in chosen for key in members]


def find_programs(options, machine):
    """reel_bench, then its peers."""
    folder = options.build / "bench"
    ours = Program([folder / ("step" if options.step else "reel_bench")])
    ours.list()
    ours.names = {k: n for k, n in ours.names.items() if re.search(options.only, k) and (options.long or not LONG.match(k))}
    has_amx = "amx_bf16" in machine["flags"]
    if options.short:
        if not has_amx:  # without the instruction it tells what f32 tells, in most of the time there is
            ours.names = {k: n for k, n in ours.names.items() if "/bf16_amx/" not in k}
        return ours, []
    # Where AMX is, oneDNN and PyTorch (which asks oneDNN and MKL) are also asked for their best without.
    without_amx = {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16", "MKL_ENABLE_INSTRUCTIONS": "AVX512"}
    both = [{}, without_amx] if has_amx else [{}]
    peers = []
    for path in sorted(folder.glob("step_peer_*" if options.step else "peer_*")):
        if path.is_file() and os.access(path, os.X_OK):
            peers += [Program([path], e, "/bf16/" if e else "") for e in (both if path.name == "peer_onednn" else [{}])]
    if options.peers:
        script = SOURCE / "bench/peers" / ("torch_wan_step.py" if options.step else "torch_peers.py")
        peers += [Program([options.python, script], e, "/bf16/" if e else "") for e in both]
    for peer in list(peers):
        try:
            peer.list()
        except (Failure, subprocess.TimeoutExpired) as error:
            say(f"left out: {error}")
            peers.remove(peer)
    return ours, peers


def measure(ours, peers, options):
    """Lets programs take turns until the time is up: first small shapes with all repeats, then the rest. Gives
    (program title, key) -> [(turn, reading)], and what was left unmeasured."""
    if not ours.names:
        raise Failure(2, f"{ours.title} lists no benchmark")
    deadline = time.monotonic() + options.seconds
    small = smallest(ours.names, 3 if options.short else 4, any_threads=not options.short)
    if options.short:  # one of these takes as long as all others
        small = [k for k in small if not k.startswith("conv3d/") or k in smallest(ours.names, 1, any_threads=False)]
    readings, late = {}, []
    for keys in [small] if options.short else [small, [k for k in ours.names if k not in small]]:
        groups = {}
        for key in keys:
            groups.setdefault(group_of(key), []).append(key)
        took = {}
        for turn in range(options.repeats):
            for group, members in groups.items():
                if options.short and turn > 0:  # nothing without a share of peak can be judged
                    members = [k for k in members if any(r.keys() & {"of_peak", "error"} for _, r in readings.get((ours.title, k), []))]
                for program in (ours, *peers):
                    wanted = [k for k in members if k in program.names]
                    left = deadline - time.monotonic()
                    # A call that took longer than what is left would be cut off and tell nothing.
                    if not wanted or (turn > 0 and took[program.title, group] * 1.2 > left):
                        continue
                    begin, told = time.monotonic(), {}
                    try:
                        told = program.measure(wanted, options.min_time, left) if left > 0 else {}
                    except subprocess.TimeoutExpired:
                        pass
                    except Failure as failure:
                        if program is ours:
                            raise
                        say(f"left out of {group}: {failure}")
                    took[program.title, group] = time.monotonic() - begin if told else float("inf")
                    for key in wanted:
                        if key in told:
                            readings.setdefault((program.title, key), []).append((turn, told[key]))
                    if not told and time.monotonic() > deadline - 0.1:
                        late.append(f"{program.title}: {len(wanted)} of {group}")
    return readings, late


def median_of(readings, field):
    values = [r[field] for _, r in readings if field in r]
    return statistics.median(values) if values else None


def spread_of(values):
    middle = statistics.median(values)
    return (max(values) - min(values)) / middle if middle > 0 else 0.0


def summarize(ours, peers, readings):
    """Rows of the result, and the peak of one thread [GFLOP/s] by profile, from benchmarks that tell both rate and share."""
    peaks = {}
    for (title, key), told in readings.items():
        for _, r in told:
            if title == ours.title and r.get("gflops") and r.get("of_peak"):
                peaks.setdefault(key.split("/")[1], []).append(r["gflops"] / r["of_peak"] / threads_of(key))
    peaks = {profile: statistics.median(values) for profile, values in peaks.items()}
    rows = []
    for key in ours.names:
        told = readings.get((ours.title, key))
        if not told:
            continue
        row = {"key": key, "name": ours.names[key], "threads": threads_of(key), "repeats": len(told)}
        errors = [r["error"] for _, r in told if "error" in r]
        if errors:
            rows.append(row | {"error": errors[0]})
            continue
        shares = [r["of_peak"] for _, r in told if "of_peak" in r]
        row |= {f: median_of(told, f) for f in ("seconds", "of_peak", "gflops", "bytes_per_s") if median_of(told, f) is not None}
        if "label" in told[-1][1]:
            row["label"] = told[-1][1]["label"]
        row["spread"] = spread_of(shares or [r["seconds"] for _, r in told])
        if shares:
            row["best_of_peak"] = max(shares)
        row["peers"] = {}
        for peer in peers:
            theirs = dict(readings.get((peer.title, key), []))
            good = {turn: r for turn, r in theirs.items() if "error" not in r}
            if not good:
                if theirs:
                    row["peers"][peer.title] = {"peer": peer.peer, "error": next(iter(theirs.values()))["error"]}
                continue
            entry = {"peer": peer.peer, "repeats": len(good), "seconds": statistics.median(r["seconds"] for r in good.values())}
            entry["ratio"] = statistics.median(good[t]["seconds"] / r["seconds"] for t, r in told if t in good)
            entry["label"] = next(iter(good.values())).get("label", "")
            gflops, peak = median_of(list(good.items()), "gflops"), peaks.get(key.split("/")[1])
            if gflops and peak:
                entry |= {"gflops": gflops, "of_peak": gflops / peak / threads_of(key)}
            row["peers"][peer.title] = entry
        best = min((p for p in row["peers"].values() if "ratio" in p), key=lambda p: p["ratio"], default=None)
        if best:
            row |= {"best_peer": best["peer"], "ratio_to_best_peer": best["ratio"]}
        rows.append(row)
    return rows, peaks


def load(path):
    """An earlier result or a baseline."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not all(share > 0 for share in value["of_peak"].values()):
            raise ValueError("a share of peak is not above 0")
        return value
    except OSError as error:
        raise Failure(3, f"{path}: {error.strerror}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(3, f"{path} is no such file as this program writes: {type(error).__name__}: {error}")


def judge(rows, baseline, foreign):
    """{"code", "report_only", "lines", ...}: what became slower than the baseline (key -> share of peak; None: there is none)
    while other processes kept `foreign` cores busy."""
    wrong = [f"{r['key']}: {r['error']}" for r in rows if "error" in r]
    shares = {r["key"]: r for r in rows if "of_peak" in r}
    steady = [r["spread"] for r in shares.values() if r["repeats"] > 1]
    noise = statistics.median(steady) if steady else None
    lines, slower = [], []
    for key, row in shares.items():
        if baseline is None or key not in baseline:
            continue
        change = row["of_peak"] / baseline[key] - 1
        if change < -MAX_DROP:
            # One unsteady benchmark proves nothing, unless its best repeat is too slow as well.
            unsteady = row["repeats"] < 2 or row["spread"] > MAX_DROP and row["best_of_peak"] >= (1 - MAX_DROP) * baseline[key]
            text = f"{key}: {row['of_peak']:.3f} of peak, was {baseline[key]:.3f} ({change:+.0%})"
            lines.append(f"{text}, but unsteady: not judged") if unsteady else slower.append(text)
    why = []
    if baseline is None:
        why.append("there is no baseline for this CPU (--save-baseline makes one)")
    elif not baseline.keys() & shares.keys():
        why.append("no benchmark of the baseline was measured")
    if noise is None:
        why.append("nothing with a share of peak was measured twice")
    elif noise > MAX_SPREAD:
        why.append(f"too noisy: the shares of one benchmark differ by {noise:.0%} in the median, more than {MAX_SPREAD:.0%}")
    if foreign > MAX_FOREIGN:
        why.append(f"too busy: other processes kept {foreign:.1f} cores busy meanwhile")
    if baseline is not None and len(baseline.keys() & shares.keys()) < len(shares):
        lines.append(f"not in the baseline: {', '.join(sorted(shares.keys() - baseline.keys()))}")
    code = 1 if wrong or (slower and not why) else 0
    return {"code": code, "report_only": why, "wrong": wrong, "slower": slower, "notes": lines, "median_spread": noise}


def tell(judgement):
    for line in judgement["wrong"]:
        say(f"WRONG RESULT: {line}")
    for line in judgement["notes"]:
        say(f"note: {line}")
    for line in judgement["slower"]:
        say(f"SLOWER{' (not judged)' if judgement['report_only'] else ''}: {line}")
    for line in judgement["report_only"]:
        say(f"REPORT ONLY: {line}. Nothing below or above is a verdict on speed.")
    if not judgement["report_only"] and not judgement["slower"]:
        say(f"no share of peak fell by more than {MAX_DROP:.0%}")


def table(results):
    """Markdown: kernel, profile, shape, threads, share of peak and ratio to the best peer, with their targets."""
    result = results[0]
    peaks = {profile: peak for r in results for profile, peak in r["peaks"].items()}
    machine, lines = result["machine"], []
    lines.append(f"{machine['model']}, {machine['cores']} cores, commit {result['commit']}, {result['compiler']}; peak of one thread: "
                 + ", ".join(f"{profile} {peak:.0f} GFLOP/s" for profile, peak in sorted(peaks.items())))
    lines += ["", "| kernel | profile | shape | threads | of peak (target) | spread | rate | ratio to best peer (target) |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in (row for r in results for row in r["results"]):
        if "of_peak" not in row and "ratio_to_best_peer" not in row and "error" not in row:
            continue
        share, ratio = targets_of(row["key"])
        cells = [*re.sub(r"/threads:\d+$", "", row["key"]).split("/", 2), str(row["threads"])]
        if "error" in row:
            cells += [f"wrong: {row['error']}", "-", "-", "-"]
        else:
            cells += [f"{row['of_peak']:.2f}" + (f" ({share:.2f})" if share else "") if "of_peak" in row else "-", f"{row['spread']:.0%}"]
            cells.append(f"{row['gflops']:.0f} GFLOP/s" if "gflops" in row else f"{row['bytes_per_s'] * 1e-9:.1f} GB/s" if "bytes_per_s" in row else "-")
            cells[-1] += f"; {row['label']}" if "label" in row else ""
            told = f"{row.get('ratio_to_best_peer', 0):.2f}" + (f" ({ratio:.2f})" if ratio else "") + f" {row.get('best_peer')}"
            cells.append(told if "best_peer" in row else "-")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def save_baseline(path, result, listed, judgement):
    busy = any(line.startswith("too busy") for line in judgement["report_only"])
    if busy or judgement["wrong"] or judgement["median_spread"] is None or judgement["median_spread"] > MAX_SPREAD:
        raise Failure(2, "the baseline is not saved: the run was too noisy, too busy, too short or wrong (see above); try again in a quiet hour")
    # A short run renews its own few; benchmarks that are no more go.
    old = load(path)["of_peak"] if path.exists() else {}
    shares = {key: share for key, share in old.items() if key in listed} | result["of_peak"]
    about = {k: result[k] for k in ("date", "commit", "compiler", "flags", "machine")}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(about | {"of_peak": dict(sorted(shares.items()))}, indent=1) + "\n", encoding="utf-8")
    say(f"baseline: {path}")


def run(options):
    machine = cpu()
    if options.from_file:
        print(table([load(file) for file in options.from_file]))
        return 0
    begin = time.monotonic()
    ours, peers = find_programs(options, machine)
    readings, late = measure(ours, peers, options)
    rows, peaks = summarize(ours, peers, readings)
    if not rows:
        raise Failure(2, f"{ours.title} measured nothing in {options.seconds:g} s; give it more (--seconds)")
    path = options.baseline_dir / f"{machine['key']}.json"
    foreign = statistics.fmean(f for program in (ours, *peers) for f in program.foreign)
    judgement = judge(rows, load(path)["of_peak"] if path.exists() else None, foreign)
    judgement["notes"] += [f"not measured, the time was up: {what}" for what in late]
    result = {
        "reel_bench": 1,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "mode": "short" if options.short else "step" if options.step else "all",
        "machine": machine,
        **built(SOURCE, options.build),
        "seconds": round(time.monotonic() - begin, 1),
        "foreign_cores": round(foreign, 2),  # cores that other processes kept busy meanwhile
        "peaks": peaks,  # GFLOP/s of one thread
        "of_peak": {r["key"]: round(r["of_peak"], 4) for r in rows if "of_peak" in r},
        "results": rows,
        "judgement": judgement,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table([result]) if options.table else "\n".join(line_of(row) for row in rows))
    tell(judgement)
    say(f"{len(rows)} benchmarks in {result['seconds']:.0f} s; other processes kept {result['foreign_cores']} cores busy; {options.out}")
    if options.save_baseline:
        save_baseline(path, result, ours.all_names, judgement)
    return judgement["code"]


def line_of(row):
    if "error" in row:
        return f"{row['key']}  WRONG: {row['error']}"
    share = f"  {row['of_peak']:.3f} of peak" if "of_peak" in row else ""
    ratios = "".join(f"  {p['ratio']:.2f} x {p['peer']}" for p in row["peers"].values() if "ratio" in p)
    return f"{row['key']}  {row['seconds']:.3g} s{share}  +-{row['spread']:.0%} of {row['repeats']}{ratios}  {row.get('label', '')}".rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--peers", action="store_true", help="PyTorch too")
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="", metavar="REGEX")
    parser.add_argument("--save-baseline", action="store_true")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--from", dest="from_file", type=pathlib.Path, nargs="+", metavar="FILE", help="with --table: of earlier results")
    parser.add_argument("--build", type=pathlib.Path, default=SOURCE / "build/release", help="build tree (build/release)")
    parser.add_argument("--out", type=pathlib.Path, help="result (BUILD/bench/results.json, short.json, step.json)")
    parser.add_argument("--python", default=sys.executable, help="the Python that has torch")
    parser.add_argument("--baseline-dir", type=pathlib.Path, default=SOURCE / "bench/baseline")
    parser.add_argument("--repeats", type=int, help="at most so many (3; 5 with --short); fewer where the time is up")
    parser.add_argument("--seconds", type=float, help="time for measuring (540; 45 with --short)")
    parser.add_argument("--min-time", type=float, default=0.1, help="seconds of each benchmark in each repeat (0.1)")
    options = parser.parse_args()
    if options.from_file and not options.table:
        parser.error("--from goes with --table")
    options.seconds = options.seconds or (45.0 if options.short else 540.0)
    options.repeats = options.repeats or (5 if options.short else 3)
    if options.short and options.step:
        parser.error("--step is not short")
    options.out = options.out or options.build / "bench" / ("short.json" if options.short else "step.json" if options.step else "results.json")
    try:
        return run(options)
    except Failure as failure:
        say(f"bench/run.py: {failure}")
        return failure.code
    except subprocess.TimeoutExpired as error:
        say(f"bench/run.py: {error}")
        return 2


if __name__ == "__main__":
    sys.exit(main())
