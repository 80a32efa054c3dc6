"""Small SVG charts: no script, no network, colours by class so that a page can turn dark and a file stays as it is.

Every chart is a function of plain numbers that returns SVG text of a given width; heights follow from the content. Every
mark carries its numbers as a tooltip (<title>).
"""

import html
import math
from collections import defaultdict
from itertools import groupby

# Okabe and Ito's colours, told apart by all eyes; lighter ones on dark ground. Marks also differ in shape.
COLOURS = {
    "light": {
        "paper": "#ffffff",
        "ink": "#1d2127",
        "soft": "#646b76",
        "line": "#e3e5e9",
        "axis": "#b6bcc6",
        "shade": "#f4f5f7",
        "good": "#009e73",
        "bad": "#c8321f",
        "s0": "#0068a8",
        "s1": "#c85200",
        "s2": "#008f68",
        "s3": "#b0578f",
        "s4": "#b98900",
        "s5": "#3f9ccf",
    },
    "dark": {
        "paper": "#14171b",
        "ink": "#e8eaed",
        "soft": "#9aa2ae",
        "line": "#2a2f36",
        "axis": "#4b525d",
        "shade": "#1c2026",
        "good": "#2fc79a",
        "bad": "#ff6b57",
        "s0": "#5aaee8",
        "s1": "#f08c4a",
        "s2": "#35c498",
        "s3": "#dd8fc0",
        "s4": "#e5b93c",
        "s5": "#8fd0f5",
    },
}
COLOURS["print"] = COLOURS["light"] | {"ink": "#000000", "soft": "#404040", "line": "#d4d4d4", "axis": "#7a7a7a", "shade": "#f2f2f2"}
RULES = (
    "svg text{font:12px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;fill:var(--ink);font-variant-numeric:tabular-nums}"
    "svg .t{font-size:13px;font-weight:600}svg .q{fill:var(--soft);font-size:11px}svg .h{font-weight:600}svg .e{text-anchor:end}svg .c{text-anchor:middle}"
    "svg .grid{stroke:var(--line)}svg .axis{stroke:var(--axis)}svg .ref{stroke:var(--soft);stroke-dasharray:4 3}svg .band{fill:var(--soft);opacity:.13}"
    "svg .paper{fill:var(--paper)}svg .shade{fill:var(--shade)}svg .goodf{fill:var(--good)}svg .badf{fill:var(--bad)}svg .w{fill:var(--paper);font-size:11px}svg path{fill:none}"
    + "".join(f"svg .f{i}{{fill:var(--s{i})}}svg .k{i}{{stroke:var(--s{i});stroke-width:1.8}}" for i in range(6))
    + "svg .dim{opacity:.35}"
)


def variables(theme):
    return ";".join(f"--{k}:{v}" for k, v in COLOURS[theme].items())


# On paper without colours lines differ by their dashes, as marks do by their shapes.
PRINT_RULES = "".join(f"path.k{i}{{stroke-dasharray:{dashes}}}" for i, dashes in enumerate(("none", "8 3", "3 2", "9 3 2 3", "12 4", "2 4")))


def stand_alone(svg):
    """The same drawing as a file of its own: print colours written out, nothing that another program might not know."""
    rules = RULES.replace("svg ", "").replace("system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial", "Helvetica,Arial,'DejaVu Sans'") + PRINT_RULES
    for name, colour in COLOURS["print"].items():
        rules = rules.replace(f"var(--{name})", colour)
    head, rest = svg.split(">", 1)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head} xmlns="http://www.w3.org/2000/svg"><style>{rules}</style><rect width="100%" height="100%" fill="#ffffff"/>{rest}\n'


def number(v, digits=3):
    """Three digits, thousands apart, no exponent unless it saves room: 1,234  0.0123  4.5e-7."""
    if v is None or not math.isfinite(v):
        return "–"
    if v == 0:
        return "0"
    size = abs(v)
    if size >= 1e7 or size < 1e-4:
        mantissa, exponent = f"{v:.{digits - 1}e}".split("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if size >= 100:
        return f"{v:,.0f}"
    decimals = max(0, digits - 1 - math.floor(math.log10(size)))
    out = f"{v:.{decimals}f}"
    return out.rstrip("0").rstrip(".") if "." in out else out


def ticks(low, high, most=5):
    if not high > low:
        low, high = low - (abs(low) or 1) * 0.5, high + (abs(high) or 1) * 0.5
    raw = (high - low) / most
    unit = 10 ** math.floor(math.log10(raw))
    step = next(s * unit for s in (1, 2, 2.5, 5, 10) if s * unit >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def log_ticks(low, high, most=6):
    decades = [10.0**e for e in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)]
    for steps in ((1, 2, 5), (1, 3), (1,)):
        inside = [m * d for d in decades for m in steps if low * 0.999 <= m * d <= high * 1.001]
        if len(inside) <= most:
            break
    return inside[:: max(1, math.ceil(len(inside) / most))]


def wrapped(words, room):
    """At most two lines of `room` letters."""
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) + 1 > room and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".strip()
    return lines[:1] + [lines[1] if len(lines) == 2 else cut(" ".join(lines[1:]), room)] if len(lines) > 1 else lines


def cut(words, room):
    return words if len(words) <= room else words[: max(1, room - 1)].rstrip() + "…"


class Svg:
    """Grows a drawing; y runs down."""

    def __init__(self, width, label):
        self.width, self.height, self.label, self.parts = width, 0, label, []

    def add(self, text):
        self.parts.append(text)

    def line(self, x1, y1, x2, y2, cls):
        self.add(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{cls}"/>')

    def rect(self, x, y, w, h, cls, tip="", radius=0):
        inner = f"><title>{html.escape(tip)}</title></rect>" if tip else "/>"
        self.add(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(0, w):.1f}" height="{h:.1f}"{f" rx={chr(34)}{radius}{chr(34)}" if radius else ""} class="{cls}"{inner}'
        )

    def text(self, x, y, words, cls="", tip=""):
        inner = f"<title>{html.escape(tip)}</title>" if tip else ""
        self.add(f'<text x="{x:.1f}" y="{y:.1f}"{f" class={chr(34)}{cls}{chr(34)}" if cls else ""}>{html.escape(words)}{inner}</text>')

    def path(self, points, cls):
        """A line through points; a gap where a value is missing."""
        for finite, run in groupby(points, lambda p: math.isfinite(p[1])):
            run = list(run)
            if finite and len(run) > 1:
                self.add(f'<path class="{cls}" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in run) + '"/>')

    def mark(self, x, y, series, tip="", size=4.0, dim=False):
        """A dot, square, triangle or diamond."""
        cls, s = f"mark f{series % 6}" + (" dim" if dim else ""), size
        title = f"<title>{html.escape(tip)}</title>" if tip else ""
        shapes = (
            None,
            f"{x - s:.1f},{y - s:.1f} {x + s:.1f},{y - s:.1f} {x + s:.1f},{y + s:.1f} {x - s:.1f},{y + s:.1f}",
            f"{x:.1f},{y - 1.2 * s:.1f} {x + 1.1 * s:.1f},{y + s:.1f} {x - 1.1 * s:.1f},{y + s:.1f}",
            f"{x:.1f},{y - 1.3 * s:.1f} {x + 1.3 * s:.1f},{y:.1f} {x:.1f},{y + 1.3 * s:.1f} {x - 1.3 * s:.1f},{y:.1f}",
        )
        shape = shapes[series % 4]
        self.add(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{s}" class="{cls}">{title}</circle>'
            if shape is None
            else f'<polygon points="{shape}" class="{cls}">{title}</polygon>'
        )

    def legend(self, x, y, names, room):
        """One line or several; returns the y below."""
        at = x
        for i, name in enumerate(names):
            wide = 18 + 6.3 * len(name)
            if at > x and at + wide > x + room:
                at, y = x, y + 16
            self.mark(at + 5, y - 4, i)
            self.text(at + 13, y, name, "q")
            at += wide + 8
        return y + 14

    def done(self, cls=""):
        return (
            f'<svg viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}" role="img"{f" class={chr(34)}{cls}{chr(34)}" if cls else ""} '
            f'aria-label="{html.escape(self.label, quote=True)}">' + "".join(self.parts) + "</svg>"
        )


def _head(svg, title, subtitle, legend, room):
    y = 16
    for words in wrapped(title, int(room / 7.7)):
        svg.text(0, y, words, "t")
        y += 16
    if subtitle:
        for words in wrapped(subtitle, int(room / 6.0)):
            svg.text(0, y, words, "q", subtitle)
            y += 15
        y += 1
    if len(legend) > 1:
        y = svg.legend(0, y + 2, legend, room)
    return y


def _axes(svg, top, x_of, x_ticks, y_of, y_ticks, left, right, x_label, bottom):
    for v, words in y_ticks:
        svg.line(left, y_of(v), right, y_of(v), "grid")
        svg.text(left - 6, y_of(v) + 4, words, "q e")
    svg.line(left, bottom, right, bottom, "axis")
    for v, words in x_ticks:
        svg.line(x_of(v), bottom, x_of(v), bottom + 4, "axis")
        svg.text(x_of(v), bottom + 16, words, "q c")
    if x_label:
        svg.text((left + right) / 2, bottom + 32, x_label, "q c")


def xy_chart(
    title, subtitle, series, x_label, *, width=330, legend=(), numeric=True, refs=(), band=None, zero=False, log=False, ideal=(), slope=-1, x_names=()
):
    """Means against x. `series`: [[(x, mean, (low, high) or None, [single values], tip)]]; categories are x = 0, 1, ... named by
    `x_names`. `refs`: (value, name) as dashed lines; `band`: (low, high) of what cannot be told apart from good. `log`: both axes; `ideal`:
    points (x, y) from which y goes as x to the power of `slope`."""
    svg = Svg(width, f"{title}, {subtitle}")
    top = _head(svg, title, subtitle, legend, width) + 6
    left, right, bottom = 50, width - 12, top + 140
    points = [p for s in series for p in s]
    lows = [v for p in points for v in ([p[1]] + list(p[2] or ()) + list(p[3]))]
    size = max(map(abs, lows))
    near = [(v, name) for v, name in refs if log or abs(v) <= 4 * size or zero]
    spread = lows + [v for v, _ in near] + ([0] if zero else [])
    if band and max(map(abs, band)) <= 4 * size:
        spread += band
    xs = sorted({p[0] for p in points})
    end = lambda x, y: y * (xs[-1] / x) ** slope
    spread += [end(x, y) for x, y in ideal]
    low, high = min(spread), max(spread)
    if log:
        low, high = low / 1.25, high * 1.25
        x_low, x_high = xs[0] / 1.3, xs[-1] * 1.3
        y_ticks = log_ticks(low, high)
        x_ticks = [(v, number(v)) for v in xs]
        scale = lambda v, a, b: math.log(max(v, a * 1e-9) / a) / math.log(b / a)
    else:
        pad = (high - low) * 0.08 or abs(high) * 0.1 or 1
        low, high = (low if zero and low == 0 else low - pad), high + pad
        y_ticks = ticks(low, high, 4)
        x_pad = 0.6 if not numeric else (xs[-1] - xs[0]) * 0.08 or 1
        x_low, x_high = xs[0] - x_pad, xs[-1] + x_pad
        x_ticks = (
            [(i, cut(n, int((right - left) / len(x_names) / 5.6))) for i, n in enumerate(x_names)]
            if not numeric
            else [(v, number(v)) for v in (xs if len(xs) <= 6 else ticks(xs[0], xs[-1], 6))]
        )
        scale = lambda v, a, b: (v - a) / (b - a)
    y_of = lambda v: bottom - scale(min(max(v, low), high), low, high) * (bottom - top)
    x_of = lambda v: left + scale(v, x_low, x_high) * (right - left)
    if band and band[0] < high and band[1] > low:
        svg.rect(
            left,
            y_of(band[1]),
            right - left,
            max(1.5, y_of(band[0]) - y_of(band[1])),
            "band",
            f"floor: what clean films give, {number(band[0])} to {number(band[1])}",
        )
    _axes(svg, top, x_of, x_ticks, y_of, [(v, number(v)) for v in y_ticks], left, right, x_label, bottom)
    taken = []
    for v, name in near:
        y = y_of(v)
        svg.line(left, y, right, y, "ref")
        y_text = y - 4 if y - 4 > top + 6 else y + 13
        if all(abs(y_text - t) > 12 for t in taken):
            svg.text(right, y_text, name, "q e")
            taken.append(y_text)
    for x, y in ideal:
        svg.line(x_of(x), y_of(y), x_of(xs[-1]), y_of(end(x, y)), "ref")
    count = len(series)
    for i, s in enumerate(series):
        shift = (i - (count - 1) / 2) * min(7, 30 / max(count, 1)) if not log else 0
        if numeric and not log and len(s) > 1:
            svg.path([(x_of(p[0]) + shift, y_of(p[1])) for p in s], f"k{i % 6}")
        beside = defaultdict(int)  # on log axes points of a series at one x stand side by side
        for x, mean, interval, singles, tip in s:
            at = x_of(x) + shift
            if log:
                at += 9 * (beside[x] - (sum(p[0] == x for p in s) - 1) / 2)
                beside[x] += 1
            for v in singles:
                svg.mark(at - 5, y_of(v), i, size=2, dim=True)
            if interval:
                svg.line(at, y_of(interval[0]), at, y_of(interval[1]), f"k{i % 6}")
            svg.mark(at, y_of(mean), i, tip)
    svg.height = bottom + (40 if x_label else 24)
    return svg.done()


def trace_chart(title, subtitle, traces, *, width=330, legend=(), zero=False):
    """Values over time. `traces`: (series, name, times [s], values); names that begin with "mean" stand out."""
    svg = Svg(width, f"{title} over time")
    top = _head(svg, title, subtitle, legend, width) + 6
    left, right, bottom = 50, width - 12, top + 140
    finite = [v for t in traces for v in t[3] if math.isfinite(v)]
    low, high = min(finite), max(finite)
    low = min(low, 0) if zero or low > 0 and low < 0.5 * high else low
    pad = (high - low) * 0.06 or abs(high) * 0.1 or 1
    high, low = high + pad, (low if low == 0 else low - pad)
    end = max(float(t[2][-1]) for t in traces) or 1.0
    y_of = lambda v: bottom - (v - low) / (high - low) * (bottom - top) if math.isfinite(v) else math.nan
    x_of = lambda v: left + v / end * (right - left)
    _axes(svg, top, x_of, [(v, number(v)) for v in ticks(0, end, 5)], y_of, [(v, number(v)) for v in ticks(low, high, 4)], left, right, "time [s]", bottom)
    has_mean = any(t[1].startswith("mean") for t in traces)
    for series, name, times, values in traces:
        thin = max(1, len(times) // 300)
        svg.add(f"<g{' class=' + chr(34) + 'dim' + chr(34) if has_mean and not name.startswith('mean') else ''}><title>{html.escape(name)}</title>")
        svg.path([(x_of(float(t)), y_of(float(v))) for t, v in zip(times[::thin], values[::thin])], f"mark k{series % 6}")
        svg.add("</g>")
    svg.height = bottom + 40
    return svg.done()
