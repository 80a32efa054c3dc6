"""The report: one page without network, every figure drawn, odd digests shown, 1,000 runs in time, and commands that repeat.

usage: report_test.py --reel REEL --mpiexec MPIRUN [--source DIR]

Exit code 77 (skipped), with a word on what was left out, where chromium or the packages of the three-line examples are missing.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from html.parser import HTMLParser
from pathlib import Path

import h5py

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
skipped = []
os.environ.update(OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_mpi_yield_when_idle="1")


def command(args, code=0, **kwargs):
    """Runs a command that must end with `code`; returns its standard output and standard error."""
    done = subprocess.run([str(a) for a in args], capture_output=True, text=True, timeout=240, **kwargs)
    if done.returncode != code:
        raise AssertionError(f"{args} ended with {done.returncode}, not {code}\n{done.stdout}\n{done.stderr}")
    return done.stdout, done.stderr


class Page(HTMLParser):
    """What the tests ask of a page: figures with what is in them, addresses, texts of embedded tables."""

    def __init__(self, text):
        super().__init__()
        self.figures, self.addresses, self.promised, self.tables, self._inside, self._table = {}, [], 0, {}, None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        have = dict(attrs)
        self.addresses += [have[k] for k in ("src", "href", "poster", "action", "data") if k in have]
        if tag == "meta" and have.get("name") == "figures":
            self.promised = int(have["content"])
        if tag == "figure":
            assert have["data-figure"] not in self.figures, f"two figures {have['data-figure']}"
            self._inside = self.figures[have["data-figure"]] = {"svg": 0, "marks": 0, "img": 0, "video": 0, "bad": 0, "good": 0, "class": have.get("class", ""), "text": ""}
        elif self._inside is not None:
            words = have.get("class", "").split()
            self._inside["marks"] += "mark" in words
            self._inside["bad"] += "badf" in words
            self._inside["good"] += "goodf" in words
            if tag in ("svg", "img", "video"):
                self._inside[tag] += 1
        if tag == "script" and have.get("id"):
            self._table = have["id"]
            self.tables[self._table] = ""

    def handle_endtag(self, tag):
        if tag == "figure":
            self._inside = None
        if tag == "script":
            self._table = None

    def handle_data(self, data):
        if self._table:
            self.tables[self._table] += data
        elif self._inside is not None:
            self._inside["text"] += data

    def rows(self, name):
        return list(csv.DictReader(io.StringIO(self.tables[name].strip().replace("<\\", "<"))))


def browse(path, folder, width=1300):
    """The page after Chromium: its text, console messages, and addresses that it asked for."""
    log = folder / "net.json"
    text, errors = command(
        [
            CHROMIUM,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--disable-sync",
            "--disable-default-apps",
            f"--user-data-dir={tempfile.mkdtemp(dir=folder)}",
            f"--window-size={width},1000",
            f"--log-net-log={log}",
            "--enable-logging=stderr",
            "--virtual-time-budget=2000",
            "--dump-dom",
            f"file://{path}",
        ]
    )
    console = [line for line in errors.splitlines() if "CONSOLE" in line]
    asked = {u for u in re.findall(r'"url":"([^"]+)"', log.read_text(errors="replace")) if not u.startswith(("file:", "data:", "chrome", "blob:", "about:"))}
    return text, console, asked


def complaints(path, folder):
    """What is wrong with a page as a browser sees it."""
    text, console, asked = browse(path, folder)
    page, wrong = Page(text), []
    wrong += [f"console: {line}" for line in console]
    # The browser asks its maker about itself; what matters is that it asks for nothing that the page names.
    wrong += [f"asked for {u}" for u in asked if "127.0.0.1" in u or "example" in u]
    wrong += [f"address {a[:60]}" for a in page.addresses if not a.startswith(("data:", "#"))]
    if len(page.figures) != page.promised:
        wrong.append(f"{len(page.figures)} figures, {page.promised} promised")
    for name, f in page.figures.items():
        if "none" in f["class"].split():
            if "need" not in f["text"] and "not available" not in f["text"]:
                wrong.append(f"{name} does not say what it needs: {f['text']}")
        elif not (f["svg"] and f["marks"]) and not f["img"]:
            wrong.append(f"{name} is empty")
    return wrong


# In the page: is every open figure to be seen, does any text leave its drawing, does the page scroll sideways?
LAYOUT = """<script>addEventListener('load',function(){var bad=[];
if(document.documentElement.scrollWidth>innerWidth+1)bad.push('page is '+document.documentElement.scrollWidth+' wide, the window '+innerWidth);
document.querySelectorAll('details').forEach(function(d){d.open=true});
document.querySelectorAll('figure').forEach(function(f){var seen=0;f.querySelectorAll('svg,img,p').forEach(function(s){var b=s.getBoundingClientRect();if(b.width>20&&b.height>10)seen++;
if(s.tagName=='svg'&&b.width)s.querySelectorAll('text').forEach(function(t){var r=t.getBoundingClientRect();if(r.right>b.right+10||r.left<b.left-10)bad.push(f.dataset.figure+': text leaves: '+t.textContent.slice(0,40));
if(r.height<8)bad.push(f.dataset.figure+': too small: '+t.textContent.slice(0,40))})});
if(!seen)bad.push(f.dataset.figure+' is not to be seen')});
document.body.dataset.layout=bad.length?bad.join(' | '):'good'})</script>"""


def layout(path, folder, width):
    text = path.read_text()
    probe = folder / "layout.html"
    probe.write_text(re.sub(r"script-src '[^']*'", "script-src 'unsafe-inline'", text).replace("</body>", LAYOUT + "</body>"))
    seen, _, _ = browse(probe, folder, width)
    return re.search(r'data-layout="([^"]*)"', seen).group(1)


def make_runs(reel, mpirun, source, out):
    launch = [mpirun, "--oversubscribe", "--bind-to", "none", "-n"]
    small = ["--set", "shot.frames=17"]
    throw = [reel, "-q", "run", source / "experiments/throw.toml", "--out", out, *small]
    for steps, seed, model in ((2, 3, 1), (2, 4, 1), (4, 3, 1), (4, 4, 1), (2, 3, 2)):
        path = source / f"datasets/models/backlot-{model}"
        command([*throw, "--threads", 2, "--set", f"sampler.steps={steps}", "--set", f"shot.seed={seed}", "--set", f'model.path="{path}"'])
    command([*throw, "--threads", 1, "--set", "sampler.steps=2", "--set", "shot.seed=3"])
    command([*launch, 2, *throw, "--threads", 1, "--set", "sampler.steps=2", "--set", "shot.seed=3"])
    command([reel, "-q", "run", source / "experiments/hundred_dollar_house.toml", "--out", out, *small, "--set", "sampler.steps=2", "--set", "cost.takes=2", "--set", "cost.draws=5000"])


def check_page(report, out, folder):
    page_path = folder / "report.html"
    command([sys.executable, report, out, "-o", page_path, "--static"])
    page = Page(page_path.read_text())
    wanted = [
        "cost_establishing_house",
        "matters_establishing_house",
        "metric_1_f1_g_eff",
        "metric_1_pw_velocity",
        "trace_1_b6_warp",
        "digests",
        "scaling",
        "speedup",
        "efficiency",
        "communication",
        "bytes",
        "balance",
        "saves",
        "phases",
        "peak_share",
        "energy",
        "film_1",
    ]
    assert not (lacking := [w for w in wanted if w not in page.figures]), (lacking, list(page.figures))
    assert page.figures["digests"]["good"] > 0 and page.figures["digests"]["bad"] == 0
    assert sum(f["video"] for f in page.figures.values()) == 3 and page.figures["film_1"]["img"] == 3
    runs = page.rows("runs.csv")
    assert len(runs) == 9 and {r["sampler.steps"] for r in runs} == {"2", "4"} and {r["model"] for r in runs} == {"backlot-1", "backlot-2"}
    assert {"yes"} == {r["digest_equal"] for r in runs} - {""}
    files = sorted((folder / "report-figures").glob("*.svg"))
    drawn = [n for n, f in page.figures.items() if f["svg"]]
    assert sorted(f.stem for f in files) == sorted(drawn), "one file for each drawing"
    for f in files:
        check_drawing(f, page_path.read_text())
    return page_path, page


SVG = "{http://www.w3.org/2000/svg}"
FOREIGN = re.compile(r"var\(|system-ui|https?://(?!www\.w3\.org/2000/svg)|<script|<image|<foreignObject|@import|url\(")


def check_drawing(path, page_text):
    """A figure as a file: what the page draws, in print colours, and nothing that a converter to PDF would have to fetch or guess."""
    text = path.read_text()
    root = xml.etree.ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg" and not (found := FOREIGN.search(text)), (path, found)
    width, height = float(root.get("width")), float(root.get("height"))
    assert root.get("viewBox") == f"0 0 {width:g} {height:g}" and width > 100 and height > 50, path
    colours = set(re.findall(r"#[0-9a-f]{6}", root.find(f"{SVG}style").text))
    assert {"#000000", "#ffffff"} <= colours and "#1d2127" not in colours and "#14171b" not in colours, (path, colours)
    styles = set(re.findall(r"\.(\w+)", root.find(f"{SVG}style").text))
    used = {c for e in root.iter() for c in (e.get("class") or "").split()} - {"mark", "wide", "narrow"}
    assert used <= styles, (path, used - styles)
    # Texts, tips and places of the marks: those of the page's drawing.
    figure = re.search(rf'<figure class="[^"]*" data-figure="{path.stem}">(<svg.*?</svg>)', page_text, re.S).group(1)
    content = lambda svg: [(e.tag.split("}")[-1], e.text, e.get("x"), e.get("cx"), e.get("points"), e.get("d"), e.get("width")) for e in list(svg.iter())[1:]]
    drawn = content(xml.etree.ElementTree.fromstring(figure))
    assert content(root)[2:] == drawn and len(drawn) > 5, path  # after the style and the paper


def check_numbers(page, out):
    """Means and intervals of the table against the side files, added up anew."""
    values = {}
    for row in page.rows("runs.csv"):
        path = out / f"{row['run_id']}.measure.h5"
        with h5py.File(path) as h:
            ids = h["result/metric_id"].asstr()[:]
            v = [x for k, x in zip(ids, h["result/metric_value"][:]) if k == "PW.velocity" and x == x]
            if v:
                values.setdefault((row["sampler.steps"], row["model"]), {})[row["task_id"]] = sum(v) / len(v)
    found = {(r["x"], r["series"]): r for r in page.rows("summary.csv") if r["id"] == "PW.velocity"}
    assert len(found) == len(values) == 3, (found, values)
    for key, films in values.items():
        mean = sum(films.values()) / len(films)
        row = found[key]
        assert abs(float(row["mean"]) - mean) < 1e-6 * abs(mean) and int(row["films"]) == len(films) == (1 if key[1] == "backlot-2" else 2), (key, row, films)
        if len(films) == 1:
            assert row["low_95"] == row["high_95"] == "", row
            continue
        assert min(films.values()) - 1e-6 <= float(row["low_95"]) <= mean <= float(row["high_95"]) <= max(films.values()) + 1e-6


def check_repeat(reel, mpirun, page, folder):
    """A take of a priced experiment and a run on two ranks, made again by the words in the page."""
    runs = page.rows("runs.csv")
    take = next(r for r in runs if "cost.takes" in r["repeat"] and r["seed"] == "2")
    ranks = next(r for r in runs if r["ranks"] == "2")
    for row in (take, ranks):
        words = shlex.split(row["repeat"])
        words = [str(reel) if w == "reel" else w for w in words]
        if words[0] == "mpirun":
            words[:1] = [mpirun, "--oversubscribe", "--bind-to", "none"]
        again = json.loads(command([*words, "--out", folder / "again", "--json", "-q"])[0])
        digest = again.get("result_digest")
        if digest is None:  # a priced experiment answers with prices
            digest = next(h5py.File(p).attrs["result_digest"] for p in (folder / "again").glob(f"{row['task_id']}-*-r0.h5"))
        assert digest == row["digest"], (row["repeat"], digest, row["digest"])


def check_scaling(reel, mpirun, report, source, folder):
    """Layouts of one task: what `collect` says is what the page says, and every rank sent what the formula tells."""
    sweep = folder / "layouts.toml"
    sweep.write_text(
        f"""reel = 1
base = "{source}/experiments/scaling_shot.toml"
[sweep]
repeat = 2
[[sweep.zip]]
run.ranks = [1, 2, 3, 3, 4]
run.threads = [1, 1, 1, 1, 1]
run.partition = ["heads", "heads", "heads", "stream", "heads"]
run.guidance_groups = [1, 1, 1, 1, 2]
[sweep.matrix]
shot.size = [[64, 64]]
shot.frames = [17]
sampler.steps = [2]
[output]
dir = "layouts"
"""
    )
    command([mpirun, "--oversubscribe", "--bind-to", "none", "-n", 4, reel, "-q", "sweep", sweep])
    said = json.loads(command([reel, "--json", "sweep", "collect", sweep])[0])
    assert said["done"] == said["total"] == 10 and said["tasks"] == 1 and said["layouts"] == 5, said
    layouts = {r["layout"]: r for r in said["scaling"]}
    assert list(layouts) == ["1x1", "2x1", "3x1", "3x1 stream", "4x1 g2"] and all(r["runs"] == 2 for r in layouts.values()), layouts
    for name, r in layouts.items():
        assert r["off_bytes"] == 0 and r["step_bytes"] == r["formula_bytes"] and (r["step_bytes"] > 0) == (r["ranks"] > 1), (name, r)
        assert r["low_s"] <= r["step_s"] <= r["high_s"] and 0 <= r["comm_share"] < 1 and r["imbalance"] >= 1 and 0 <= r["save_share"] < 1, (name, r)
    shown = command([reel, "sweep", "collect", sweep])[0]
    assert "1 task(s) on 5 layout(s): each task has one digest" in shown and shown.count(" equal ") == 5, shown

    def pages():
        command([sys.executable, report, folder / "layouts", "-o", folder / "layouts.html"])
        return Page((folder / "layouts.html").read_text())

    page = pages()
    for name in ("scaling", "speedup", "efficiency", "communication", "bytes", "balance", "saves", "digests"):
        assert page.figures[name]["svg"] == 2 and page.figures[name]["marks"] > 0, (name, page.figures[name])
    assert page.figures["bytes"]["text"].count("= formula") >= 2 * 4  # wide and narrow
    rows = page.rows("scaling.csv")
    assert [r["layout"] for r in rows] == ["1 × 1", "2 × 1", "3 × 1", "3 × 1 stream", "4 × 1 g2"], rows
    for row, of in zip(rows, said["scaling"]):
        for key in ("ranks", "cores", "runs", "step_s", "speed_up", "efficiency", "comm_share", "imbalance", "save_share", "step_bytes", "formula_bytes"):
            assert abs(float(row[key]) - of[key]) <= 1e-6 * abs(of[key]), (key, row, of)
        assert float(row["bytes_off"]) == 0 and float(row["step_low_s"]) <= float(row["step_s"]) <= float(row["step_high_s"]), row
    # A rank that sent something else is shown; without the table of the sweep nothing is claimed.
    table = folder / "layouts" / "sweep.h5"
    with h5py.File(table, "r+") as h:
        victim = [i for i, layout in enumerate(h["table/layout"].asstr()[:]) if layout == "2x1"][1]
        h["table/bytes_off"][victim] = 8
    page = pages()
    assert page.figures["bytes"]["text"].count("off by 8 B") >= 2 and page.figures["bytes"]["text"].count("= formula") >= 2 * 3
    table.unlink()
    page = pages()
    assert page.figures["bytes"]["text"].count("formula unknown") >= 2 * 4 and "= formula" not in page.figures["bytes"]["text"]
    assert {r["formula_bytes"] for r in page.rows("scaling.csv")} == {""}
    return folder / "layouts.html"


def check_odd(report, out, folder):
    bad = folder / "odd"
    shutil.copytree(out, bad)
    by_task = {}
    for p in sorted(bad.glob("*-r0.h5")):
        by_task.setdefault(p.name[:16], []).append(p)
    victim = next(m for m in by_task.values() if len(m) > 2)[1]
    with h5py.File(victim, "r+") as h:
        h.attrs["result_digest"] = "0" * 64
    command([sys.executable, report, bad, "-o", folder / "odd.html"])
    text = (folder / "odd.html").read_text()
    page = Page(text)
    assert page.figures["digests"]["bad"] == 2, page.figures["digests"]  # one cell, in the wide and the narrow drawing
    assert [r["run_id"] for r in page.rows("runs.csv") if r["digest_equal"] == "no"] == [victim.stem]
    assert re.search(rf"<p class=bad>Odd: {victim.stem}\.", text), "the odd run is not named"
    assert f"{victim.stem}.measure.h5</code>: measures another film" in text


def check_damage(report, out, folder):
    broken = folder / "broken"
    broken.mkdir()
    good = sorted(out.glob("*-r0.h5"))[0]
    (broken / "cut.h5").write_bytes(good.read_bytes()[:20_000])
    (broken / "words.h5").write_text("no HDF5 at all")
    with h5py.File(broken / "foreign.h5", "w") as h:
        h["x"] = 1
    _, said = command([sys.executable, report, broken, broken / "missing.h5", "-o", folder / "none.html"], code=3)
    assert "no result" in said and not (folder / "none.html").exists(), said
    shutil.copy(good, broken)
    command([sys.executable, report, broken, "-o", folder / "some.html"])
    text = (folder / "some.html").read_text()
    for name in ("cut.h5", "words.h5", "foreign.h5"):
        assert f"<code>{name}</code>" in text, f"{name} is not named"
    page = Page(text)
    assert "none" in page.figures["cost"]["class"] and "none" in page.figures["metrics"]["class"] and page.promised == len(page.figures)
    command([sys.executable, report, out, "--unknown"], code=2)
    command([sys.executable, report], code=2)
    command([sys.executable, report, good, "-o", folder / "no" / "such" / "folder.html"], code=7)
    return folder / "some.html"


def check_thousand(report, out, folder):
    """1,000 runs of 500 tasks: copies that differ in seed and steps."""
    many = folder / "many"
    many.mkdir()
    source = next(p for p in sorted(out.glob("*-r0.h5")) if p.with_suffix(".measure.h5").exists())
    for i in range(1000):
        task = hashlib.sha256(str(i // 2).encode()).hexdigest()[:16]
        run = f"{task}-{i % 2:08x}-r0"
        shutil.copy(source, many / f"{run}.h5")
        shutil.copy(source.with_suffix(".measure.h5"), many / f"{run}.measure.h5")
        with h5py.File(many / f"{run}.h5", "r+") as h:
            h.attrs["task_id"], h.attrs["run_id"] = task, run
            config = json.loads(h["provenance/config_resolved"][()])
            config["shot"]["seed"], config["sampler"]["steps"] = i // 10, (5, 10, 20, 30, 50)[i // 2 % 5]
            h["provenance/config_resolved"][()] = json.dumps(config)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command([sys.executable, report, many, "-o", folder / "many.html"])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)  # not the clock: others may use the machine
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = (folder / "many.html").stat().st_size
    assert len(Page((folder / "many.html").read_text()).rows("runs.csv")) == 1000
    assert size < 20e6, f"{size / 1e6:.1f} MB"
    assert seconds < 20, f"{seconds:.1f} s"
    print(f"1,000 runs: {seconds:.1f} s of one core, {size / 1e6:.1f} MB")
    return folder / "many.html"


def check_verb(reel, out, folder):
    """`reel report` takes the system's Python where the first one in PATH cannot read results."""
    poor = folder / "poor"
    poor.mkdir()
    (poor / "python3").write_text("#!/bin/sh\nexit 1\n")
    (poor / "python3").chmod(0o755)
    path = {**os.environ, "PATH": f"{poor}:{os.environ['PATH']}"}
    command([reel, "report", out, "-o", folder / "verb.html"], env=path)
    assert (folder / "verb.html").stat().st_size > 100_000
    command([reel, "report", folder / "nothing here", "-o", folder / "none.html"], code=3, env=path)


def check_three_lines(report, out):
    """The examples in the program's own words."""
    text = report.read_text().split('"""')[1]
    blocks = [b for b in re.findall(r"(?:^    .*\n)+", text, re.M) if "import" in b]
    assert len(blocks) == 2, blocks
    run = next(p for p in sorted(out.glob("*-r0.h5")) if p.with_suffix(".measure.h5").exists()).with_suffix("")
    for block, needed, check in zip(
        blocks, (("h5py", "pandas"), ("xarray", "h5netcdf")), ("assert len(t) > 20 and 'F1.g_eff' in set(t.id)", "assert r.pixels.dims == ('frame', 'y', 'x', 'band')")
    ):
        if subprocess.run([sys.executable, "-c", f"import {', '.join(needed)}"], capture_output=True).returncode != 0:
            skipped.append(f"the example with {' and '.join(needed)}, which is not installed")
            continue
        code = "\n".join(line[4:] for line in block.splitlines()).replace("RUN", str(run))
        command([sys.executable, "-c", f"{code}\n{check}"])


def check_browser(paths, folder):
    if CHROMIUM is None:
        skipped.append("everything that needs a browser: chromium is not installed")
        return
    for path in paths:
        wrong = complaints(path, folder)
        assert not wrong, f"{path.name}: {wrong[:8]}"
    for width in (1300, 390):
        assert (said := layout(paths[0], folder, width)) == "good", f"{width} px: {said}"
    # Would it be seen? A page that names a picture elsewhere, with its policy and without; a figure too few; too wide; a text beside.
    text = paths[0].read_text()
    picture = '<img src="http://127.0.0.1:9/example.png"></main>'
    fewer = re.sub(r'<figure class="[^"]*" data-figure="phases">.*?</figure>', "", text, flags=re.S)
    wide = text.replace("</main>", '<div style="width:3000px">.</div></main>').replace('<text x="0.0"', '<text x="2000.0"', 1)
    spoilt = {
        "policy": (fewer.replace("</main>", picture), ("console", "promised", "address")),
        "asks": (re.sub(r"<meta http-equiv[^>]*>", "", text).replace("</main>", picture), ("asked for",)),
    }
    for name, (changed, signs) in spoilt.items():
        (folder / f"{name}.html").write_text(changed)
        wrong = " ".join(complaints(folder / f"{name}.html", folder))
        assert all(sign in wrong for sign in signs), f"the checks are blind to '{name}': {wrong}"
    (folder / "wide.html").write_text(wide)
    said = layout(folder / "wide.html", folder, 1300)
    assert "page is" in said and "text leaves" in said, f"the layout check is blind: {said}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--reel", type=Path, required=True)
    parser.add_argument("--mpiexec", required=True)
    parser.add_argument("--source", type=Path, default=Path(__file__).resolve().parents[2])
    args = parser.parse_args()
    report = args.source / "experiments/report/report.py"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        out = folder / "results"
        make_runs(args.reel, args.mpiexec, args.source, out)
        page_path, page = check_page(report, out, folder)
        check_numbers(page, out)
        check_repeat(args.reel, args.mpiexec, page, folder)
        layouts = check_scaling(args.reel, args.mpiexec, report, args.source, folder)
        check_odd(report, out, folder)
        some = check_damage(report, out, folder)
        many = check_thousand(report, out, folder)
        check_verb(args.reel, out, folder)
        check_three_lines(report, out)
        check_browser([page_path, some, many, layouts], folder)
    if skipped:
        print("SKIPPED, not tested: " + "; ".join(skipped))
        return 77
    print("good")
    return 0


if __name__ == "__main__":
    sys.exit(main())
