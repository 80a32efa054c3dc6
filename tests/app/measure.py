#!/usr/bin/env python3
"""`reel measure` as people use it: worlds give their laws back, odd films are measured or refused in words, bad ones get
one message and the documented exit code, and the numbers do not depend on ranks or threads.

    measure.py --reel PROGRAM --mpiexec MPIEXEC
"""
import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import wave

parser = argparse.ArgumentParser()
parser.add_argument("--reel", required=True)
parser.add_argument("--mpiexec", required=True)
args = parser.parse_args()
ENV = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1", OMPI_MCA_mpi_yield_when_idle="1")
failures = []


def expect(condition, text):
    if not condition:
        failures.append(text)
        print("FAILED", text)


def reel(*words, ranks=0, code=0):
    launch = [args.mpiexec, "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks else []
    done = subprocess.run([*launch, args.reel, *map(str, words)], env=ENV, capture_output=True, text=True, timeout=120)
    expect(done.returncode == code, f"{words}: exit {done.returncode}, not {code}: {done.stderr[-600:]}")
    return done


def metrics(film, *words):
    report = json.loads(reel("measure", film, "--json", *words).stdout)[0]
    found = {}
    for shot in report["shots"]:
        for m in shot["metrics"]:
            found.setdefault(m["id"], []).append(m)
    return report, found


def near(m, value, text, sigmas=4):
    expect(abs(m["value"] - value) <= sigmas * m["sigma"], f"{text}: {m['value']} +- {m['sigma']}, not {value}")


def ppm(path, width, height, rgb):
    path.write_bytes(b"P6\n%d %d\n255\n" % (width, height) + bytes(rgb))


with tempfile.TemporaryDirectory() as name:
    at = pathlib.Path(name)

    # Worlds give their laws back, through a truth file and without one.
    for world, frames in (("uniform", 33), ("parabola", 33), ("collision", 33), ("fall", 45)):
        reel("world", world, "--seed", "8", "--frames", frames, "--size", "128x128", "--out", at)
        truth = json.loads((at / f"{world}-8.truth.json").read_text())
        report, m = metrics(at / f"{world}-8.mkv", "--truth", at / f"{world}-8.truth.json")
        expect(m["O1.missing"][0]["value"] == 0, f"{world}: nothing is missing")
        if world in ("parabola", "fall"):
            near(m["F1.g_eff"][0], truth["facts"]["gravity_m_per_s2"], f"{world}: gravity")
            near(m["F2.exponent"][0] if m["F2.exponent"][0]["value"] is not None else {"value": 2, "sigma": 0}, 2, f"{world}: exponent")
        if world == "collision":
            expect(abs(m["C1.momentum"][0]["value"]) < 0.02, f"momentum {m['C1.momentum'][0]['value']}")
            expect(abs(m["C2.restitution"][0]["value"] - 1) < 0.02, f"restitution {m['C2.restitution'][0]['value']}")
        pw = {p["id"]: p for p in report["paired"]["metrics"]}
        floor = 0.03 if world == "fall" else 0.02  # the jumper turns in the air, and only that is judged
        expect(pw["PW.velocity"]["value"] < floor < pw["PW.velocity_copy"]["value"], f"{world}: velocity error {pw['PW.velocity']}")

    # The same bits on any layout; side file and overlay are there and whole.
    films = [at / f"{w}-8.mkv" for w in ("uniform", "parabola", "collision", "fall")]
    alone = reel("measure", "--json", *films).stdout
    for ranks, threads in ((2, 1), (3, 2)):
        expect(reel("measure", "--json", "--threads", threads, *films, ranks=ranks).stdout == alone, f"{ranks} ranks differ")
    over = json.loads(alone)[-1]
    moves = {m["id"]: m for m in over["over_films"]}
    expect(over["num_films"] == 4 and moves["S1.still"]["mean"] == 0 and moves["S1.still"]["films"] == 4, f"four films move: {moves['S1.still']}")
    flights = [m["value"] for film in json.loads(alone)[:-1] for shot in film["shots"] for m in shot["metrics"] if m["id"] == "F1.a" and m["value"] is not None]
    expect(len(flights) == moves["F1.a"]["films"] == 2 and abs(sum(flights) / 2 - moves["F1.a"]["mean"]) < 1e-9, f"two films fly: {moves['F1.a']}")
    reel("measure", films[1], "--scale", "ball=1.0+-0.1 m:12.8 px", "--out", at / "side.h5", "--overlay", at / "marked.mp4")
    reel("verify", at / "side.h5")
    expect(json.loads(reel("measure", at / "marked.mp4", "--json").stdout)[0]["num_frames"] == 33, "overlay has 33 frames")
    reel("measure", films[1], "--overlay", at / "sheet.png")
    expect((at / "sheet.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n", "a sheet is a PNG picture")
    expect(json.loads(reel("measure", "--json", "--fps", "1", at / "sheet.png").stdout)[0]["width_px"] == 4 * 256 + 3 * 4, "four pictures wide")
    reel("measure", films[0], "--reference", films[0])
    expect("36 dB" not in reel("measure", films[0], "--reference", films[1]).stdout, "different films differ")

    # Odd films are measured or refused in words, never a crash.
    for folder, width, height, count, level in (("one", 40, 30, 1, 90), ("black", 64, 64, 6, 0), ("odd", 33, 17, 8, 120), ("dot", 1, 1, 4, 5)):
        (at / folder).mkdir()
        for f in range(count):
            ppm(at / folder / f"{f:03}.ppm", width, height, [level] * (3 * width * height))
        report, m = metrics(at / folder, "--fps", "8")
        refused = [x["refusal"] for values in m.values() for x in values if x["value"] is None]
        expect(all(refused), f"{folder}: every missing value says why")
        if folder == "one":
            expect("one frame" in report["shots"][0]["refusal"], "one frame is refused as a shot")
    (at / "grey16").mkdir()
    for f in range(6):
        (at / "grey16" / f"{f}.pgm").write_bytes(b"P5\n48 32\n65535\n" + b"".join((1000 * (x + f)).to_bytes(2, "big") for y in range(32) for x in range(48)))
    metrics(at / "grey16", "--fps", "8")

    # Bad input: one message, the documented code.
    (at / "empty.mp4").write_bytes(b"")
    (at / "text.mp4").write_text("this is no film")
    (at / "cut.mkv").write_bytes(films[3].read_bytes()[:4000])
    with wave.open(str(at / "sound.wav"), "wb") as sound:
        sound.setnchannels(1), sound.setsampwidth(2), sound.setframerate(8000)
        sound.writeframes(bytes(16000))
    (at / "nothing").mkdir()
    bad = [(["none.mp4"], 3), ([at / "empty.mp4"], 3), ([at / "text.mp4"], 3), ([at / "cut.mkv"], 3), ([at / "sound.wav"], 3),
           ([at / "nothing", "--fps", "8"], 3), ([at / "black"], 2), ([], 2), ([films[0], "--scale", "door"], 2),
           ([films[0], "--scale", "door=2 m:0 px"], 2), ([films[0], "--object", "1,2,3"], 2), ([films[0], "--object", "0,0,9e9,1"], 3),
           ([films[0], "--truth", at / "text.mp4"], 3), ([films[0], "--reference", at / "odd", "--fps", "8"], 3),
           ([films[0], "--out", "/nowhere/side.h5"], 7), ([films[0], films[1], "--overlay", at / "x.mp4"], 2)]
    for words, code in bad:
        for ranks in (0, 2):
            done = reel("measure", *words, code=code, ranks=ranks)
            expect(done.stderr.count("error") == 1 or ranks, f"{words}: one message, got {done.stderr}")
    several = reel("measure", films[0], at / "text.mp4", films[1], code=3).stdout
    expect("not measured" in several and "parabola-8" in several, "one bad film does not lose the others")
    expect(not list(at.glob("*.tmp*")) and not (at / "x.mp4").exists(), "nothing half-written stays")

print("failed" if failures else "all good", len(failures))
raise SystemExit(bool(failures))
