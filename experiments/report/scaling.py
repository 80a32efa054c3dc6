"""How denoising scales: runs of one task on several layouts against ideal lines, and bytes sent against the closed formula.

Rows are what `reel sweep collect` prints: medians over repeats. The formula needs the model, so it is read from sweep.h5, where
`collect` has put it; without that file it is unknown, and said to be.
"""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from draw import number, xy_chart
from figures import Figure, both, percent
from groups import tasks_of
from rows import bar_chart, strip_chart

MAX_ROWS = 14
MAX_TASKS = 6


@dataclass
class Row:
    """One task on one layout. Times in s, bytes of all ranks; shares of 1."""

    task: str
    name: str  # what the task is, for people
    layout: str
    ranks: int
    cores: int  # at work: threads, but no more than a node has
    oversubscribed: bool
    runs: int
    step: float  # median over the repeats of the median step
    low: float
    high: float
    flop: float  # of a step
    comm: float
    imbalance: float  # busiest rank over the mean, outside communication
    saves: float
    sent: float  # in a step
    formula: float  # the same by formula; NaN: unknown
    off: float  # largest difference of a rank, whole denoising
    model: tuple  # and numerics profile: work is compared with work of its kind
    speedup: float = 1.0
    efficiency: float = 1.0
    weak: float = np.nan
    weak_base: "Row" = None  # on the fewest cores, where a core has as much work

    @property
    def work(self):
        return self.flop / self.cores

    @property
    def place(self):
        return f"{self.layout} · {self.name}"

    @property
    def against_formula(self):
        return "formula unknown" if np.isnan(self.off) else "= formula" if self.off == 0 else f"off by {number(self.off)} B"


def short(names, tasks):
    """task_id -> what tells it from the other tasks; all of its name when there is but one."""
    words = {t: names.get(t, t).split(" · ") for t in tasks}
    common = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
    return {t: " · ".join(w for w in told if w not in common) or t for t, told in words.items()}


def scaling_rows(runs, names):
    """Rows by task, cores, ranks; `names`: task_id -> what it is."""
    names = short(names, {r.task_id for r in runs if r.steps})
    cells = defaultdict(list)
    for r in runs:
        if r.steps:
            cells[r.task_id, r.layout, r.used_cores].append(r)
    rows = []
    for (task, layout, cores), members in cells.items():
        first, step = members[0], [float(np.median(r.steps)) for r in members]
        median = lambda of: float(np.median([of(r) for r in members]))
        rows.append(
            Row(
                task,
                names[task],
                layout,
                first.ranks,
                cores,
                first.oversubscribed,
                len(members),
                float(np.median(step)),
                min(step),
                max(step),
                first.phases["denoise"]["flop"] / len(first.steps),
                median(lambda r: r.phases["denoise"]["comm"]),
                median(lambda r: r.phases["denoise"]["imbalance"]),
                median(lambda r: r.save_share),
                first.phases["denoise"]["sent"] / len(first.steps),
                first.formula,
                max((r.bytes_off for r in members), key=lambda v: np.inf if np.isnan(v) else v),
                (first.model_digest, first.config["model"].get("profile")),
            )
        )
    order = {t: i for i, t in enumerate(dict.fromkeys(r.task_id for r in runs))}
    rows.sort(key=lambda r: (order[r.task], r.cores, r.ranks, r.layout))
    for row in rows:
        few = min((r for r in rows if r.task == row.task), key=lambda r: (r.cores, r.step))
        row.speedup = few.step / row.step
        row.efficiency = row.speedup * few.cores / row.cores
        fewest = min(r.cores for r in rows if r.model == row.model)
        far = lambda r: abs(row.work / r.work - 1)
        near = [r for r in rows if r.model == row.model and r.cores == fewest and far(r) <= 0.25]
        if near:
            row.weak_base = least = min(near, key=lambda r: (far(r), r.step))
            row.weak = (row.work / row.step) / (least.work / least.step)
    return rows


HEAD = (
    "task what layout ranks cores oversubscribed runs step_s step_low_s step_high_s speed_up efficiency weak_efficiency "
    "comm_share imbalance save_share step_bytes formula_bytes bytes_off"
)


def scaling_table(rows):
    """(head, rows) of scaling.csv."""
    return HEAD.split(), [
        [
            r.task,
            r.name,
            r.layout,
            r.ranks,
            r.cores,
            "yes" if r.oversubscribed else "no",
            r.runs,
            r.step,
            r.low,
            r.high,
            r.speedup,
            r.efficiency,
            r.weak,
            r.comm,
            r.imbalance,
            r.saves,
            r.sent,
            r.formula,
            r.off,
        ]
        for r in rows
    ]


def scaling_figures(runs, names):
    rows = scaling_rows(runs, names)
    wanted = {t for t, members in tasks_of(runs).items() if len({r.layout for r in members if r.steps}) > 1}
    wanted |= {t for r in rows if r.weak_base and r.cores > r.weak_base.cores for t in (r.task, r.weak_base.task)}
    tasks = [t for t in dict.fromkeys(r.task for r in rows) if t in wanted][:MAX_TASKS]
    rows = [r for r in rows if r.task in tasks]
    if not rows:
        return [Figure("scaling", [], "Scaling: needs runs of one task on different layouts (mpirun -n, --threads, run.partition).")]
    of = [[r for r in rows if r.task == t] for t in tasks]
    legend = [m[0].name[:40] for m in of]
    over = lambda r: ", more threads than cores" if r.oversubscribed else ""
    tip = lambda r, what: f"{r.layout}: {what}, {r.runs} runs{over(r)}"
    points = [
        [(r.cores, r.step, (r.low, r.high) if r.runs > 1 else None, [], tip(r, f"{number(r.step, 4)} s [{number(r.low, 4)}, {number(r.high, 4)}]")) for r in m]
        for m in of
    ]
    ideal = [(m[0].cores, min(r.step for r in m if r.cores == m[0].cores)) for m in of]
    x_label = "cores at work, log scale"
    half = lambda width: min(width, 520)
    figures = [
        both(
            "scaling",
            lambda width: xy_chart(
                "Seconds per step",
                "of denoising; median of runs, from the fastest to the slowest; dashed: ideal",
                points,
                x_label,
                log=True,
                ideal=ideal,
                legend=legend,
                width=half(width),
            ),
        )
    ]
    if any(len({r.cores for r in m}) > 1 for m in of):
        faster = [[(r.cores, r.speedup, None, [], tip(r, f"× {number(r.speedup)}")) for r in m] for m in of]
        figures.append(
            both(
                "speedup",
                lambda width: xy_chart(
                    "Speed-up",
                    "over the fastest layout on the fewest cores of the task; dashed: ideal",
                    faster,
                    x_label,
                    log=True,
                    ideal=[(m[0].cores, 1.0) for m in of],
                    slope=1,
                    legend=legend,
                    width=half(width),
                ),
            )
        )
    strips = [
        (
            r.place,
            [(v, None, i, f"{kind}: {number(v, 4)}{over(r)}") for i, (v, kind) in enumerate(((r.efficiency, "strong"), (r.weak, "weak"))) if not np.isnan(v)],
            number(r.efficiency),
        )
        for r in rows[:MAX_ROWS]
    ]
    figures.append(
        both(
            "efficiency",
            lambda width: strip_chart(
                "Efficiency",
                "strong: speed-up for each core more; weak: rate per core over that on the fewest cores, where a core has as much work",
                strips,
                width=half(width),
                unit="of ideal",
                legend=("strong", "weak"),
                refs=((1.0, "ideal"),),
            ),
        )
    )
    several_ranks = [r for r in rows if r.ranks > 1][:MAX_ROWS]
    if not several_ranks:
        return figures + [Figure("communication", [], "Communication: needs runs on more than one rank.")]
    shares = [(r.place, [(r.comm, 0, f"{percent(r.comm)} of denoising, {r.runs} runs{over(r)}")], percent(r.comm), None) for r in several_ranks]
    sent = [
        (r.place, [(r.sent * 1e-6, 0, f"{r.sent:,.0f} bytes a step; {r.against_formula}")], f"{number(r.sent * 1e-6)} {r.against_formula}", None)
        for r in several_ranks
    ]
    balance = [
        (r.place, [(100 * (r.imbalance - 1), None, 0, f"{number(100 * (r.imbalance - 1))} % above the mean{over(r)}")], f"{number(100 * (r.imbalance - 1))} %")
        for r in several_ranks
    ]
    saves = [(r.place, [(100 * r.saves, 0, f"{number(100 * r.saves)} % of the sitting")], f"{number(100 * r.saves)} %", None) for r in rows[:MAX_ROWS]]
    return figures + [
        both(
            "communication",
            lambda width: bar_chart(
                "Communication", "share of denoising inside communication calls, waiting included; mean over ranks", shares, width=half(width), most=1.0
            ),
        ),
        both(
            "bytes",
            lambda width: bar_chart(
                "Bytes sent", "of all ranks in a step, held against the closed formula, rank by rank", sent, width=half(width), unit="MB per step", room=180
            ),
        ),
        both(
            "balance",
            lambda width: strip_chart(
                "Load imbalance", "time outside communication: busiest rank above the mean of ranks", balance, width=half(width), unit="%"
            ),
        ),
        both("saves", lambda width: bar_chart("Checkpoints", "share of the last sitting's time", saves, width=half(width), unit="%")),
    ]
