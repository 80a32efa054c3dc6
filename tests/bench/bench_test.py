#!/usr/bin/env python3
"""The logic of bench/run.py with made-up programs: what fails, what passes, what is only reported. Nothing is timed here.

usage: bench_test.py SOURCE_DIR
"""
import contextlib
import io
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

SOURCE = pathlib.Path(sys.argv.pop(1) if len(sys.argv) > 1 else __file__).resolve()
SOURCE = SOURCE if SOURCE.is_dir() else SOURCE.parents[2]
sys.path.insert(0, str(SOURCE / "bench"))
sys.dont_write_bytecode = True
import programs  # noqa: E402
import run  # noqa: E402

# Speaks Google Benchmark's language: NAME.list has its benchmarks, NAME.0 to NAME.2 what they tell, call by call.
FAKE = """#!/bin/sh
echo "$1" >> "$0.log"
[ "$1" = --benchmark_list_tests ] && exec cat "$0.list"
[ -f "$0.sleeps" ] && exec sleep 20
[ -f "$0.ends" ] && { echo the reason >&2; exit 5; }
count="$0.$(printf %s "$1" | cksum | tr -d ' ')"
call=0
[ -f "$count" ] && read -r call < "$count"
echo $(( (call + 1) % 3 )) > "$count"
exec cat "$0.$call"
"""
PRODUCT, ATTENTION, LARGE = "product/f32/1560x1536x1536/threads:1", "attention/bf16/1x1560x512/threads:1", "product/f32/1560x5120x5120/threads:2"
KEPT = {PRODUCT: 0.9, ATTENTION: 0.8}


def tells(*shares, time=10.0, threads=1):
    """Entries of one benchmark, one per call; the peak of one thread is 100 GFLOP/s."""
    return [{"real_time": time, "of_peak": share, "GFLOP/s": share * 100 * threads} for share in shares]


class Bench(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.root = pathlib.Path(self.folder.name)
        self.bench = self.root / "build/bench"
        self.bench.mkdir(parents=True)
        busy = unittest.mock.patch.object(run, "MAX_FOREIGN", float("inf"))  # whatever else runs beside this test
        busy.start()
        self.addCleanup(busy.stop)
        self.kept = self.root / "baseline" / f"{programs.cpu()['key']}.json"

    def program(self, plan, name="reel_bench", peer=None, says=None, does=None):
        """A program that tells plan[benchmark][call], or exactly `says`; `does`: it sleeps, or it ends with an error."""
        path = self.bench / name
        path.write_text(FAKE)
        path.chmod(0o755)
        files = {"list": "".join(f"{n}\n" for n in plan)} | ({does: ""} if does else {})
        for call in range(3):
            entries = [{"name": n, "time_unit": "ms"} | t[call % len(t)] for n, t in plan.items() if t and t[call % len(t)]]
            told = {"context": {"peer": peer} if peer else {}, "benchmarks": entries}
            files[str(call)] = says if says is not None else json.dumps(told)
        for suffix, text in files.items():
            (self.bench / f"{name}.{suffix}").write_text(text)

    def baseline(self, shares=None):
        self.kept.parent.mkdir(exist_ok=True)
        self.kept.write_text(json.dumps({"of_peak": KEPT if shares is None else shares}))

    def run_py(self, *arguments):
        """(exit code, standard output, standard error) of run.py."""
        out, err = io.StringIO(), io.StringIO()
        argv = ["run.py", "--build", str(self.root / "build"), "--baseline-dir", str(self.kept.parent), "--repeats", "3", *arguments]
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), unittest.mock.patch.object(sys, "argv", argv):
            code = run.main()
        return code, out.getvalue(), err.getvalue()

    def result(self):
        return json.loads(max(self.bench.glob("*.json"), key=lambda path: path.stat().st_mtime_ns).read_text())

    def check(self, code, *words, arguments=("--short",), never=()):
        got, out, err = self.run_py(*arguments)
        self.assertEqual(got, code, err)
        for word in words:
            self.assertIn(word, err)
        for word in never:
            self.assertNotIn(word, err)
        return out

    # -- against the baseline

    def test_a_drop_of_20_percent_fails(self):
        self.program({PRODUCT: tells(0.72, 0.721, 0.719), ATTENTION: tells(0.8)})
        self.baseline()
        self.check(1, f"SLOWER: {PRODUCT}: 0.720 of peak, was 0.900 (-20%)", never=["REPORT ONLY", ATTENTION])
        self.assertEqual(self.result()["judgement"]["code"], 1)

    def test_a_drop_of_10_percent_passes(self):
        self.program({PRODUCT: tells(0.81, 0.812, 0.808), ATTENTION: tells(0.72)})
        self.baseline()
        self.check(0, "no share of peak fell by more than 15%", never=["REPORT ONLY", "SLOWER"])

    def test_the_median_counts(self):
        self.program({PRODUCT: tells(0.9, 0.7, 0.9), ATTENTION: tells(0.8), LARGE: tells(0.8)})
        self.baseline()
        self.check(0, "no share of peak fell", never=["SLOWER", "REPORT ONLY"], arguments=[])

    def test_a_faster_benchmark_passes(self):
        self.program({PRODUCT: tells(0.99), ATTENTION: tells(0.95)})
        self.baseline()
        self.check(0, never=["SLOWER", "REPORT ONLY"])

    def test_noise_is_only_reported(self):
        self.program({PRODUCT: tells(0.3, 0.4, 0.5), ATTENTION: tells(0.4, 0.6, 0.8)})
        self.baseline()
        self.check(0, "REPORT ONLY: too noisy", "SLOWER (not judged)")

    def test_a_busy_machine_is_only_reported(self):
        self.program({PRODUCT: tells(0.72, 0.721, 0.719), ATTENTION: tells(0.8)})
        self.baseline()
        with unittest.mock.patch.object(run, "MAX_FOREIGN", -1):
            self.check(0, "REPORT ONLY: too busy", "SLOWER (not judged)")

    def test_one_unsteady_benchmark_is_not_judged(self):
        steady = {f"rows/f32/{n}x1536/threads:1": tells(0.5) for n in (1, 2)}
        self.program({PRODUCT: tells(0.5, 0.7, 0.9), **steady})
        self.baseline({PRODUCT: 0.9, **{key: 0.5 for key in steady}})
        self.check(0, f"note: {PRODUCT}: 0.700 of peak, was 0.900 (-22%), but unsteady: not judged", never=["REPORT ONLY", "SLOWER"])

    def test_an_unsteady_benchmark_whose_best_is_too_slow_fails(self):
        steady = {f"rows/f32/{n}x1536/threads:1": tells(0.5) for n in (1, 2)}
        self.program({PRODUCT: tells(0.3, 0.4, 0.5), **steady})
        self.baseline({PRODUCT: 0.9, **{key: 0.5 for key in steady}})
        self.check(1, f"SLOWER: {PRODUCT}")

    def test_without_a_baseline_it_only_reports(self):
        self.program({PRODUCT: tells(0.1)})
        self.check(0, "REPORT ONLY: there is no baseline for this CPU")

    def test_a_baseline_of_other_benchmarks_only_reports(self):
        self.program({"product/f32/7x7x7/threads:1": tells(0.1)})
        self.baseline()
        self.check(0, "REPORT ONLY: no benchmark of the baseline was measured")

    def test_a_new_benchmark_is_named_and_does_not_fail(self):
        self.program({PRODUCT: tells(0.9), ATTENTION: tells(0.8), "rotate/f32/9x9/threads:1": tells(0.1)})
        self.baseline()
        self.check(0, "not in the baseline: rotate/f32/9x9/threads:1", never=["REPORT ONLY"])

    def test_one_repeat_proves_nothing(self):
        self.program({PRODUCT: tells(0.5), ATTENTION: tells(0.8)})
        self.baseline()
        self.check(0, "REPORT ONLY: nothing with a share of peak was measured twice", arguments=["--short", "--repeats", "1"])

    def test_one_benchmark_measured_once_is_not_judged(self):
        self.program({PRODUCT: [*tells(0.5), None, None], ATTENTION: tells(0.8)})
        self.baseline()
        self.check(0, f"note: {PRODUCT}", "unsteady: not judged", never=["REPORT ONLY", "SLOWER"])

    def test_wrong_bits_fail_with_or_without_a_baseline(self):
        self.program({PRODUCT: [{"error_occurred": True, "error_message": "bits differ"}], ATTENTION: tells(0.8)})
        self.check(1, f"WRONG RESULT: {PRODUCT}: bits differ", "REPORT ONLY")
        self.baseline()
        self.check(1, f"WRONG RESULT: {PRODUCT}: bits differ")

    # -- what cannot be measured

    def test_a_missing_program(self):
        self.check(2, "reel_bench: No such file or directory; build it first")

    def test_a_program_that_ends_badly(self):
        self.program({PRODUCT: []}, does="ends")
        self.check(2, "reel_bench ended with 5: the reason")

    def test_a_program_without_benchmarks(self):
        self.program({})
        self.check(2, "lists no benchmark")

    def test_broken_json(self):
        for says in ('{"context": {}, "benchmarks": [', "[]", '{"context": {}}', '{"context": {}, "benchmarks": [{"name": "a/b/c"}]}', "no JSON"):
            with self.subTest(says):
                self.program({PRODUCT: []}, says=says)
                self.check(3, "reel_bench did not print Google Benchmark's JSON")

    def test_a_broken_baseline(self):
        self.program({PRODUCT: tells(0.9)})
        self.kept.parent.mkdir()
        for text in ("{", "[]", '{"of_peak": 1}', '{"of_peak": {"a": 0}}', '{"of_peak": {"a": "0.9"}}'):
            with self.subTest(text):
                self.kept.write_text(text)
                self.check(3, f"{self.kept} is no such file as this program writes")

    def test_the_time_is_up(self):
        self.program({PRODUCT: tells(0.9)}, does="sleeps")
        self.check(2, "measured nothing in 0.2 s", arguments=["--short", "--seconds", "0.2"])

    def test_a_peer_that_takes_too_long_is_noted(self):
        self.program({PRODUCT: tells(0.9)})
        self.program({PRODUCT: []}, "peer_slow", does="sleeps")
        self.check(0, "not measured, the time was up: peer_slow: 1 of product/f32", arguments=["--seconds", "0.5"])
        self.assertEqual(self.result()["results"][0]["repeats"], 1)

    # -- baselines and results

    def test_a_saved_baseline_is_the_one_that_is_compared_with(self):
        self.program({PRODUCT: tells(0.9), ATTENTION: tells(0.8)})
        self.check(0, "baseline: ", arguments=["--short", "--save-baseline"])
        self.assertEqual(json.loads(self.kept.read_text())["of_peak"], KEPT)
        self.check(0, "no share of peak fell", never=["REPORT ONLY"])
        self.program({PRODUCT: tells(0.7), ATTENTION: tells(0.8)})
        self.check(1, f"SLOWER: {PRODUCT}")

    def test_a_noisy_or_wrong_run_is_no_baseline(self):
        for plan in ({PRODUCT: tells(0.5, 0.7, 0.9)}, {PRODUCT: tells(0.9), "a/f32/1": [{"error_occurred": True}]}):
            self.program(plan)
            self.check(2, "the baseline is not saved", arguments=["--short", "--save-baseline"])
            self.assertFalse(self.kept.exists())

    def test_a_short_run_renews_only_what_it_measured(self):
        self.program({PRODUCT: tells(0.9), LARGE: tells(0.7)})
        self.baseline({PRODUCT: 0.5, LARGE: 0.6, "gone/f32/1/threads:1": 0.5})
        self.check(0, arguments=["--short", "--save-baseline"])
        self.assertEqual(json.loads(self.kept.read_text())["of_peak"], {PRODUCT: 0.9, LARGE: 0.6})

    def test_the_result_names_machine_commit_and_compiler(self):
        self.program({PRODUCT: tells(0.8, 0.9, 0.85), "labels/n:10": [{"real_time": 3, "bytes_per_second": 7}]})
        self.check(0, arguments=[])
        result = self.result()
        for field in ("date", "commit", "compiler", "flags", "peaks", "seconds", "foreign_cores"):
            self.assertIn(field, result)
        for field in ("key", "model", "flags", "cores", "governor"):
            self.assertIn(field, result["machine"])
        product, labels = result["results"]
        self.assertAlmostEqual(product["of_peak"], 0.85)
        self.assertAlmostEqual(product["spread"], 0.1 / 0.85)
        self.assertAlmostEqual(product["seconds"], 0.01)
        self.assertAlmostEqual(result["peaks"]["f32"], 100)
        self.assertEqual(labels["bytes_per_s"], 7)

    # -- which benchmarks, which peers

    def test_short_takes_the_smallest_shapes_and_no_peers(self):
        sizes = [f"product/f32/{n}x8x8/threads:{t}" for n in (50, 40, 30, 20, 10) for t in (1, 2)]
        self.program({name: tells(0.9) for name in sizes})
        self.program({name: tells(0.9) for name in sizes}, "peer_fast")
        self.check(0)
        told = self.result()["results"]
        self.assertEqual({r["key"] for r in told}, {f"product/f32/{n}x8x8/threads:1" for n in (10, 20, 30)})
        self.assertEqual([r["peers"] for r in told], [{}] * 3)
        self.assertFalse((self.bench / "peer_fast.log").exists())
        asked = [line.partition("=")[2] for line in (self.bench / "reel_bench.log").read_text().splitlines() if "filter" in line]
        self.assertEqual(len(asked), 3)
        self.assertEqual({n for n in sizes if re.search(asked[0], n)}, {r["name"] for r in told})
        self.assertFalse(any(re.search(asked[0], other) for n in sizes for other in (n + "0", "a" + n)))

    def test_short_takes_amx_where_it_is(self):
        amx = PRODUCT.replace("f32", "bf16_amx")
        self.program({PRODUCT: tells(0.9), amx: tells(0.9)})
        for flags, taken in ([], {PRODUCT}), (["amx_bf16"], {PRODUCT, amx}):
            with unittest.mock.patch.object(run, "cpu", return_value=programs.cpu() | {"flags": flags}):
                self.check(0)
            self.assertEqual({r["key"] for r in self.result()["results"]}, taken)

    def test_ratios_to_peers(self):
        self.program({PRODUCT: tells(0.5), LARGE: tells(0.5, threads=2)})
        self.program({PRODUCT: tells(0.4, time=20), "other/f32/1": tells(0.1)}, "peer_slow", peer="Slow 1")
        self.program({PRODUCT: [{"real_time": 5, "GFLOP/s": 80}]}, "peer_fast", peer="Fast 2")
        self.program({PRODUCT: []}, "peer_broken", does="ends")
        out = self.check(0, "left out of product/f32: peer_broken ended with 5", arguments=["--table"])
        row = self.result()["results"][0]
        self.assertEqual((row["best_peer"], row["ratio_to_best_peer"]), ("Fast 2", 0.5))
        self.assertEqual(row["peers"]["peer_slow"]["ratio"], 2.0)
        self.assertAlmostEqual(row["peers"]["peer_fast"]["of_peak"], 0.8)  # of our peak: 80 of 100 GFLOP/s
        self.assertIn("| product | f32 | 1560x1536x1536 | 1 | 0.50 (0.94) | 0% | 50 GFLOP/s | 0.50 (1.00) Fast 2 |", out)
        self.assertIn("| product | f32 | 1560x5120x5120 | 2 | 0.50 (0.91) | 0% | 100 GFLOP/s | - |", out)
        again, text, _ = self.run_py("--table", "--from", str(self.bench / "results.json"))
        self.assertEqual((again, text), (0, out))

    def test_steps_are_a_program_and_a_result_of_their_own(self):
        step = "wan_1.3b_step/f32/1560/threads:2"
        self.program({PRODUCT: tells(0.5)})
        self.program({PRODUCT: tells(0.4)}, "peer_fast")
        self.program({step: [{"real_time": 20e3, "of_peak": 0.8, "GFLOP/s": 160, "label": "6 GB"}]}, "step")
        self.check(0, arguments=[])
        self.check(0, arguments=["--step"])
        told = [json.loads((self.bench / name).read_text())["results"] for name in ("results.json", "step.json")]
        self.assertEqual([[(r["key"], len(r["peers"])) for r in rows] for rows in told], [[(PRODUCT, 1)], [(step, 0)]])
        _, out, _ = self.run_py("--table", "--from", *(str(self.bench / name) for name in ("results.json", "step.json")))
        self.assertIn("| product | f32 | 1560x1536x1536 | 1 | 0.50 (0.94) |", out)
        self.assertIn("| wan_1.3b_step | f32 | 1560 | 2 | 0.80 (0.80) | 0% | 160 GFLOP/s; 6 GB | - |", out)

    def test_long_ones_and_others_are_left_out_unless_asked_for(self):
        long = "attention/f32/12x32760x32760/threads:2"
        self.program({PRODUCT: tells(0.5), ATTENTION: tells(0.5), long: tells(0.5)})
        for arguments, keys in (([], {PRODUCT, ATTENTION}), (["--long"], {PRODUCT, ATTENTION, long}), (["--only", "^prod"], {PRODUCT})):
            self.check(0, arguments=arguments)
            self.assertEqual({r["key"] for r in self.result()["results"]}, keys)

    def test_targets(self):
        for key, want in {
            "product/f32/1560x8x8/threads:1": (0.94, 1.0),
            "product/f32/1560x8x8/threads:2": (0.91, 1.0),
            "attention/bf16/12x1560x512/threads:1": (0.80, 1.1),
            "attention/bf16/12x1560x1560/threads:1": (0.82, 1.8),
            "wan_1.3b_step/bf16/8190/threads:2": (0.70, 1.5),
            "conv3d/bf16_amx/96x96x1x480x832/threads:1": (None, None),
        }.items():
            self.assertEqual(run.targets_of(key), want)

    def test_a_ratio_compares_neighbours_in_time(self):
        self.program({PRODUCT: [{"real_time": t, "of_peak": 0.5} for t in (10, 20, 40)]})
        self.program({PRODUCT: [{"real_time": t} for t in (5, 12, 20)]}, "peer_a")
        self.check(0, arguments=[])
        self.assertEqual(self.result()["results"][0]["ratio_to_best_peer"], 0.5)

    def test_a_wrong_peer_gives_no_ratio(self):
        self.program({PRODUCT: tells(0.5)})
        self.program({PRODUCT: [{"error_occurred": True, "error_message": "the product is wrong"}]}, "peer_a")
        self.check(0, arguments=[])
        row = self.result()["results"][0]
        self.assertNotIn("best_peer", row)
        self.assertEqual(row["peers"]["peer_a"]["error"], "the product is wrong")

    def test_names(self):
        for name, key in {
            "matrix_product/f32/M:1560/K:8/N:9/threads:2/real_time": "product/f32/1560x8x9/threads:2",
            "product/bf16/1560x8x9/threads:1": "product/bf16/1560x8x9/threads:1",
            "attention/f32/tokens:1560/keys:512/real_time": "attention/f32/1x1560x512/threads:1",
            "attention/f32/12x1560x512/threads:2/min_time:0.1/real_time": "attention/f32/12x1560x512/threads:2",
            "pert_table": "pert_table",
            "labels/n:10": "labels/10/threads:1",
        }.items():
            self.assertEqual(programs.key_of(name), key)

    def test_torch_scripts_say_what_they_need_and_list_the_names_of_the_peers(self):
        for script, needs in (("torch_peers.py", "torch"), ("torch_wan_step.py", "torch and diffusers")):
            done = subprocess.run([sys.executable, "-SE", SOURCE / "bench/peers" / script], capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(f"this needs {needs} in the Python that runs it", done.stderr)
        sys.path.insert(0, str(SOURCE / "bench/peers"))
        import torch_peers

        for name in torch_peers.benchmarks():
            self.assertEqual(programs.key_of(name), name)


if __name__ == "__main__":
    unittest.main(verbosity=1)
