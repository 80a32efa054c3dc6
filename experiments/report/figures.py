"""From runs to figures: what is drawn, what is said of it, and what is missing when there is nothing to draw."""

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from draw import number, trace_chart, xy_chart
from groups import bootstrap
from inputs import read_traces
from rows import bar_chart, range_chart, strip_chart

WIDE, NARROW = 1040, 340
MAX_GROUPS = 6
# One number per law, shown first; the others are one click away.
FIRST = (
    "F1.g_eff",
    "F1.tau",
    "F2.exponent",
    "F4.ratio",
    "F5.e_v",
    "U1.drift",
    "C1.momentum",
    "P1.period",
    "O1.missing",
    "O2.teleports",
    "O3.births",
    "R1.cv",
    "B1.shift",
    "B2.rms",
    "B4.boil",
    "B5.flicker",
    "B6.warp",
    "PW.velocity",
    "PW.lost",
)
FIRST_TRACES = re.compile(r"(B1\.shift|B2\.rms|B3\.background|B4\.boil|B5\.flicker|B6\.warp|PW\.velocity)$")
NOT_WOBBLE = ("B7.", "B5.vbench")


@dataclass
class Figure:
    name: str  # also its file name with --static
    drawings: list  # one SVG, or a wide and a narrow one
    missing: str = ""  # why there is no drawing: which data it would need
    first: bool = True


def both(name, draw):
    return Figure(name, [draw(width=WIDE), draw(width=NARROW)])


def slug(words):
    return re.sub(r"[^a-z0-9]+", "_", words.lower()).strip("_")[:48]


def percent(share):
    return "–" if share is None or not np.isfinite(share) else f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.1f} %"


def plain_unit(unit):
    return "" if unit in ("1", "") else unit.replace("s-1", "/s").replace("s-2", "/s²").replace("m /s", "m/s").replace("px /s", "px/s")


# ---- cost


def cost_rows(cost):
    """One dict per alternative; cheaper_headline: share of draws in which the headline costs less than it."""
    headline = cost["attrs"].get("headline", "")
    names, draws = cost["alternative_name"], cost["draws"]
    head = draws[names.index(headline)] if headline in names else None
    all_draws = cost["alternative_cheaper"][names.index(headline)] if headline in names else np.nan  # known for the comparator alone
    return [
        {
            "name": n,
            "title": cost["alternative_title"][i],
            "unmet": cost["alternative_unmet"][i],
            "generated": bool(np.isfinite(cost["alternative_cheaper"][i])),
            "p10": cost["alternative_p10"][i],
            "p50": cost["alternative_p50"][i],
            "p90": cost["alternative_p90"][i],
            "mean": cost["alternative_mean"][i],
            "attempt": cost["alternative_attempt"][i],
            "takes": cost["alternative_takes"][i],
            "cheaper_comparator": cost["alternative_cheaper"][i],
            "cheaper_headline": all_draws if n == cost["attrs"]["comparator"] else float((head < draws[i]).mean()) if head is not None else np.nan,
            "energy_kwh": cost["alternative_energy"][i],
            "unsourced": cost["alternative_unsourced"][i],
        }
        for i, n in enumerate(names)
    ]


def cost_sentence(cost):
    a, rows = cost["attrs"], {r["name"]: r for r in cost_rows(cost)}
    head, other = rows.get(a.get("headline", "")), rows.get(a.get("comparator", ""))
    if head is None or other is None:
        return f"{a['title']}: no generated alternative is there without a condition."
    three = " / ".join(number(head[p]) for p in ("p10", "p50", "p90"))
    return (
        f"{a['title']}: a usable shot, generated ({head['title']}), costs {three} {a['currency']} (P10 / P50 / P90); one attempt {number(head['attempt'])}, "
        f"{number(head['takes'])} takes on average. It costs less than “{other['title']}”, the cheapest other way, in {percent(head['cheaper_comparator'])} of draws."
    )


def cost_figures(costs):
    if not costs:
        return [Figure("cost", [], "Cost per usable shot: needs a priced experiment (a [cost] table), or RUN.cost.h5 of `reel cost`.")]
    figures = []
    for cost in costs[:MAX_GROUPS]:
        a, rows = cost["attrs"], cost_rows(cost)
        of = {r["name"]: r for r in rows}
        row = lambda r, share: (r["title"], r["unmet"], r["p10"], r["p50"], r["p90"], percent(share), r["name"] in (a["comparator"], a["headline"]))
        made = [row(r, r["cheaper_comparator"]) for r in rows if r["generated"]]
        other = [row(r, r["cheaper_headline"]) for r in rows if not r["generated"]]
        compared = of[a["comparator"]]["title"] if a.get("comparator") in of else "the cheapest"
        sections = [("Without generating", "generated is cheaper", 1, other), ("Generated", "cheaper", 0, made)]
        figures.append(
            both(
                f"cost_{slug(a['shot'])}",
                lambda width: range_chart(
                    f"{a['title']}: cost of a usable shot",
                    f"prices of {a['price_date']}; {int(a['draws']):,} draws; right: probability of costing less, for generated ones than “{compared}”",
                    [s for s in sections if s[3]],
                    f"{a['currency']} {a['price_year']}",
                    width=width,
                ),
            )
        )
        if "input_sobol_total" in cost:
            order = np.argsort(-cost["input_sobol_total"])[:6]
            bars = [
                (
                    cost["input_item"][i],
                    [(float(cost["input_sobol_total"][i]), 2, f"total Sobol index {number(cost['input_sobol_total'][i])}")],
                    number(cost["input_sobol_total"][i], 2),
                    (float(cost["input_sobol_low"][i]), float(cost["input_sobol_high"][i])),
                )
                for i in order
                if cost["input_sobol_total"][i] > 0.001
            ]
            if bars:
                figures.append(
                    both(
                        f"matters_{slug(a['shot'])}",
                        lambda width: bar_chart(
                            "What decides it", "total Sobol index of log(generated / cheapest other way), 90 % interval", bars, width=width
                        ),
                    )
                )
    return figures


# ---- quality and physics


def ideal_of(metric, films):
    """(value, name) that a perfect film has, where there is one. The expected gravity follows from epsilon = g_eff / g - 1."""
    if metric.id == "F1.g_eff":
        expected = [
            f.values["F1.g_eff"] / (1 + f.values["F1.epsilon"]) for f in films if "F1.g_eff" in f.values and abs(1 + f.values.get("F1.epsilon", -1)) > 1e-9
        ]
        return (float(np.median(expected)), "gravity") if expected else None
    return {"F2.exponent": (2, "exact law")}.get(metric.id) or {"zero": (0, "ideal"), "one": (1, "ideal"), "lower": (0, "")}.get(metric.better)


def summary(inputs, groups):
    """Rows of the table behind the charts: mean and interval over the films of each (experiment, x, series, metric)."""
    out = []
    for group in groups:
        cells = defaultdict(list)
        for film in group.films:
            cells[group.place[film.run_id]].append(film)
        order = sorted(cells, key=lambda c: (c[1], c[0]))
        for key, metric in inputs.metrics.items():
            for x, series in order:
                films = cells[x, series]
                values = [f.values[key] for f in films if key in f.values]
                refused = sum(key in f.refused for f in films)
                if values or refused:
                    floors = [f.floors[key] for f in films if key in f.floors]
                    out.append(
                        {
                            "experiment": group.title,
                            "axis": group.axis,
                            "x": x,
                            "series": series,
                            "id": key,
                            "name": metric.name,
                            "unit": metric.unit,
                            "better": metric.better,
                            "films": len(values),
                            "refused": refused,
                            "mean": np.mean(values) if values else np.nan,
                            "interval": bootstrap(values),
                            "values": values,
                            "floor": max(floors) if floors else np.nan,
                        }
                    )
    return out


def faultless(metric, rows):
    """Whether every film has exactly what a perfect one has: said in words, not drawn."""
    exact = {"zero": 0, "one": 1}.get(metric.better)
    values = [v for r in rows for v in r["values"]]
    return exact is not None and bool(values) and all(v == exact for v in values)


def metric_figures(inputs, groups, table):
    by = defaultdict(list)
    for row in table:
        by[row["experiment"], row["id"]].append(row)
    out = {}
    for number_of, group in enumerate(groups[:MAX_GROUPS]):
        figures = []
        out[group.title] = figures
        if not group.axis:
            continue  # nothing to draw against: a table says it
        names = [] if group.numeric else sorted({x for x, _ in group.place.values()})
        for key in sorted(inputs.metrics, key=lambda k: (FIRST.index(k) if k in FIRST else len(FIRST), k)):
            metric, rows = inputs.metrics[key], by.get((group.title, key), [])
            if metric.aspect == "description" or not any(r["films"] for r in rows):
                continue
            if faultless(metric, rows):
                continue
            series = []
            for s in group.series:
                points = []
                for r in rows:
                    if r["series"] == s and r["films"]:
                        near = f" [{number(r['interval'][0])}, {number(r['interval'][1])}]" if r["interval"] else ""
                        tip = f"{group.axis} {r['x']}{', ' + s if s else ''}: {number(r['mean'], 4)}{near} {plain_unit(r['unit'])}, {r['films']} films" + (
                            f", {r['refused']} refused" if r["refused"] else ""
                        )
                        points.append(
                            (r["x"] if group.numeric else names.index(r["x"]), r["mean"], r["interval"], r["values"] if 1 < r["films"] <= 12 else [], tip)
                        )
                series.append(points)
            ideal = ideal_of(metric, group.films)
            floor = max((r["floor"] for r in rows if np.isfinite(r["floor"])), default=None)
            refs = [ideal] if ideal and ideal[1] else []
            for extra, name in (("PW.velocity_copy", "still film"), ("PW.velocity_law", "exact law")) if key == "PW.velocity" else ():
                if values := [f.values[extra] for f in group.films if extra in f.values]:
                    refs.append((float(np.mean(values)), name))
            band = (ideal[0] - (0 if metric.better == "lower" else floor), ideal[0] + floor) if ideal and floor is not None and floor > 1e-12 else None
            refused = sum(r["refused"] for r in rows)
            better = {"lower": "lower is better", "higher": "higher is better"}.get(metric.better, "")
            subtitle = " · ".join(
                w
                for w in (
                    key,
                    plain_unit(metric.unit),
                    better,
                    f"floor {number(floor, 2)}" if floor is not None and floor > 1e-12 else "",
                    f"{refused} refused" if refused else "",
                )
                if w
            )
            title = re.sub(r",? frames \d+ to \d+", "", metric.name)
            name = f"metric_{number_of + 1}_{slug(key)}"
            draw = xy_chart(
                title[:1].upper() + title[1:],
                subtitle,
                series,
                group.axis if group.axis else "",
                legend=group.series,
                numeric=group.numeric,
                refs=refs,
                band=band,
                zero=metric.better in ("lower", "zero"),
                x_names=names,
            )
            figures.append(Figure(name, [draw], first=key in FIRST))
    return out


def means_of(lines):
    """The mean line of each series that has three or more with the same times."""
    out = []
    for s in sorted({line[0] for line in lines}):
        mine = [line for line in lines if line[0] == s]
        if len(mine) > 2 and all(np.array_equal(line[2], mine[0][2]) for line in mine):
            values = np.array([line[3] for line in mine], float)
            count = np.isfinite(values).sum(axis=0)
            out.append((s, f"mean of {len(mine)} films", mine[0][2], np.where(count > 0, np.nansum(values, axis=0) / np.maximum(count, 1), np.nan)))
    return out


def trace_figures(groups):
    out = {}
    for number_of, group in enumerate(groups[:MAX_GROUPS]):
        measured = [f for f in group.films if f.values]
        chosen = measured[:: max(1, -(-len(measured) // 12))]
        traces = defaultdict(list)
        for film in chosen:
            x, s = group.place[film.run_id]
            for t in read_traces(film.measure_path):
                if len(t["time"]) and np.isfinite(t["value"]).any():
                    where = f"{group.axis} {x}, {s}, " if group.axis else ""
                    traces[t["id"], t["name"], t["unit"]].append(
                        (group.series.index(s), f"{where}seed {film.config['shot'].get('seed')}", t["time"], t["value"])
                    )
        figures = []
        for (key, name, unit), lines in sorted(traces.items(), key=lambda item: (item[0][0].startswith("PW"), item[0])):
            if not key.startswith(NOT_WOBBLE):
                subtitle = " · ".join(
                    w for w in (key, plain_unit(unit), f"{len(lines)} of {len(group.films)} films" if len(lines) < len(group.films) else "") if w
                )
                lines += means_of(lines)
                figures.append(
                    Figure(
                        f"trace_{number_of + 1}_{slug(key)}",
                        [trace_chart(name[:1].upper() + name[1:], subtitle, lines, legend=group.series)],
                        first=bool(FIRST_TRACES.match(key)),
                    )
                )
        out[group.title] = figures
    return out


def benchmark_figures(benchmarks):
    figures = []
    for b in benchmarks[:2]:
        cells = defaultdict(dict)
        for i, mean in enumerate(b["cell_mean"]):
            source = b["source_name"][b["cell_source"][i]]
            if np.isfinite(mean) and not source.endswith(" vae"):
                cells[b["cell_scene"][i], b["cell_metric"][i]].setdefault(source, []).append(i)
        bands = sorted(set(b["cell_band"]))
        for (scene, m), sources in sorted(cells.items(), key=lambda c: (FIRST.index(i) if (i := b["metric_id"][c[0][1]]) in FIRST else 99, c[0])):
            key, unit = b["metric_id"][m], plain_unit(b["metric_unit"][m])
            if key not in ("PW.velocity", "F1.g_eff", "F2.exponent", "C1.momentum", "B1.shift", "B2.rms", "B4.boil", "B5.flicker"):
                continue
            rows = []
            for source in b["source_name"]:
                dots = []
                for i in sources.get(source, ()):
                    low, high, mean = b["cell_low"][i], b["cell_high"][i], b["cell_mean"][i]
                    interval = (low, high) if np.isfinite(low) else None
                    dots.append(
                        (
                            mean,
                            interval,
                            bands.index(b["cell_band"][i]),
                            f"{b['cell_band'][i]}: {number(mean)}{f' [{number(low)}, {number(high)}]' if interval else ''} {unit}, {b['cell_num_clips'][i]} clips",
                        )
                    )
                if dots:
                    rows.append((source, dots, " / ".join(number(d[0]) for d in dots)))
            figures.append(
                Figure(
                    f"benchmark_{slug(scene)}_{slug(key)}",
                    [strip_chart(f"{scene[:1].upper() + scene[1:]}: {key}", "mean over clips, 95 % interval", rows, width=330, unit=unit or key, legend=bands)],
                )
            )
    return figures
