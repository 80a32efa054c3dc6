"""Reads results of `reel run` and their side files, and of each only what a report needs: never all pixels.

A result is known by its attributes (run_id, task_id, result_digest) and its /measured; `RUN.measure.h5` and `RUN.cost.h5`
beside it belong to it by name; `TASK.benchmark.h5` stands alone.
"""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")  # results never change, and locks fail on some network file systems
import h5py
import numpy as np


class NotAResult(ValueError):
    """Why a file is left out."""


@dataclass
class Run:
    """One result. Times in s, energy in J, peak in operations per second of all ranks."""

    path: Path
    run_id: str
    task_id: str
    title: str
    digest: str
    date: str
    source: str
    weights: str
    config: dict
    config_text: str
    overrides: list
    command_line: str
    model_digest: str
    threads: list  # of each rank
    used_cores: int  # threads, but on no node more than it has cores
    oversubscribed: bool  # more threads on a node than it has cores
    phases: dict  # name -> {"wall", "comm", "flop", "sent", "imbalance"}: wall of the slowest rank, comm as mean share of it, sent by all, busiest rank over the mean
    steps: list  # wall time of each denoising step of the last sitting
    save_share: float  # checkpoints in the last sitting
    earlier: float  # wall time of the sittings before
    peak: float
    memory: float  # of the largest rank, byte
    energy: float | None
    energy_method: str
    energy_reason: str
    frames: int
    fps: float
    values: dict = field(default_factory=dict)  # metric id -> mean over shots and objects
    refused: dict = field(default_factory=dict)  # metric id -> reason, when there is no value at all
    floors: dict = field(default_factory=dict)
    formula: float = np.nan  # bytes of a step by formula, where a sweep.h5 tells them
    bytes_off: float = np.nan  # largest difference of a rank from it

    @property
    def ranks(self):
        return len(self.threads)

    @property
    def cores(self):
        return int(sum(self.threads))

    @property
    def layout(self):
        """What may differ without changing a bit, for people: "2 × 4" is 2 ranks of 4 threads."""
        same = len(set(self.threads)) == 1
        run = self.config.get("run", {})
        text = f"{self.ranks} × {int(self.threads[0])}" if same else f"{self.ranks} ranks, {self.cores} threads"
        if run.get("partition", "heads") != "heads":
            text += f" {run['partition']}"
        if run.get("guidance_groups", 1) != 1:
            text += f" g{run['guidance_groups']}"
        return text

    @property
    def wall(self):
        """Of all sittings."""
        return self.earlier + sum(p["wall"] for p in self.phases.values())

    @property
    def measure_path(self):
        return self.path.with_suffix(".measure.h5")

    @property
    def film_path(self):
        return self.path.with_suffix(".mp4")


@dataclass
class Metric:
    """What all films' values of one id share. better: lower, higher, zero, one or none."""

    id: str
    name: str
    unit: str
    aspect: str
    better: str


@dataclass
class Inputs:
    runs: list = field(default_factory=list)
    metrics: dict = field(default_factory=dict)  # id -> Metric
    costs: list = field(default_factory=list)  # {"path", "attrs", columns ...}
    benchmarks: list = field(default_factory=list)  # the same
    left_out: list = field(default_factory=list)  # (path, reason)


def text(value):
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def texts(dataset):
    return [text(v) for v in dataset[()]]


def _scalar(group, name):
    """A text of /provenance, whether it is stored as a scalar or as one row."""
    return text(np.ravel(group[name][()])[0]) if name in group else ""


def _cores(ranks):
    """Cores at work, and whether there are more threads than cores. Ranks of a host with one list of allowed cores share them."""
    hosts = {}
    for rank in map(json.loads, ranks):
        hosts.setdefault(rank.get("host", ""), []).append((int(rank.get("threads", 1)), int(rank.get("cores", 0)), rank.get("allowed_cores", "")))
    used, over = 0, False
    for members in hosts.values():
        threads, cores = sum(t for t, _, _ in members), [c for _, c, _ in members]
        there = max(cores) if len({a for _, _, a in members}) == 1 else sum(cores)
        used += min(there, threads) if there else threads
        over = over or 0 < there < threads
    return used, over


def read_run(path):
    with h5py.File(path, "r") as h:
        attrs = {k: text(v) for k, v in h.attrs.items()}
        if not all(k in attrs for k in ("run_id", "task_id", "result_digest")) or "measured/phase_wall" not in h:
            raise NotAResult("no result of `reel run`")
        if attrs.get("status") != "complete":
            raise NotAResult("not complete")
        m, p = h["measured"], h["provenance"]
        wall, comm = m["phase_wall"][()], m["comm_wall"][()]
        flop, sent = m["flop"][()], m["bytes_sent"][()]
        phases = {}
        for i, name in enumerate(texts(m["phase"])):
            slowest = float(wall[:, i].max())
            share = float((comm[:, i] / np.maximum(wall[:, i], 1e-12)).mean())
            busy = wall[:, i] - comm[:, i]
            imbalance = float(busy.max() / busy.mean()) if busy.mean() > 0 else 1.0
            phases[name] = {"wall": slowest, "comm": min(1.0, share), "flop": float(flop[i]), "sent": float(sent[:, i].sum()), "imbalance": imbalance}
        used_cores, oversubscribed = _cores(texts(p["ranks"])) if "ranks" in p else (int(m["threads"][()].sum()), False)
        sitting = float(wall.sum(axis=1).max())
        config = json.loads(_scalar(p, "config_resolved"))
        energy, method, reason = None, "", ""
        if "energy" in m:
            energy, method = float(m["energy"][()].sum()), text(m["energy"].attrs.get("method", ""))
            if "earlier_energy" in m:
                energy += float(m["earlier_energy"][()].sum())
            if not np.isfinite(energy):
                energy, reason = None, "it was not measured in every sitting"
        elif "energy_json" in m:
            reason = next((e["unavailable"] for e in map(json.loads, texts(m["energy_json"])) if e.get("unavailable")), "")
        inputs = json.loads(_scalar(p, "inputs") or "{}")
        return Run(
            path=path,
            run_id=attrs["run_id"],
            task_id=attrs["task_id"],
            title=attrs.get("title", ""),
            digest=attrs["result_digest"],
            date=attrs.get("date_created", ""),
            source=attrs.get("source", ""),
            weights=attrs.get("weights", ""),
            config=config,
            config_text=_scalar(p, "config_text"),
            overrides=json.loads(_scalar(p, "config_overrides") or "[]"),
            command_line=_scalar(p, "command_line"),
            model_digest=inputs.get("model", ""),
            threads=[int(t) for t in m["threads"][()]],
            used_cores=used_cores,
            oversubscribed=oversubscribed,
            phases=phases,
            steps=[float(s) for s in m["step_wall"][()]] if "step_wall" in m and "denoise" in phases else [],
            save_share=float(np.ravel(m["checkpoint_wall"][()])[0]) / sitting if "checkpoint_wall" in m and sitting > 0 else 0.0,
            earlier=float(m["earlier_wall"][()].sum()) if "earlier_wall" in m else 0.0,
            peak=float(m["peak_rate"][()].sum()),
            memory=float(m["mem_peak"][()].max()),
            energy=energy,
            energy_method=method,
            energy_reason=reason,
            frames=int(config["shot"]["frames"]),
            fps=float(config["shot"]["fps"]),
        )


def read_metrics(path, run, known):
    """Adds the side file's values to `run` and what is new to `known`."""
    with h5py.File(path, "r") as h:
        if text(h.attrs.get("kind", "")) != "measure":
            raise NotAResult("no measurement")
        if text(h.attrs.get("source_sha256", run.digest)) != run.digest:
            raise NotAResult("measures another film than the result beside it")
        r = h["result"]
        if "metric_id" not in r:
            return
        ids, value, floor = texts(r["metric_id"]), r["metric_value"][()], r["metric_floor"][()]
        sums = {}
        for i, key in enumerate(ids):
            if key not in known:
                name, unit, aspect, better = (text(r["metric_" + c][i]) for c in ("name", "unit", "aspect", "better"))
                known[key] = Metric(key, name, unit, aspect, better)
            if np.isfinite(value[i]):
                sums.setdefault(key, []).append(value[i])
            if np.isfinite(floor[i]):
                run.floors[key] = float(floor[i])
        run.values = {key: float(np.mean(v)) for key, v in sums.items()}
        refused = [i for i, key in enumerate(ids) if key not in sums]
        if refused:
            reasons = r["metric_refusal"][()]
            run.refused = {ids[i]: text(reasons[i]) for i in refused}


def read_traces(path):
    """[{"id", "name", "unit", "time" [s], "value"}] of the whole side file."""
    with h5py.File(path, "r") as h:
        r = h["result"]
        if "trace_id" not in r:
            return []
        time, value = r["sample_time"][()], r["sample_value"][()]
        rows = zip(texts(r["trace_id"]), texts(r["trace_name"]), texts(r["trace_unit"]), r["trace_begin"][()], r["trace_count"][()])
        return [{"id": i, "name": n, "unit": u, "time": time[b : b + c], "value": value[b : b + c]} for i, n, u, b, c in rows]


def read_columns(path):
    """All of a side file's one-dimensional columns and the matrices `draws` and `value`; texts decoded."""
    with h5py.File(path, "r") as h:
        out = {"path": path, "attrs": {k: text(v) for k, v in h.attrs.items()}}
        for name, item in h["result"].items():
            out[name] = texts(item) if item.dtype.kind == "O" else item[()]
        return out


def read_frames(path, which):
    """Some frames [h, w, 3] u1 of a result, by index (-1 is the last); none when it has no pixels."""
    with h5py.File(path, "r") as h:
        if "result/pixels" not in h:
            return []
        pixels = h["result/pixels"]
        return [pixels[i % pixels.shape[0]] for i in which(pixels.shape[0])]


def read_formula(path, runs):
    """Bytes by formula, which `reel sweep collect` knows, added to `runs` (run_id -> Run)."""
    with h5py.File(path, "r") as h:
        if text(h.attrs.get("kind", "")) != "sweep" or "step_bytes_formula" not in h["table"]:
            return
        t = h["table"]
        for name, digest, formula, off in zip(texts(t["run"]), texts(t["digest"]), t["step_bytes_formula"][()], t["bytes_off"][()]):
            if name in runs and runs[name].digest == digest:
                runs[name].formula, runs[name].bytes_off = float(formula), float(off)


def find_files(paths):
    """All .h5 files named or below the folders named, once each, hidden ones left out."""
    found = {}
    for path in map(Path, paths):
        inside = sorted(p for p in path.rglob("*.h5") if not any(part.startswith(".") for part in p.relative_to(path).parts)) if path.is_dir() else [path]
        for p in inside:
            found.setdefault(p.resolve(), p)
    return list(found.values())


def load(paths):
    """Reads all files; what cannot be used is named in `left_out`, and whatever else there is goes on."""
    inputs, sides = Inputs(), []

    def guarded(path, read):
        try:
            return read()
        except NotAResult as why:
            inputs.left_out.append((path, str(why)))
        except (OSError, KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError) as why:
            missing = not path.exists()
            inputs.left_out.append((path, "no such file" if missing else f"damaged or not HDF5: {' '.join(str(why).split())[:160]}"))
        return None

    for path in find_files(paths):
        kind = path.name.split(".")[-2] if path.name.count(".") > 1 else ""
        if kind in ("measure", "cost", "benchmark"):
            sides.append((kind, path))
        elif path.name == "sweep.h5":
            sides.append(("sweep", path))
        elif (run := guarded(path, lambda: read_run(path))) is not None:
            inputs.runs.append(run)
    owners = {run.measure_path.resolve(): run for run in inputs.runs}
    named = {path.resolve() for _, path in sides}
    by_id = {run.run_id: run for run in inputs.runs}
    for run in inputs.runs:  # a result may be named without its side files
        sides += [(kind, p) for kind in ("measure", "cost") if (p := run.path.with_suffix(f".{kind}.h5")).exists() and p.resolve() not in named]
    for kind, path in sides:
        if kind == "sweep":
            guarded(path, lambda: read_formula(path, by_id))
        elif kind == "measure":
            run = owners.get(path.resolve())
            if run is None:
                inputs.left_out.append((path, "measurement without its result beside it"))
            else:
                guarded(path, lambda: read_metrics(path, run, inputs.metrics))
        elif (columns := guarded(path, lambda: read_columns(path))) is not None:
            wanted, to = (("alternative_p50", "draws"), inputs.costs) if kind == "cost" else (("cell_mean", "source_name"), inputs.benchmarks)
            if all(w in columns for w in wanted):
                to.append(columns)
            else:
                inputs.left_out.append((path, f"no {kind} file of Reel"))
    inputs.runs.sort(key=lambda r: (r.title, r.task_id, r.cores, r.ranks, r.run_id))
    return inputs
