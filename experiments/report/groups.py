"""Finds out by itself what varies between runs, and condenses: means, bootstrap intervals, layouts, commands."""

import json
import shlex
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np

# Where a model lies is not what it is, and seeds are repetitions of one question.
_NOT_ASKED = ("model.path", "model.sha256", "model.config", "model.weights", "model.seed", "shot.prompt", "shot.negative_prompt")
MAX_SERIES = 6


@dataclass
class Group:
    """Films of one experiment title. `place[run_id]` is (x, series); x is a number or a label."""

    title: str
    films: list  # one run per task: layouts of one task are one film
    varies: dict  # key -> values in order
    axis: str  # key on the x axis, "" when only seeds vary
    numeric: bool
    series: list  # labels
    averaged: list  # keys that vary, but are averaged over
    place: dict


def facts(run):
    """Flat keys of everything that may be asked: {"sampler.steps": 20, "model": digest, ...}."""
    out = {}

    def walk(prefix, value):
        if isinstance(value, dict):
            for k, v in value.items():
                walk(f"{prefix}.{k}", v)
        elif not prefix.endswith("seed") and prefix not in _NOT_ASKED:
            out[prefix] = " × ".join(map(str, value)) if isinstance(value, list) else value

    for table in ("shot", "sampler", "model"):
        walk(table, run.config.get(table, {}))
    out["model"] = run.model_digest
    out["prompt"] = run.config["shot"].get("prompt", "") + (f" | not: {n}" if (n := run.config["shot"].get("negative_prompt")) else "")
    return out


def model_names(runs):
    """digest -> name: the folder's, or the configuration of synthetic weights; with digits where names are not enough."""
    names = {}
    for run in runs:
        model = run.config.get("model", {})
        names[run.model_digest] = f"{model['config']}, synthetic" if model.get("config") else PurePath(model.get("path", run.weights)).name or "model"
    count = defaultdict(int)
    for name in names.values():
        count[name] += 1
    return {d: n if count[n] == 1 else f"{n} ({d[:6]})" for d, n in names.items()}


def label(key, value, models):
    if key == "model":
        return models.get(value, str(value)[:12])
    if value is None:
        return "default"
    return f"{value:g}" if isinstance(value, float) else str(value)


def series_label(have, keys, models):
    return ", ".join(label(k, have.get(k), models) if k in ("model", "prompt") else f"{k.split('.')[-1]} {label(k, have.get(k), models)}" for k in keys)


def films_of(runs):
    """One run per task, one that was measured where there is one."""
    films = {}
    for run in runs:
        if run.task_id not in films or (run.values and not films[run.task_id].values):
            films[run.task_id] = run
    return list(films.values())


def group_runs(runs):
    by_title = defaultdict(list)
    for run in runs:
        by_title[run.title or run.config["shot"].get("prompt", "")[:70] or run.path.name].append(run)
    models = model_names(runs)
    groups = []
    for title, members in by_title.items():
        films = films_of(members)
        values = defaultdict(set)
        all_facts = [facts(f) for f in films]
        every_key = set().union(*all_facts)
        for have in all_facts:
            for k in every_key:
                values[k].add(json.dumps(have.get(k)))
        varies = {
            k: sorted(map(json.loads, v), key=lambda x: (x is None, isinstance(x, str), x if x is not None else 0))
            for k, v in sorted(values.items())
            if len(v) > 1
        }
        numbers = [k for k, v in varies.items() if all(isinstance(x, (int, float)) for x in v)]
        axis = max(numbers, key=lambda k: (len(varies[k]), k), default="") or next((k for k in ("model", *varies) if k in varies), "")
        rest = tuple(k for k in ("model", *(k for k in varies if k != "model")) if k in varies and k != axis)
        keys = rest
        while keys and len({series_label(have, keys, models) for have in all_facts}) > MAX_SERIES:
            keys = keys[:-1]
        place = {}
        for film, have in zip(films, all_facts):
            x = have.get(axis) if axis else ""
            place[film.run_id] = (float(x) if axis in numbers else label(axis, x, models), series_label(have, keys, models))
        series = sorted({s for _, s in place.values()})
        groups.append(Group(title, films, varies, axis, axis in numbers, series, [k for k in rest if k not in keys], place))
    return sorted(groups, key=lambda g: -len(g.films))


def bootstrap(values, draws=2000):
    """95 % interval of the mean by resampling `values` [n], the same draws each time; None for fewer than two."""
    values = np.asarray(values, float)
    if len(values) < 2:
        return None
    picks = np.random.default_rng(1).integers(0, len(values), (draws, len(values)))
    return tuple(np.percentile(values[picks].mean(axis=1), (2.5, 97.5)))


def tasks_of(runs):
    """task_id -> its runs, by number of cores."""
    tasks = defaultdict(list)
    for run in runs:
        tasks[run.task_id].append(run)
    return tasks


def odd_runs(runs):
    """Runs whose digest is not the most frequent of their task (all of them when no digest is)."""
    odd = set()
    for members in tasks_of(runs).values():
        count = defaultdict(int)
        for r in members:
            count[r.digest] += 1
        if len(count) > 1:
            most = max(count.values())
            expected = [d for d, n in count.items() if n == most]
            odd |= {r.run_id for r in members if len(expected) > 1 or r.digest != expected[0]}
    return odd


def repeat_command(run):
    """The command that makes this film again, on the same layout."""
    words = ["mpirun", "-n", str(run.ranks)] if run.ranks > 1 else []
    words += ["reel", "run", run.config.get("file", "")]
    overrides = list(run.overrides)
    if run.config.get("cost"):  # one take of several: its own seed, and that take alone
        overrides = [o for o in overrides if not o.startswith(("shot.seed=", "cost.takes="))]
        overrides += [f"shot.seed={run.config['shot']['seed']}", "cost.takes=1"]
    if len(set(run.threads)) == 1 and not any(o.startswith("run.threads=") for o in overrides):
        words += ["--threads", str(run.threads[0])]
    for o in overrides:
        words += ["--set", o]
    return " ".join(map(shlex.quote, words))
