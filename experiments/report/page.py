"""The page: one file that carries its style, its pictures and its tables, and asks nobody for anything."""

import base64
import csv
import hashlib
import html
import io
import struct
import zlib

import numpy as np

from draw import RULES, variables

# Links to embedded tables become files only when they are clicked; the page is complete without it.
SCRIPT = """document.addEventListener('click',function(e){var a=e.target.closest('a[data-table]');if(!a)return;
var t=document.getElementById(a.dataset.table);
a.href=URL.createObjectURL(new Blob([t.textContent.trim().replace(/<\\\\/g,'<')+'\\n'],{type:t.type}));a.download=t.id;});"""

STYLE = """:root{color-scheme:light dark;LIGHT}
@media(prefers-color-scheme:dark){:root{DARK}}
*{box-sizing:border-box}html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}
main{max-width:1096px;margin:0 auto;padding:48px 28px 96px}
h1{font-size:34px;line-height:1.2;margin:0 0 6px;letter-spacing:-.02em;font-weight:650}
h2{font-size:23px;line-height:1.3;margin:72px 0 6px;letter-spacing:-.01em;font-weight:650}h3{font-size:16px;margin:36px 0 4px;font-weight:600}
p{margin:6px 0 14px;max-width:72ch}.soft,.soft a{color:var(--soft)}.small{font-size:14px}
a{color:var(--s0);text-decoration:none}a:hover{text-decoration:underline}
nav{display:flex;flex-wrap:wrap;gap:4px 20px;margin:20px 0 0;font-size:15px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:24px;margin:36px 0 0;padding:24px 0;border-top:1px solid var(--line);border-bottom:1px solid var(--line)}
.tiles b{display:block;white-space:nowrap;font-size:26px;line-height:1.2;font-weight:600;letter-spacing:-.02em;font-variant-numeric:tabular-nums}
.tiles span{color:var(--soft);font-size:14px;line-height:1.4;display:block;margin-top:4px}.tiles .bad b{color:var(--bad)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:36px 25px;margin:22px 0}
.half{display:grid;grid-template-columns:1fr 1fr;gap:36px 48px;align-items:start}
figure{margin:0;min-width:0}.full{margin:28px 0 0}figure svg{display:block;max-width:100%;height:auto}.narrow{display:none!important}
.none{color:var(--soft);border-left:3px solid var(--line);padding:2px 0 2px 14px;margin:18px 0;font-size:15px}.none p{margin:0;overflow-wrap:anywhere}
.key{display:flex;flex-wrap:wrap;gap:2px 20px;color:var(--soft);font-size:14px;margin:0}
details{margin:18px 0}summary{cursor:pointer;color:var(--s0);font-size:15px}
.films{display:grid;grid-template-columns:repeat(auto-fill,minmax(300px,1fr));gap:32px 25px;margin:22px 0}
.films div{display:grid;grid-template-columns:repeat(3,1fr);gap:4px}.films img,.films video{width:100%;display:block;background:var(--shade);outline:1px solid var(--line);outline-offset:-1px}
.films .small-picture{image-rendering:pixelated}.films video{margin-top:4px}figcaption{font-size:14px;line-height:1.4;margin-top:8px;color:var(--soft)}figcaption b{color:var(--ink);font-weight:600}
.scroll{overflow-x:auto;margin:18px 0}table{border-collapse:collapse;font-size:13.5px;line-height:1.4;font-variant-numeric:tabular-nums;min-width:100%}
th{font-weight:600;text-align:left;color:var(--soft);border-bottom:1px solid var(--axis)}th,td{padding:7px 16px 7px 0;vertical-align:top;white-space:nowrap}
th:last-child,td:last-child{padding-right:0}td.n,th.n{text-align:right}tr.rule td{border-top:1px solid var(--line)}table.numbers td:first-child{white-space:normal;min-width:180px}tr.title td{padding-top:22px;font-weight:600;font-size:14px;white-space:normal}tr.title+tr.rule td{border-top-color:var(--axis)}table.runs{font-size:12.5px}table.runs td:first-child{white-space:normal;min-width:130px}table.runs th,table.runs td{padding-right:12px}.links a{color:var(--s0)}
code,pre{font:12.5px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}tr.command td{padding-top:0;white-space:normal;color:var(--soft);overflow-wrap:anywhere}
pre{overflow-x:auto;background:var(--shade);padding:14px 16px;margin:8px 0}.bad{color:var(--bad)}
@media(max-width:700px){main{padding:28px 18px 64px}h1{font-size:27px}h2{margin-top:52px;font-size:21px}.wide{display:none!important}.narrow{display:block!important}
.grid,.films,.half{grid-template-columns:1fr;gap:32px}.tiles{grid-template-columns:1fr 1fr;gap:20px}.tiles b{font-size:23px}figure svg{width:100%}
table.runs,table.runs tbody,table.runs tr,table.runs td{display:block;min-width:0;white-space:normal}table.runs thead{display:none}table.runs td{padding:1px 0}table.runs tr.rule td:not(:first-child){display:inline;padding-right:10px}table.runs tr.rule td:first-child{font-weight:600}table.runs td:first-child::before{content:none!important}
table.runs td[data-k]::before{content:attr(data-k) " ";color:var(--soft)}table.runs td.n{text-align:left}table.runs tr.rule{border-top:1px solid var(--line);padding-top:10px}table.runs tr.rule td{border:0}table.runs tr.command{padding-bottom:10px}}
@media print{:root{LIGHT}@page{margin:16mm 14mm}main{max-width:none;padding:0}body{font-size:10.5pt}nav,.links,video,summary{display:none!important}table,table.runs{font-size:8pt}th,td{padding:4px 8px 4px 0}h2+p{break-after:avoid}h2{margin-top:28pt;break-after:avoid}h3{break-after:avoid}
figure,tr,.tiles{break-inside:avoid}.grid{grid-template-columns:repeat(3,1fr);gap:18pt 14pt}a{color:inherit}.scroll{overflow:visible}th,td{white-space:normal}}
"""


def escape(words):
    return html.escape(str(words), quote=True)


def csv_text(head, rows):
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow(["" if isinstance(v, float) and not np.isfinite(v) else f"{v:.9g}" if isinstance(v, (float, np.floating)) else v for v in row])
    return out.getvalue()


def png(rgb, widest=320):
    """A PNG of [h, w, 3] u1, made smaller by whole factors where it is wider than `widest`."""
    factor = -(-rgb.shape[1] // widest)
    if factor > 1:
        h, w = rgb.shape[0] // factor, rgb.shape[1] // factor
        rgb = rgb[: h * factor, : w * factor].reshape(h, factor, w, factor, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    h, w = rgb.shape[:2]
    rows = rgb.reshape(h, w * 3).astype(np.int16)
    above = np.vstack([np.zeros((1, w * 3), np.int16), rows[:-1]])
    filtered = np.hstack([np.full((h, 1), 2, np.uint8), ((rows - above) & 255).astype(np.uint8)])  # filter "up"
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(filtered.tobytes(), 9))
        + chunk(b"IEND", b"")
    )


def data_uri(kind, data):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def figure_html(figure, cls=""):
    if not figure.drawings:
        return f'<figure class="none" data-figure="{figure.name}"><p>{escape(figure.missing)}</p></figure>'
    body = (
        figure.drawings[0]
        if len(figure.drawings) == 1
        else "".join(d.replace("<svg ", f'<svg class="{c}" ', 1) for d, c in zip(figure.drawings, ("wide", "narrow")))
    )
    return f'<figure class="{cls}" data-figure="{figure.name}">{body}</figure>'


def grid_html(figures, more):
    """The first figures open, the others one click away."""
    first = [f for f in figures if f.first]
    rest = [f for f in figures if not f.first]
    out = f'<div class="grid">{"".join(map(figure_html, first))}</div>' if first else ""
    if rest:
        out += f'<details><summary>{len(rest)} {more}</summary><div class="grid">{"".join(map(figure_html, rest))}</div></details>'
    return out


def films_html(posters):
    """`posters`: (name, caption lines, three frames, mp4 bytes or None)."""
    out = ""
    for name, title, caption, frames, film in posters:
        small = ' class="small-picture"' if frames and frames[0].shape[1] < 240 else ""
        pictures = "".join(f'<img{small} alt="{where} frame" src="{data_uri("image/png", png(f))}">' for f, where in zip(frames, ("first", "middle", "last")))
        video = (
            f'<video{small} controls loop muted playsinline preload="none" poster="{data_uri("image/png", png(frames[0]))}" src="{data_uri("video/mp4", film)}"></video>'
            if film
            else ""
        )
        out += f'<figure data-figure="{name}"><div>{pictures}</div>{video}<figcaption><b>{escape(title)}</b><br>{escape(caption)}</figcaption></figure>'
    return f'<div class="films">{out}</div>'


def table_html(head, rows, cls=""):
    """`head`: (name, is it a number). `rows`: (cells, command or ""); cells are texts or (text, tooltip); one text
    alone is the title of the rows below."""

    def cell(value, name, numeric):
        shown, tip = value if isinstance(value, tuple) else (value, "")
        return f'<td data-k="{escape(name)}"{" class=n" if numeric else ""}{f" title={chr(34)}{escape(tip)}{chr(34)}" if tip else ""}>{escape(shown)}</td>'

    out = "".join(f'<th{" class=n" if numeric else ""}>{escape(name)}</th>' for name, numeric in head)
    body = ""
    for row, command in rows:
        if isinstance(row, str):
            body += f'<tr class="title"><td colspan="{len(head)}">{escape(row)}</td></tr>'
            continue
        body += '<tr class="rule">' + "".join(cell(v, *h) for v, h in zip(row, head)) + "</tr>"
        if command:
            body += f'<tr class="command"><td colspan="{len(head)}"><code>{escape(command)}</code></td></tr>'
    return f'<div class="scroll"><table class="{cls}"><thead><tr>{out}</tr></thead><tbody>{body}</tbody></table></div>'


def embedded(name, text, kind="text/csv"):
    """A table inside the page; `<` before `/` or `!` is written `<\\`, so that no text can end it."""
    return f'<script type="{kind}" id="{escape(name)}">\n{text.replace("</", chr(60) + chr(92) + "/").replace("<!", chr(60) + chr(92) + "!")}</script>'


def link(name, words=None):
    return f'<a href="#" data-table="{escape(name)}">{escape(words or name)}</a>'


def page_html(title, body, tables, num_figures):
    """`tables`: name -> (type, text)."""
    style = (STYLE + RULES).replace("LIGHT", variables("light")).replace("DARK", variables("dark"))
    code = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{code}'; img-src data:; media-src data:; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark"><meta name="figures" content="{num_figures}">
<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body><main>
{body}
</main>
{"".join(embedded(n, t, k) for n, (k, t) in tables.items())}
<script>{SCRIPT}</script></body></html>
"""
