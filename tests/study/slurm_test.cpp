// Array jobs: what a script says, how many arrays a sweep needs, and paths that a shell would tear apart.
#include "study/slurm.hpp"

#include <gtest/gtest.h>

#include <cstdio>
#include <sstream>

#include "../io/temp_dir.hpp"
#include "study/experiment_tables.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::expect_contains;

class Slurm : public test::TempDir {
 protected:
  /// A manifest of `sweep` (its tables) with results in `folder`.
  Manifest manifest_of(const std::string& sweep, const std::string& folder = "out") {
    put("base.toml",
        "reel = 1\n[shot]\nprompt = \"a ball\"\nframes = 5\nsize = [32, 32]\n"
        "[model]\nconfig = \"wan2.1-t2v-1.3b\"\nweights = \"synthetic\"\n");
    put("s.toml", "reel = 1\nbase = \"base.toml\"\n" + sweep + "\n[output]\ndir = \"" + folder + "\"\n");
    const SweepFile file = load_sweep(dir / "s.toml");
    fs::create_directories(file.dir);
    Manifest manifest = Manifest::read(file.dir);
    std::vector<std::string> tasks;
    for (const SweepPoint& point : file.points) tasks.push_back("task" + std::to_string(experiment_of(file, point).shot.seed));
    indexes = manifest.add(file, tasks);
    return manifest;
  }
  static Machine machine(std::int64_t cores = 8) {
    Machine m;
    m.cores = cores;
    return m;
  }
  static std::vector<std::string> lines_of(const std::string& script) {
    std::vector<std::string> lines;
    std::istringstream in(script);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  static std::string line_with(const std::string& script, const std::string& part) {
    for (const std::string& line : lines_of(script))
      if (line.find(part) != std::string::npos) return line;
    return "";
  }
  /// What a shell makes of a word.
  static std::string shell_says(const std::string& word) {
    std::FILE* const pipe = popen(("printf %s " + word).c_str(), "r");
    std::string said;
    for (int c = 0; pipe != nullptr && (c = std::fgetc(pipe)) != EOF;) said += static_cast<char>(c);
    EXPECT_TRUE(pipe != nullptr && pclose(pipe) == 0);
    return said;
  }
  std::vector<std::int64_t> indexes;
};

TEST_F(Slurm, ScriptSaysWhatTheMachineAndTheLayoutAre) {
  const Manifest m = manifest_of("[sweep]\nseeds = [1, 2, 3]\n[sweep.matrix]\nrun.ranks = [3]\nrun.threads = [4]\n");
  Machine there = machine();
  there.partition = "genoa";
  there.account = "p1";
  there.qos = "short";
  there.extra = {"--exclusive", "--hint=nomultithread"};
  there.modules = {"gcc/12", "open mpi"};
  there.walltime_s = 5400.5;
  SlurmWishes wishes;
  wishes.running = 2;
  const std::vector<ArrayJob> jobs = array_jobs(m, indexes, there, wishes, "/opt/reel");
  ASSERT_EQ(jobs.size(), 1u);
  const ArrayJob& job = jobs[0];
  EXPECT_EQ(job.num_runs, 3);
  EXPECT_EQ(job.nodes, 2) << "two ranks of four threads on a node of eight cores";
  EXPECT_EQ(job.name, "reel-3x4-0");
  const std::vector<std::string> lines = lines_of(job.script);
  const std::vector<std::string> head{"#!/bin/bash",
                                      "# One sweep as one array job: each element renders one run of the sweep's manifest. Works without whoever submitted it.",
                                      "# Nothing is downloaded, no other job is touched, files are written only where the sweep's results go.",
                                      "#",
                                      "#",
                                      "#SBATCH --job-name=reel-3x4-0",
                                      "#SBATCH --array=0-2%2",
                                      "#SBATCH --nodes=2",
                                      "#SBATCH --ntasks=3",
                                      "#SBATCH --cpus-per-task=4",
                                      "#SBATCH --time=91",
                                      "#SBATCH --output=" + (m.dir() / "slurm" / "%A_%a.log").string(),
                                      "#SBATCH --open-mode=append",
                                      "#SBATCH --requeue",
                                      "#SBATCH --signal=USR1@180",
                                      "#SBATCH --partition=genoa",
                                      "#SBATCH --account=p1",
                                      "#SBATCH --qos=short",
                                      "#SBATCH --exclusive",
                                      "#SBATCH --hint=nomultithread",
                                      "",
                                      "module load gcc/12",
                                      "module load 'open mpi'"};
  ASSERT_GT(lines.size(), head.size());
  for (std::size_t i = 0; i < head.size(); ++i) EXPECT_EQ(lines[i], head[i]);
  expect_contains(job.script, "srun --mpi=pmix --kill-on-bad-exit=0 --wait=60 /opt/reel run --manifest " + m.dir().string() +
                                  " --index $((SLURM_ARRAY_TASK_ID + 0))\n");
  EXPECT_EQ(lines.back(), "exit \"$code\"");
  for (const std::string& line : lines)
    for (const char* word : {"{name}", "{array}", "{options}", "{modules}", "{launch}", "{reel}", "{stop}", "{restarts}"})
      EXPECT_EQ(line.find(word), std::string::npos) << line;
  EXPECT_NE(job.script.find("${SLURM_RESTART_COUNT:-0}"), std::string::npos) << "what is the shell's stays";
}

TEST_F(Slurm, ShortJobsAreToldInTime) {
  const Manifest m = manifest_of("[sweep]\nseeds = [1]\n");
  Machine there = machine();
  there.launcher = "mpirun";
  SlurmWishes wishes;
  wishes.walltime = "2 min";
  const ArrayJob job = array_jobs(m, indexes, there, wishes, "reel").at(0);
  EXPECT_EQ(line_with(job.script, "--time"), "#SBATCH --time=2");
  EXPECT_EQ(line_with(job.script, "--signal"), "#SBATCH --signal=USR1@30") << "a quarter of the time";
  EXPECT_EQ(job.threads, 8) << "no number of threads: the node's cores";
  EXPECT_NE(job.script.find("mpirun --map-by slot:PE=8 reel run"), std::string::npos);
  EXPECT_EQ(job.script.find("module"), std::string::npos);
  EXPECT_EQ(job.script.find("--partition"), std::string::npos);
  wishes.walltime = "soon";
  EXPECT_EQ(error_of([&] { array_jobs(m, indexes, there, wishes, "reel"); }).exit(), Exit::usage);
}

TEST_F(Slurm, ArraysStayBelowTheLargestIndex) {
  const Manifest m = manifest_of("[sweep]\nseeds = [1, 2, 3, 4, 5, 6, 7]\n");
  Machine there = machine();
  there.max_array = 3;
  const auto split = [&](const SlurmWishes& wishes = {}) {
    std::vector<std::string> arrays;
    for (const ArrayJob& job : array_jobs(m, indexes, there, wishes, "reel")) {
      const std::string array = line_with(job.script, "--array").substr(16), run = line_with(job.script, "--index");
      const std::string offset = run.substr(run.find("ID + ") + 5);
      arrays.push_back(array + " + " + offset.substr(0, offset.find(')')));
    }
    return arrays;
  };
  EXPECT_EQ(split(), (std::vector<std::string>{"0-2 + 0", "0-2 + 3", "0 + 6"}));
  SlurmWishes fewer;
  fewer.array = 2;
  EXPECT_EQ(split(fewer), (std::vector<std::string>{"0-1 + 0", "0-1 + 2", "0-1 + 4", "0 + 6"}));
  fewer.array = 100;
  EXPECT_EQ(split(fewer).size(), 3u) << "a wish does not go beyond the machine";
  // What is done, failed or under way is left out; what stopped is not. Elements keep their distance.
  std::ofstream(m.dir() / (m.at(1).run + ".h5")) << "";
  std::ofstream(m.dir() / (m.at(3).run + ".checkpoint")) << "";
  note_failure(m.dir(), m.at(4).run, Error(Exit::nonfinite, "NaN"));
  const std::unique_ptr<Claim> claim = Claim::take(m.dir(), m.at(6).run);
  EXPECT_EQ(split(), (std::vector<std::string>{"0,2 + 0", "0,2 + 3"}));
}

TEST_F(Slurm, EachLayoutHasItsArray) {
  const Manifest m = manifest_of("[sweep]\nseeds = [1, 2]\n[[sweep.zip]]\nrun.ranks = [1, 16]\nrun.threads = [8, 1]\n");
  const std::vector<ArrayJob> jobs = array_jobs(m, indexes, machine(), {}, "reel");
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].name, "reel-1x8-0");
  EXPECT_EQ(jobs[0].nodes, 1);
  EXPECT_EQ(jobs[1].name, "reel-16x1-2");
  EXPECT_EQ(jobs[1].nodes, 2);
  const Error e = error_of([&] { array_jobs(m, indexes, machine(4), {}, "reel"); });
  EXPECT_EQ(e.exit(), Exit::usage);
  expect_contains(e.what(), "8 threads do not fit on a node of 4 cores");
}

TEST_F(Slurm, PathsComeThroughTheShell) {
  const std::string folder = "it's \\\"here\\\" $HOME `x` {stop} *";  // as TOML writes it
  const Manifest m = manifest_of("[sweep]\nseeds = [1]\n", folder);
  const std::string program = (dir / "my reel" / "reel").string();
  const std::string script = array_jobs(m, indexes, machine(), {}, program).at(0).script;
  const std::string run = line_with(script, " run --manifest ");
  const std::size_t at = run.find("--wait=60 ") + 10, middle = run.find(" run --manifest "), end = run.find(" --index ");
  EXPECT_EQ(shell_says(run.substr(at, middle - at)), program);
  EXPECT_EQ(shell_says(run.substr(middle + 16, end - middle - 16)), m.dir().string());
  const std::string stop = line_with(script, "[ -e ");
  const std::size_t word = stop.find("[ -e ") + 5;
  EXPECT_EQ(shell_says(stop.substr(word, stop.rfind(" ];") - word)), (m.dir() / "STOP").string());
}

TEST_F(Slurm, WordsOfTheShell) {
  for (const std::string text : {"plain", "a b", "", "it's", "$(x)", "a\"b", "a\\b", "~", "*", "-n", "a\nb", "é"})
    EXPECT_EQ(shell_says(shell_word(text)), text);
  EXPECT_EQ(shell_word("/opt/a-b_c.1,2:3@4%5=6+7"), "/opt/a-b_c.1,2:3@4%5=6+7") << "no quotes where none are needed";
}

TEST_F(Slurm, RangesAreShort) {
  EXPECT_EQ(ranges({}), "");
  EXPECT_EQ(ranges({4}), "4");
  EXPECT_EQ(ranges({0, 1, 2, 3, 7, 9, 10}), "0-3,7,9-10");
}

TEST_F(Slurm, MachineFilesAreReadAndRefused) {
  const auto load = [&](const std::string& text) { return load_machine(put("m.toml", text).string()); };
  const Machine m = load("machine = 1\n[nodes]\ncores = 192\n[slurm]\nmax_array = 500\nwalltime = \"2 h\"\n[price]\nnode_hour = \"1.85 EUR\"\n"
                         "[network]\nlatency_us = 2\ngigabytes_per_s = 12.5\n");
  EXPECT_EQ(m.network.latency_s, 2e-6);
  EXPECT_EQ(m.network.bytes_per_s, 12.5e9);
  EXPECT_EQ(load("machine = 1\n[nodes]\ncores = 1\n").network.bytes_per_s, 0) << "not known";
  EXPECT_EQ(error_of([&] { load("machine = 1\n[nodes]\ncores = 1\n[network]\nlatency_us = -1\n"); }).exit(), Exit::usage);
  EXPECT_EQ(m.name, "m");
  EXPECT_EQ(m.cores, 192);
  EXPECT_EQ(m.max_array, 500);
  EXPECT_EQ(m.walltime_s, 7200);
  EXPECT_EQ(m.node_hour, 1.85);
  EXPECT_EQ(m.currency, "EUR");
  for (const char* price : {"1.85", "EUR 1.85", "-1 EUR", "1 EURO", "1 EUR each"})
    EXPECT_EQ(error_of([&] { load(std::string("machine = 1\n[nodes]\ncores = 1\n[price]\nnode_hour = \"") + price + "\"\n"); }).exit(), Exit::usage) << price;
  EXPECT_EQ(error_of([&] { load("[nodes]\ncores = 1\n"); }).exit(), Exit::usage);
  EXPECT_EQ(error_of([&] { load("machine = 1\n[nodes]\nsockets = 1\n"); }).exit(), Exit::usage);
  EXPECT_EQ(error_of([&] { load("machine = 1\n[nodes]\ncores = 1\ncoers = 2\n"); }).exit(), Exit::usage);
  const Error e = error_of([] { load_machine("this_machin"); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.hint(), "did you mean 'this_machine'?");
  for (const char* known : {"this_machine", "example_epyc"}) EXPECT_EQ(load_machine(known).name, known);
}

TEST(Machine, RunsThatNameNoRanksGetOneForEachNumaDomain) {
  Machine machine;
  machine.cores = 192, machine.numa_domains = 8;
  const auto layout = [&](std::int64_t ranks, std::int64_t threads) {
    study::Run run;
    run.num_ranks = ranks, run.num_threads = threads;
    const Layout l = layout_on(machine, run);
    return std::pair{l.ranks, l.threads};
  };
  EXPECT_EQ(layout(0, 0), (std::pair<std::int64_t, std::int64_t>{8, 24}));
  EXPECT_EQ(layout(0, 48), (std::pair<std::int64_t, std::int64_t>{4, 48}));
  EXPECT_EQ(layout(0, 500), (std::pair<std::int64_t, std::int64_t>{1, 500}));
  EXPECT_EQ(layout(2, 0), (std::pair<std::int64_t, std::int64_t>{2, 96}));
  EXPECT_EQ(layout(400, 0), (std::pair<std::int64_t, std::int64_t>{400, 1}));
}

}  // namespace
}  // namespace reel::study
