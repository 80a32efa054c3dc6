"""Charts of named rows: ranges on a log axis, bars, shares, and the matrix of digests. See draw.py."""

import math

from draw import Svg, _head, cut, log_ticks, number, ticks


def _row_layout(width, left_room, right_room):
    """Narrow drawings name a row above its bar, wide ones beside it."""
    narrow = width < 560
    return narrow, (0 if narrow else left_room), width - right_room, (42 if narrow else 27)


def range_chart(title, subtitle, sections, unit, *, width):
    """P10 to P90 as a bar, P50 as a tick, on one log axis. `sections`: (heading, right-hand heading, series, rows); a row is
    (name, note, p10, p50, p90, right-hand text, emphasised)."""
    svg = Svg(width, title)
    narrow, left, right, step = _row_layout(width, 320, 64 if width < 560 else 350)
    y = _head(svg, title, subtitle, (), width) + 8
    values = [v for s in sections for r in s[3] for v in r[2:5] if v > 0]
    high = max(values) * 1.1
    low = max(min(values) / 1.1, high / 1e5)
    x_of = lambda v: left + math.log(max(v, low) / low) / math.log(high / low) * (right - left)
    top = y
    marks = log_ticks(low, high, 4 if narrow else 7)
    for heading, right_heading, series, rows in sections:
        svg.text(0, y + 14, heading, "h")
        if not narrow:
            svg.text(right + 205, y + 14, "P10 / P50 / P90", "q e")
        svg.text(width, y + 14, right_heading + (", P50" if narrow else ""), "q e")
        y += 24
        for name, note, p10, p50, p90, right_text, strong in rows:
            three = f"{number(p10)} / {number(p50)} / {number(p90)}"
            svg.text(
                0,
                y + 13,
                cut(name, int((width - 64 if narrow else left - 12) / (6.4 if strong else 6.1))),
                "h" if strong else "",
                f"{name}{'; ' + note if note else ''}",
            )
            bar = y + (20 if narrow else 3)
            svg.rect(
                x_of(p10),
                bar,
                max(2, x_of(p90) - x_of(p10)),
                13,
                f"mark f{series}" + ("" if strong else " dim"),
                f"{name}: {three} {unit}{'; ' + note if note else ''}",
                2,
            )
            svg.rect(x_of(p50) - 1.25, bar - 2, 2.5, 17, "paper" if strong else f"f{series}")
            if p10 < low:
                svg.text(left, bar + 11, "◂", "q")
            if narrow:
                svg.text(width, y + 13, right_text, "e" + (" h" if strong else ""))
                svg.text(width, y + 31, number(p50), "q e")
            else:
                svg.text(right + 205, y + 14, three, "e" + (" h" if strong else ""))
                svg.text(width, y + 14, right_text, "e" + (" h" if strong else ""))
            y += step
        y += 8
    lines = Svg(width, "")
    for v in marks:
        lines.line(x_of(v), top + 20, x_of(v), y, "grid")
        svg.text(x_of(v), y + 14, number(v), "q " + ("c" if x_of(v) > 12 else ""))
    svg.parts = lines.parts + svg.parts
    svg.text(right, y + 30, f"{unit}, log scale", "q e")
    svg.height = y + 36
    return svg.done()


def bar_chart(title, subtitle, rows, *, width, unit="", most=None, log=False, legend=(), room=0):
    """`rows`: (name, [(value, series, tip)] stacked, right-hand text, (low, high) or None). `most`: end of the axis; `room`: for a
    long right-hand text [px]."""
    svg = Svg(width, title)
    narrow, left, right, step = _row_layout(width, 330, room or (86 if width < 560 else 110))
    y = _head(svg, title, subtitle, legend, width) + 6
    high = most or max(sum(v for v, _, _ in r[1]) for r in rows) or 1
    x_of = lambda v: left + v / high * (right - left)
    top = y
    for name, parts, right_text, interval in rows:
        svg.text(0, y + 13, cut(name, int((width - max(room, 90) if narrow else left - 12) / 6.1)), "", name)
        bar, at = y + (20 if narrow else 3), 0.0
        for value, series, tip in parts:
            svg.rect(x_of(at), bar, x_of(at + value) - x_of(at), 13, f"mark f{series % 6}", f"{name}: {tip}")
            at += value
        if interval:
            svg.line(x_of(interval[0]), bar + 6.5, x_of(min(interval[1], high)), bar + 6.5, "axis")
        svg.text(width, y + 13 if narrow else y + 14, right_text, "e")
        y += step
    lines = Svg(width, "")
    for v in ticks(0, high, 4 if narrow else 6):
        lines.line(x_of(v), top, x_of(v), y, "grid")
        svg.text(x_of(v), y + 14, number(v), "q " + ("c" if v > 0 else ""))
    svg.parts = lines.parts + svg.parts
    if unit:
        svg.text(right, y + 30, unit, "q e")
    svg.height = y + (36 if unit else 20)
    return svg.done()


def strip_chart(title, subtitle, rows, *, width, unit, most=None, legend=(), refs=()):
    """Dots on a line for each row. `rows`: (name, [(value, (low, high) or None, series, tip)], right-hand text). `refs`: (value, name)."""
    svg = Svg(width, title)
    narrow, left, right, step = _row_layout(width, 200, 70)
    y = _head(svg, title, subtitle, legend, width) + 6
    spread = [v for r in rows for d in r[1] for v in (d[0], *(d[1] or ()))] + [v for v, _ in refs]
    low, high = min(0.0, min(spread)), most or max(spread) * 1.05 or 1
    x_of = lambda v: left + 6 + (v - low) / (high - low) * (right - left - 12)
    top = y
    for name, dots, right_text in rows:
        svg.text(0, y + 13, cut(name, int((width - 70 if narrow else left - 8) / 6.1)), "", name)
        middle = y + (26 if narrow else 10)
        svg.line(left, middle, right, middle, "grid")
        for value, interval, series, tip in dots:
            if interval:
                svg.line(x_of(interval[0]), middle, x_of(interval[1]), middle, f"k{series % 6}")
            svg.mark(x_of(value), middle, series, f"{name}: {tip}", dim=len(dots) > 12)
        svg.text(width, y + 13 if narrow else y + 14, right_text, "e")
        y += step
    for v, name in refs:
        svg.line(x_of(v), top - 2, x_of(v), y, "ref")
        svg.text(x_of(v), top - 4, name, "q c")
    for v in ticks(low, high, 4 if narrow else 6):
        svg.line(x_of(v), y, x_of(v), y + 4, "axis")
        svg.text(x_of(v), y + 16, number(v), "q c")
    svg.line(left, y, right, y, "axis")
    svg.text(right, y + 32, unit, "q e")
    svg.height = y + 38
    return svg.done()


def matrix_chart(title, subtitle, columns, rows, *, width):
    """Same bits or not. `rows`: (name, note, {column: (digits, equal, tip, runs)}); ✓ and ✗ besides the colours."""
    svg = Svg(width, title)
    narrow = width < 560
    left = 128 if narrow else 330
    y = _head(svg, title, subtitle, (), width) + 6
    cell = min(104, (width - left) / max(1, len(columns)))
    slanted = len(columns) > (3 if narrow else 8)
    head = 60 if slanted else 16
    for i, column in enumerate(columns):
        x = left + (i + 0.5) * cell
        if slanted:
            svg.add(f'<g transform="translate({x:.1f} {y + head - 4:.1f}) rotate(-50)">')
            svg.text(0, 0, cut(column, 12), "q", column)
            svg.add("</g>")
        else:
            svg.text(x, y + 10, cut(column, int(cell / 5.6)), "q c", column)
    y += head
    for name, note, cells in rows:
        svg.text(0, y + 15, cut(name, 16), "", name)
        if not narrow:
            svg.text(128, y + 15, cut(note, 32), "q", note)
        for i, column in enumerate(columns):
            x = left + i * cell
            if column not in cells:
                svg.rect(x + 1.5, y + 1.5, cell - 3, 19, "shade", "not run", 2)
                continue
            digits, equal, tip, count = cells[column]
            svg.rect(x + 1.5, y + 1.5, cell - 3, 19, "mark goodf" if equal else "mark badf", tip, 2)
            sign = "✓" if equal else "✗"
            svg.text(x + cell / 2, y + 15, f"{sign} {digits}{f' ×{count}' if count > 1 else ''}" if cell >= 84 else sign, "w c", tip)
        y += 22
    svg.height = y + 6
    return svg.done()
