"""Figures of what does not change the film: layouts and their digests, where the time goes, energy. Scaling: see scaling.py."""

from collections import defaultdict

import numpy as np

from draw import number
from figures import Figure, both, percent
from groups import odd_runs, tasks_of
from rows import bar_chart, matrix_chart, strip_chart

MAX_ROWS = 14
PHASES = ("denoise", "decode", "load", "encode", "hash", "text", "rehearse")


def digest_figures(runs, groups):
    several = {t: r for t, r in tasks_of(runs).items() if len(r) > 1}
    if not several:
        return [Figure("digests", [], "Digest matrix: needs runs of one task on several layouts (mpirun -n 1, 2, 3; --threads), or repeats.")]
    odd = odd_runs(runs)
    told = settings(groups)
    order = sorted(several, key=lambda t: (not any(r.run_id in odd for r in several[t]), several[t][0].title, t))[:40]
    columns = {}
    for t in order:
        for r in several[t]:
            columns[r.layout] = (r.cores, r.ranks, r.layout)
    rows = []
    for t in order:
        cells = {}
        for r in several[t]:
            digits, equal, tip, count = cells.get(r.layout, (r.digest[:6], True, "", 0))
            shown = r.digest[:6] if r.run_id in odd else digits
            cells[r.layout] = (shown, equal and r.run_id not in odd, f"{tip}{r.run_id} {r.digest} ", count + 1)
        rows.append((t, told[t], cells))
    left = len(several) - len(order)
    subtitle = "columns: ranks × threads" + (f"; {left:,} more tasks are in the table" if left else "")
    return [
        both("digests", lambda width: matrix_chart("Digests of one task on several layouts", subtitle, sorted(columns, key=columns.get), rows, width=width))
    ]


def setting(group, film):
    """What this film has that others of its experiment have not, then the experiment."""
    x, s = group.place[film.run_id]
    axis = f"{group.axis.split('.')[-1]} {number(x) if group.numeric else x}" if group.axis else ""
    return " · ".join(w for w in (axis, s, f"seed {str(film.config['shot'].get('seed'))[:6]}", group.title) if w)


def settings(groups):
    """task_id -> its setting."""
    return {f.task_id: setting(g, f) for g in groups for f in g.films}


def alike(runs, groups):
    """[(name, runs)]: runs that differ in seeds and repeats alone, with one layout; the most costly first."""
    where = {f.task_id: (g, g.place[f.run_id]) for g in groups for f in g.films}
    rows = defaultdict(list)
    for r in runs:
        g, (x, s) = where[r.task_id]
        axis = f"{g.axis.split('.')[-1]} {number(x) if g.numeric else x}" if g.axis else ""
        rows[" · ".join(w for w in (r.layout, axis, s, g.title) if w)].append(r)
    return sorted(rows.items(), key=lambda item: -float(np.median([r.wall for r in item[1]])))


def speed_figures(runs, groups):
    rows = alike(runs, groups)[:MAX_ROWS]
    phases = [p for p in PHASES if any(p in r.phases for _, m in rows for r in m)]
    bars = []
    for name, members in rows:
        parts = [(float(np.median([r.phases.get(p, {"wall": 0})["wall"] for r in members])), i, p) for i, p in enumerate(phases)]
        parts = [(v, i, f"{p} {number(v)} s") for v, i, p in parts]
        bars.append((name, parts, f"{number(sum(v for v, _, _ in parts))} s", None))
    figures = [
        both(
            "phases",
            lambda width: bar_chart(
                "Where the time goes", "s; median of runs that differ in seeds alone; slowest rank of each phase", bars, width=width, unit="s", legend=phases
            ),
        )
    ]
    layouts = sorted({m[0].layout for _, m in rows}, key=lambda w: (len(w), w))[:6]
    strips = []
    for p in phases:
        dots = [
            (float(np.median([r.phases[p]["flop"] / (r.phases[p]["wall"] * r.peak) for r in m])), None, layouts.index(m[0].layout), name)
            for name, m in rows
            if m[0].layout in layouts and all(p in r.phases and r.phases[p]["flop"] > 0 and r.peak > 0 and r.phases[p]["wall"] > 0 for r in m)
        ]
        if dots:
            strips.append((p, [(100 * v, i, s, f"{percent(v)}, {name}") for v, i, s, name in dots], percent(float(np.median([d[0] for d in dots])))))
    figures.append(
        both(
            "peak_share",
            lambda width: strip_chart(
                "Share of the measured peak",
                "floating-point operations by formula, over the peak measured in the same run; right: median",
                strips,
                width=width,
                unit="% of peak",
                most=100,
                legend=layouts,
            ),
        )
        if strips
        else Figure("peak_share", [], "Share of peak: needs phases with counted operations.")
    )
    return figures


def energy_figures(runs, groups):
    having = [(name, [r for r in m if r.energy is not None]) for name, m in alike(runs, groups)]
    having = [(name, m) for name, m in having if m][:MAX_ROWS]
    if not having:
        why = next((r.energy_reason for r in runs if r.energy_reason), "no counter was read")
        return [Figure("energy", [], f"Energy: not available. {why}. Or state a node's power: cost.node_w.")]
    methods = sorted({r.energy_method for _, m in having for r in m})
    bars = []
    for name, m in having:
        joules = float(np.median([r.energy / (r.frames / r.fps) for r in m]))
        bars.append(
            (name, [(joules, methods.index(m[0].energy_method), f"{number(joules)} J per second of film, {m[0].energy_method}")], f"{number(joules)} J", None)
        )
    return [
        both(
            "energy",
            lambda width: bar_chart(
                "Energy per second of film", "J, all nodes; method: " + ", ".join(methods), bars, width=width, unit="J per second of film", legend=methods
            ),
        )
    ]
