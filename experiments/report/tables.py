"""Tables: what is embedded as CSV, what is shown, and the commands that repeat each run."""

import re
from collections import defaultdict
from pathlib import Path

import numpy as np

import figures as fig
import groups as gr
import layouts
import page
import scaling

OPEN_ROWS = 40


def plural(n, words):
    return f"{n:,} {words}" + ("" if n == 1 else "s")


def run_tables(data, groups, table):
    """name -> (type, CSV)."""
    models, odd = gr.model_names(data.runs), gr.odd_runs(data.runs)
    keys = sorted({k for g in groups for k in g.varies})
    phases = [p for p in layouts.PHASES if any(p in r.phases for r in data.runs)]
    head = [
        "run_id",
        "task_id",
        "title",
        "digest",
        "digest_equal",
        "program",
        "date",
        "model",
        "model_sha256",
        "seed",
        *keys,
        "ranks",
        "threads",
        "layout",
        "wall_s",
        *(f"{p}_s" for p in phases),
        "denoise_comm_share",
        "peak_flop_per_s",
        "memory_byte",
        "energy_J",
        "energy_method",
        "command_line",
        "repeat",
    ]
    several = {t for t, m in gr.tasks_of(data.runs).items() if len(m) > 1}
    rows, values = [], []
    ids = sorted({k for r in data.runs for k in r.values})
    for r in data.runs:
        have = gr.facts(r)
        equal = "" if r.task_id not in several else "no" if r.run_id in odd else "yes"
        rows.append(
            [
                r.run_id,
                r.task_id,
                r.title,
                r.digest,
                equal,
                r.source,
                r.date,
                models[r.model_digest],
                r.model_digest,
                r.config["shot"].get("seed"),
                *(models[have[k]] if k == "model" else have.get(k, "") for k in keys),
                r.ranks,
                r.cores,
                r.layout,
                r.wall,
                *(r.phases.get(p, {"wall": np.nan})["wall"] for p in phases),
                r.phases.get("denoise", {"comm": np.nan})["comm"],
                r.peak,
                r.memory,
                np.nan if r.energy is None else r.energy,
                r.energy_method,
                r.command_line,
                gr.repeat_command(r),
            ]
        )
        values.append([r.run_id, *(r.values.get(k, np.nan) for k in ids)])
    tables = {"runs.csv": page.csv_text(head, rows)}
    if layouts_of_a_task := scaling.scaling_rows(data.runs, layouts.settings(groups)):
        tables["scaling.csv"] = page.csv_text(*scaling.scaling_table(layouts_of_a_task))
    if ids:
        tables["metrics.csv"] = page.csv_text(["run_id", *ids], values)
        tables["summary.csv"] = page.csv_text(
            ["experiment", "axis", "x", "series", "id", "name", "unit", "better", "films", "refused", "mean", "low_95", "high_95", "floor"],
            [
                [
                    *(t[k] for k in ("experiment", "axis", "x", "series", "id", "name", "unit", "better", "films", "refused", "mean")),
                    *(t["interval"] or ("", "")),
                    t["floor"],
                ]
                for t in table
            ],
        )
    costs = [(c, row) for c in data.costs for row in fig.cost_rows(c)]
    if costs:
        names = list(costs[0][1])
        tables["cost.csv"] = page.csv_text(
            ["shot", "currency", "year", *names], [[c["attrs"]["shot"], c["attrs"]["currency"], c["attrs"]["price_year"], *row.values()] for c, row in costs]
        )
    if data.benchmarks:
        tables["benchmark.csv"] = page.csv_text(
            ["task_id", "scene", "band", "source", "metric", "unit", "clips", "mean", "low_95", "high_95", "difference", "difference_low", "difference_high"],
            [
                [
                    b["attrs"].get("task_id", ""),
                    b["cell_scene"][i],
                    b["cell_band"][i],
                    b["source_name"][b["cell_source"][i]],
                    b["metric_id"][b["cell_metric"][i]],
                    b["metric_unit"][b["cell_metric"][i]],
                    b["cell_num_clips"][i],
                    *(b[f"cell_{c}"][i] for c in ("mean", "low", "high", "difference", "difference_low", "difference_high")),
                ]
                for b in data.benchmarks
                for i in range(len(b["cell_mean"]))
            ],
        )
    return {name: ("text/csv", text) for name, text in tables.items()}


def provenance_html(data, groups, tables):
    models = gr.model_names(data.runs)
    odd = gr.odd_runs(data.runs)
    of = {f.task_id: (g, f) for g in groups for f in g.films}
    rows, title = [], None
    for r in sorted(data.runs, key=lambda r: groups.index(of[r.task_id][0])):
        g, f = of[r.task_id]
        if g.title != title:
            title = g.title
            rows.append((title, ""))
        digest = (("✗ " if r.run_id in odd else "") + r.digest[:12], r.digest)
        rows.append(
            (
                (
                    layouts.setting(g, f).removesuffix(g.title).removesuffix(" · "),
                    r.run_id,
                    digest,
                    (r.source.rstrip(")").split("(")[-1][:18], r.source),
                    (r.date[:10], r.date),
                    (f"{models[r.model_digest]} {r.model_digest[:8]}", r.model_digest),
                    r.layout,
                    fig.number(r.wall),
                ),
                gr.repeat_command(r),
            )
        )
    head = [
        ("what", False),
        ("run: task-layout-repeat", False),
        ("digest", False),
        ("commit", False),
        ("date", False),
        ("model", False),
        ("layout", False),
        ("wall [s]", True),
    ]
    out = page.table_html(head, rows[:OPEN_ROWS], "runs")
    if len(rows) > OPEN_ROWS:
        out += f"<details><summary>{plural(len(rows) - OPEN_ROWS, 'more run')}</summary>{page.table_html(head, rows[OPEN_ROWS:], 'runs')}</details>"
    experiments = {}
    for r in data.runs:
        experiments.setdefault(r.config_text, (Path(r.config.get("file", "")).name or "experiment.toml", []))[1].append(r)
    out += "<h3>Experiment files, as they were read</h3>"
    for i, (words, (name, members)) in enumerate(list(experiments.items())[:20]):
        key = name if name not in tables else f"{i}-{name}"
        tables[key] = ("text/plain", words)
        out += f"<details><summary>{page.escape(name)}, {plural(len(members), 'run')}</summary><pre>{page.escape(words)}</pre><p class='links small'>{page.link(key)}</p></details>"
    return out


def faultless_html(data, rows):
    by = defaultdict(list)
    for t in rows:
        by[t["id"]].append(t)
    fine = [f"{data.metrics[k].name} ({k})" for k, r in by.items() if fig.faultless(data.metrics[k], r)]
    return f'<p class="soft small">Without fault in every film: {page.escape("; ".join(fine))}.</p>' if fine else ""


def numbers_html(data, group, rows):
    """What is said of films that differ in seeds alone."""

    def ordered(t):
        return (fig.FIRST.index(t["id"]) if t["id"] in fig.FIRST else len(fig.FIRST), t["id"])

    def row(t):
        ideal = fig.ideal_of(data.metrics[t["id"]], group.films)
        interval = f"{fig.number(t['interval'][0])} … {fig.number(t['interval'][1])}" if t["interval"] else "–"
        name = re.sub(r",? frames \d+ to \d+", "", t["name"])
        return (
            name[:1].upper() + name[1:],
            t["id"],
            fig.number(t["mean"]),
            interval,
            fig.plain_unit(t["unit"]),
            fig.number(ideal[0]) if ideal else "–",
            fig.number(t["floor"] if not t["floor"] < 1e-9 else 0.0, 2),
            str(t["films"]),
            str(t["refused"]),
        ), ""

    head = [
        ("", False),
        ("id", False),
        ("mean", True),
        ("95 % interval", True),
        ("unit", False),
        ("ideal", True),
        ("floor", True),
        ("films", True),
        ("refused", True),
    ]
    given = sorted((t for t in rows if t["films"]), key=ordered)
    first, rest = [t for t in given if t["id"] in fig.FIRST], [t for t in given if t["id"] not in fig.FIRST]
    out = page.table_html(head, [row(t) for t in first], "numbers")
    return out + (
        f"<details><summary>{plural(len(rest), 'more number')}</summary>{page.table_html(head, [row(t) for t in rest], 'numbers')}</details>" if rest else ""
    )
