#!/usr/bin/python3
"""One page from any number of Reel results: cost, physics and wobble, speed, energy, digests, films, and how to repeat them.

    report.py FILES_OR_FOLDERS... -o report.html [--static]

The page is one file and asks for nothing when it is read; its tables are in it as CSV. --static also writes every figure as a
file of its own in print colours, report-figures/NAME.svg, ready to be turned into PDF (rsvg-convert -f pdf, inkscape). Side files (RUN.measure.h5, RUN.cost.h5) beside a result are found by themselves.
Needs h5py and numpy. Exit codes: 0 good, 2 usage, 3 nothing to report, 7 the page cannot be written.

Without this program, three lines each read the same files (h5py with pandas; xarray with h5netcdf):

    import h5py, pandas as pd
    m = h5py.File("RUN.measure.h5")["result"]
    t = pd.DataFrame({c: m["metric_" + c].asstr()[:] if m["metric_" + c].dtype == object else m["metric_" + c][:] for c in ("id", "object", "value", "sigma", "unit", "refusal")})

    import xarray as xr
    r = xr.open_dataset("RUN.h5", group="result", engine="h5netcdf")
    print(r.pixels.isel(frame=-1).mean("band"))
"""

import argparse
import os
import sys
from pathlib import Path

sys.dont_write_bytecode = True  # nothing but the page is written
import figures as fig
import groups as gr
import inputs as inp
import layouts
import page
import scaling
from draw import stand_alone
from tables import faultless_html, numbers_html, plural, provenance_html, run_tables

MAX_POSTERS, MAX_FILMS, MAX_FILM_BYTES = 6, 3, 3_000_000


def choose_posters(groups):
    """Up to six films: of each experiment one per series, then one per x, turn by turn."""
    queues = []
    for g in groups:
        seen, queue = set(), []
        for part in (1, 0):
            for f in sorted(g.films, key=lambda f: (str(g.place[f.run_id][0]), f.run_id), reverse=True):
                key = part, g.place[f.run_id][part]
                if key not in seen and f not in queue:
                    seen.add(key)
                    queue.append(f)
        queues.append((g, queue))
    out = []
    for turn in range(MAX_POSTERS):
        out += [(g, q[turn]) for g, q in queues if turn < len(q)]
    return out[: MAX_POSTERS * 2]


def posters(groups):
    found, films, size = [], 0, 0
    for g, run in choose_posters(groups):
        if len(found) == MAX_POSTERS:
            break
        try:
            frames = inp.read_frames(run.path, lambda n: (0, n // 2, -1))
        except (OSError, KeyError, ValueError, IndexError):
            continue
        if not frames:
            continue
        film = None
        if films < MAX_FILMS and run.film_path.is_file() and size + run.film_path.stat().st_size <= MAX_FILM_BYTES:
            film = run.film_path.read_bytes()
            films, size = films + 1, size + len(film)
        x, s = g.place[run.run_id]
        what = [
            f"{g.axis} {fig.number(x) if g.numeric else x}" if g.axis else "",
            s,
            f"seed {run.config['shot'].get('seed')}",
            f"frames 1, {run.frames // 2 + 1}, {run.frames}",
            run.run_id,
        ]
        found.append((f"film_{len(found) + 1}", g.title, " · ".join(w for w in what if w), frames, film))
    return found


def body_html(data, groups):
    """The page's body, its tables, and all figures drawn."""
    table = fig.summary(data, groups)
    tables = run_tables(data, groups, table)
    metrics, traces = fig.metric_figures(data, groups, table), fig.trace_figures(groups)
    runs, odd = data.runs, gr.odd_runs(data.runs)
    sections = {
        "cost": fig.cost_figures(data.costs),
        "digests": layouts.digest_figures(runs, groups),
        "scaling": scaling.scaling_figures(runs, layouts.settings(groups)),
        "speed": layouts.speed_figures(runs, groups),
        "energy": layouts.energy_figures(runs, groups),
        "benchmark": fig.benchmark_figures(data.benchmarks),
    }
    films = posters(groups)
    drawn = [f for s in (*sections.values(), *metrics.values(), *traces.values()) for f in s]
    several = [m for m in gr.tasks_of(runs).values() if len(m) > 1]
    num_tasks = len(gr.tasks_of(runs))

    def full(name):
        return "".join(page.figure_html(f, "full") for f in sections[name])

    def files(*names):
        have = [page.link(n) for n in names if n in tables]
        return f'<p class="links small soft">Table: {", ".join(have)}</p>' if have else ""

    dates = sorted(r.date[:10] for r in runs if r.date)
    span = dates[0] if dates and dates[0] == dates[-1] else f"{dates[0]} to {dates[-1]}" if dates else ""
    programs = sorted({r.source for r in runs})
    out = [
        f"<h1>{page.escape(groups[0].title) if len(groups) == 1 else 'Reel report'}</h1>",
        f'<p class="soft">{plural(len(runs), "run")} of {plural(num_tasks, "task")} in {plural(len(groups), "experiment")}{", " + span if span else ""}; {page.escape(", ".join(programs[:3]))}'
        f"{' and others' if len(programs) > 3 else ''}. One file: tables, pictures and films are in it.</p>",
        '<nav><a href="#cost">Cost</a><a href="#films">Films</a><a href="#physics">Physics and wobble</a><a href="#time">Over time</a>'
        + ('<a href="#benchmark">Benchmark</a>' if data.benchmarks else "")
        + '<a href="#bits">Same bits</a><a href="#speed">Speed</a><a href="#energy">Energy</a><a href="#runs">Runs</a></nav>',
    ]
    tiles = []
    for c in data.costs[:2]:
        row = {r["name"]: r for r in fig.cost_rows(c)}
        if (head := row.get(c["attrs"].get("headline", ""))) is not None:
            other = row.get(c["attrs"]["comparator"])
            tiles.append(
                (
                    f"{fig.number(head['p50'])} {c['attrs']['currency']}",
                    f"a usable shot, generated: {c['attrs']['title']} (P10 {fig.number(head['p10'])}, P90 {fig.number(head['p90'])})",
                    "",
                )
            )
            if other is not None:
                tiles.append((fig.percent(head["cheaper_comparator"]), f"of draws: cheaper than {other['title']}", ""))
    if not data.costs:
        tiles.append((f"{len(runs):,}", "runs", ""))
    if several:
        odd_tasks = {r.task_id for r in runs if r.run_id in odd}
        tiles.append(
            (
                f"{len(several) - len(odd_tasks):,} of {len(several):,}",
                "tasks that ran more than once have one digest" if not odd else f"tasks have one digest; odd: {', '.join(sorted(odd)[:3])}",
                "bad" if odd else "",
            )
        )
    tiles.append((f"{fig.number(sum(r.frames / r.fps for r in runs))} s", f"of film rendered in {fig.number(sum(r.wall for r in runs))} s of wall time", ""))
    out.append(
        '<div class="tiles">' + "".join(f'<div class="{cls}"><b>{page.escape(n)}</b><span>{page.escape(w)}</span></div>' for n, w, cls in tiles) + "</div>"
    )

    out.append(
        '<h2 id="cost">Cost</h2>'
        + "".join(f"<p>{page.escape(fig.cost_sentence(c))}</p>" for c in data.costs[: fig.MAX_GROUPS])
        + full("cost")
        + files("cost.csv")
    )
    out.append('<h2 id="films">Films</h2>')
    out.append(
        "<p>First, middle and last frame, as the digest has them; films are the compressed copies beside the results.</p>" + page.films_html(films)
        if films
        else '<figure class="none" data-figure="films"><p>Pictures: need results that keep their pixels (output.pixels = true).</p></figure>'
    )

    out.append('<h2 id="physics">Physics and wobble</h2>')
    if table:
        out.append(
            "<p>Large marks are means over films that differ in seeds alone, with 95 % bootstrap intervals; small ones are single films. The grey band is the floor: what the "
            "measurement makes of clean films of this size. Refused values are not drawn, but counted.</p>"
        )
    for g in groups[: fig.MAX_GROUPS]:
        rows = [t for t in table if t["experiment"] == g.title and data.metrics[t["id"]].aspect != "description"]
        if not rows:
            continue
        short = lambda key, v: f"{len(v)} prompts" if key == "prompt" else f"{key} ({len(v)})"
        varying = ", ".join(short(k, v) for k, v in g.varies.items()) or ("seeds alone" if len(g.films) > 1 else "nothing")
        note = f"; averaged over {', '.join(g.averaged)}" if g.averaged else ""
        out.append(
            f'<h3>{page.escape(g.title)}</h3><p class="soft small">{plural(len(g.films), "film")}; what varies: {page.escape(varying)}{page.escape(note)}</p>'
            + (page.grid_html(metrics[g.title], "more numbers") + faultless_html(data, rows) if g.axis else numbers_html(data, g, rows))
        )
    if len(groups) > fig.MAX_GROUPS:
        out.append(f'<p class="soft small">{plural(len(groups) - fig.MAX_GROUPS, "more experiment")} in the table.</p>')
    if not table:
        missing = fig.Figure("metrics", [], "Physics and wobble: need measurements, RUN.measure.h5 (a [measure] table in the experiment, or `reel measure`).")
        drawn.append(missing)
        out.append(page.figure_html(missing))
    out.append(files("summary.csv", "metrics.csv"))

    out.append('<h2 id="time">Over time</h2>')
    shown = [g for g in groups[: fig.MAX_GROUPS] if traces[g.title]]
    for i, g in enumerate(shown):
        title, grid = page.escape(g.title), page.grid_html(traces[g.title], "more traces")
        out.append(f"<h3>{title}</h3>{grid}" if i < 2 else f"<details><summary>{title}</summary>{grid}</details>")
    if not any(traces.values()):
        missing = fig.Figure("traces", [], "Traces: need measurements, RUN.measure.h5.")
        drawn.append(missing)
        out.append(page.figure_html(missing))
    if data.benchmarks:
        out.append(
            '<h2 id="benchmark">Benchmark</h2><p>'
            + page.escape("; ".join(b["attrs"].get("title", "") for b in data.benchmarks))
            + ". “truth” is what the instrument itself adds.</p>"
            + page.grid_html(sections["benchmark"], "more")
            + files("benchmark.csv")
        )

    say = "All tasks that ran more than once have one digest." if several and not odd else "" if not several else "Odd: " + ", ".join(sorted(odd)) + "."
    out.append(
        f'<h2 id="bits">Same bits</h2><p{" class=bad" if odd else ""}>{page.escape(say)}</p>'
        + full("digests")
        + '<p class="soft small">Digests as the results record them; <code>reel verify</code> rereads and rehashes.</p>'
    )
    over = any(r.oversubscribed for r in runs)
    out.append(
        '<h2 id="speed">Speed</h2>'
        + ('<p class="soft small">Some runs had more threads than their node has cores: their times tell little about scaling.</p>' if over else "")
        + f'<div class="half">{full("scaling")}</div>'
        + files("scaling.csv")
        + full("speed")
        + files("runs.csv")
    )
    out.append('<h2 id="energy">Energy</h2>' + full("energy"))
    out.append(
        '<h2 id="runs">Runs, and how to repeat them</h2><p>Under each run is the command that makes its film again on the same layout; its digest must be the same on any other.</p>'
        + files("runs.csv")
        + provenance_html(data, groups, tables)
    )
    if data.left_out:
        rows = "".join(f"<li><code>{page.escape(p.name)}</code>: {page.escape(why)}</li>" for p, why in data.left_out)
        out.append(f'<h2 id="left_out">Left out</h2><ul class="small">{rows}</ul>')
    return "\n".join(out), tables, drawn, len(drawn) + (len(films) or 1)


def main():
    parser = argparse.ArgumentParser(description="One page from any number of Reel results.")
    parser.add_argument("paths", nargs="+", metavar="FILES_OR_FOLDERS", help="results of `reel run`, or folders of them")
    parser.add_argument("-o", "--out", type=Path, default=Path("report.html"), help="the page (report.html)")
    parser.add_argument("--static", action="store_true", help="also write every figure as an SVG file")
    args = parser.parse_args()
    data = inp.load(args.paths)
    for path, why in data.left_out:
        print(f"left out: {path}: {why}", file=sys.stderr)
    if not data.runs:
        print(
            f"report.py: no result of `reel run` among {plural(len(inp.find_files(args.paths)), 'file')}\n  hint: name results (RUN.h5) or a folder that holds some",
            file=sys.stderr,
        )
        return 3
    groups = gr.group_runs(data.runs)
    body, tables, drawn, num_figures = body_html(data, groups)
    text = page.page_html(groups[0].title if len(groups) == 1 else "Reel report", body, tables, num_figures)
    try:
        temporary = args.out.with_name(f".{args.out.name}.{os.getpid()}.tmp")
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(args.out)
        if args.static:
            folder = args.out.with_name(args.out.stem + "-figures")
            folder.mkdir(exist_ok=True)
            files = [f for f in drawn if f.drawings]
            for f in files:
                (folder / f"{f.name}.svg").write_text(stand_alone(f.drawings[0]), encoding="utf-8")
            print(f"{folder}: {plural(len(files), 'figure')} as SVG, for print")
    except OSError as error:
        print(f"report.py: cannot write {args.out}: {error.strerror}", file=sys.stderr)
        return 7
    print(
        f"{args.out}: {plural(len(data.runs), 'run')}, {plural(num_figures, 'figure')}, {len(text) / 1e6:.1f} MB"
        + (f"; {plural(len(data.left_out), 'file')} left out" if data.left_out else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
