// Sweeps: expansion, the frozen manifest, claims and states, all without rendering.
#include "study/sweep.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "../io/temp_dir.hpp"
#include "core/digest.hpp"
#include "study/diagnostic.hpp"
#include "study/provenance.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;

class Sweep : public test::TempDir {
 protected:
  void SetUp() override {
    TempDir::SetUp();
    put("base.toml", base);
  }
  SweepFile load(const std::string& text) {
    put("s.toml", "reel = 1\nbase = \"base.toml\"\n" + text);
    return load_sweep(dir / "s.toml");
  }
  template <class Act>
  std::string refused(Exit exit, Act&& act) {
    try {
      act();
    } catch (const DiagnosticError& e) {
      EXPECT_EQ(e.exit(), exit);
      return e.rendered();
    } catch (const Error& e) {
      EXPECT_EQ(e.exit(), exit);
      return std::string(e.what()) + " | " + e.where() + " | " + e.hint();
    }
    ADD_FAILURE() << "accepted";
    return "";
  }
  static std::vector<std::string> tasks_of(const SweepFile& s) {
    std::vector<std::string> tasks;  // what task_ids would say, with a made-up model digest
    for (const SweepPoint& p : s.points) tasks.push_back(task_id(experiment_of(s, p), {std::string(64, 'a'), ""}));
    return tasks;
  }
  const std::string base = R"(reel = 1
[shot]
prompt = "a ball"
frames = 5
size = [32, 32]
seed = 7
[model]
config = "wan2.1-t2v-1.3b"
weights = "synthetic"
)";
};

TEST_F(Sweep, ExpandsMatrixTimesZipTimesSeedsTimesRepeats) {
  // The arithmetic of 4 x 2 x 4 - 4 layouts and steps, 8 seeds, 5 repeats.
  const SweepFile s = load(R"(
[sweep]
repeat = 5
seeds = 8
[sweep.matrix]
"sampler.steps" = [10, 20, 30, 50]
sampler.guidance = [1.0, 5.0]
[[sweep.zip]]
run.ranks = [1, 2, 4, 8]
run.threads = [64, 32, 16, 8]
[[sweep.exclude]]
where = "sampler.guidance == 1.0 and run.ranks == 1"
)");
  EXPECT_EQ(s.points.size(), 1120u);
  EXPECT_EQ(s.num_excluded, 4 * 8);
  EXPECT_EQ(s.keys, (std::vector<std::string>{"sampler.guidance", "sampler.steps", "run.ranks", "run.threads", "shot.seed"}));
  EXPECT_EQ(s.points[0].overrides, (std::vector<std::string>{"sampler.guidance=1.0", "sampler.steps=10", "run.ranks=2", "run.threads=32", "shot.seed=7"}));
  EXPECT_EQ(s.points[1].repeat, 1);
  const Experiment e = experiment_of(s, s.points.back());
  EXPECT_EQ(e.sampler.num_steps, 50);
  EXPECT_EQ(e.run.num_ranks, 8);
  EXPECT_EQ(e.run.num_threads, 8);
  EXPECT_EQ(e.shot.seed, derived_seed(7, 7));
  EXPECT_EQ(e.output.dir, s.dir);
  EXPECT_EQ(s.dir, dir / "results" / "s");
  // Layout and repeat are no part of a task: 8 of steps x guidance, 8 seeds; only some at guidance 1 lose a layout.
  const std::vector<std::string> tasks = tasks_of(s);
  EXPECT_EQ((std::set<std::string>(tasks.begin(), tasks.end()).size()), 64u);
}

TEST_F(Sweep, DerivedSeedsAreAKnownFunction) {
  EXPECT_EQ(derived_seed(7, 0), 7u);
  EXPECT_EQ(derived_seed(7, 3), std::stoull(sha256_hex("7 seed 3").substr(0, 16), nullptr, 16) / 2);
  EXPECT_LT(derived_seed(7, 1), std::uint64_t{1} << 63);
  EXPECT_EQ(experiment_of(load("[sweep]\nseeds = [5, 9]\n"), load("[sweep]\nseeds = [5, 9]\n").points[1]).shot.seed, 9u);
}

TEST_F(Sweep, ConditionsCompare) {
  const auto left = [&](const std::string& where) {
    return load("[sweep]\n[sweep.matrix]\nsampler.steps = [1, 2, 3]\nsampler.name = ['unipc', 'euler']\n[[sweep.exclude]]\nwhere = \"" + where + "\"\n").points.size();
  };
  EXPECT_EQ(left("sampler.steps == 2"), 4u);
  EXPECT_EQ(left("sampler.steps != 2"), 2u);
  EXPECT_EQ(left("sampler.steps < 3"), 2u);
  EXPECT_EQ(left("sampler.steps >= 2 and sampler.name == 'euler'"), 4u);
  EXPECT_EQ(left("sampler.name > 'a'"), 6u) << "texts have no order";
  EXPECT_NE(refused(Exit::usage, [&] { left("sampler.steps"); }).find("cannot be read"), std::string::npos);
  EXPECT_NE(refused(Exit::usage, [&] { left("sampler.steps = 2"); }).find("cannot be read"), std::string::npos);
  EXPECT_NE(refused(Exit::usage, [&] { left("sampler.stepz == 2"); }).find("no key"), std::string::npos);
  EXPECT_NE(refused(Exit::usage, [&] { left("sampler.steps > 0"); }).find("no run is left"), std::string::npos);
}

TEST_F(Sweep, MistakesAreNamed) {
  EXPECT_NE(refused(Exit::usage, [&] {
              const SweepFile s = load("[sweep.matrix]\nsampler.stepz = [1]\n");
              experiment_of(s, s.points.at(0));
            }).find("did you mean 'steps'"), std::string::npos);
  EXPECT_NE(refused(Exit::usage, [&] { load("[sweep.matrix]\nsampler.steps = 3\n"); }).find("needs a list"), std::string::npos);
  EXPECT_NE(refused(Exit::usage, [&] { load("[[sweep.zip]]\nrun.ranks = [1, 2]\nrun.threads = [1]\n"); }).find("one length"), std::string::npos);
  EXPECT_NE(refused(Exit::usage, [&] { load("[sweep]\nseeds = 2\n[sweep.matrix]\nshot.seed = [1]\n"); }).find("varied twice"), std::string::npos);
  EXPECT_NE(refused(Exit::usage, [&] { load("[sweep]\nseeds = 1000000\nrepeat = 10\n"); }).find("more than"), std::string::npos);
  EXPECT_NE(refused(Exit::usage, [&] { load("[swep]\n"); }).find("swep"), std::string::npos);
  put("base.toml", "reel = 1\n");
  EXPECT_NE(refused(Exit::usage, [&] { load("[sweep]\n"); }).find("base.toml"), std::string::npos);
}

TEST_F(Sweep, ManifestOnlyGrows) {
  const SweepFile two = load("[sweep.matrix]\nsampler.steps = [10, 20]\n[output]\ndir = \"out\"\n");
  fs::create_directories(two.dir);
  Manifest m = Manifest::read(two.dir);
  EXPECT_EQ(m.add(two, tasks_of(two)), (std::vector<std::int64_t>{0, 1}));
  std::ifstream first_file(two.dir / Manifest::file_name);
  const std::string first((std::istreambuf_iterator<char>(first_file)), {});
  // Another sweep in the same folder: what is known keeps its place, what is new comes behind.
  const SweepFile three = load("[sweep.matrix]\nsampler.steps = [5, 20]\n[output]\ndir = \"out\"\n");
  Manifest again = Manifest::read(two.dir);
  EXPECT_EQ(again.add(three, tasks_of(three)), (std::vector<std::int64_t>{2, 1}));
  std::ifstream second_file(two.dir / Manifest::file_name);
  const std::string second((std::istreambuf_iterator<char>(second_file)), {});
  EXPECT_TRUE(second.starts_with(first)) << "lines are only appended";
  // The base file may change or go: the manifest has its text.
  put("base.toml", "nonsense");
  const Manifest read = Manifest::read(two.dir);
  ASSERT_EQ(read.runs().size(), 3u);
  EXPECT_EQ(read.experiment(read.at(2)).sampler.num_steps, 5);
  EXPECT_EQ(read.experiment(read.at(2)).output.dir, two.dir);
  EXPECT_THROW(read.at(3), Error);
  EXPECT_THROW(read.at(-1), Error);
}

TEST_F(Sweep, DamagedManifestsAreRefusedWithTheirLine) {
  const SweepFile s = load("[sweep.matrix]\nsampler.steps = [10, 20]\n[output]\ndir = \"out\"\n");
  fs::create_directories(s.dir);
  Manifest m = Manifest::read(s.dir);
  m.add(s, tasks_of(s));
  std::ifstream file(s.dir / Manifest::file_name);
  const std::string good((std::istreambuf_iterator<char>(file)), {});
  const auto with = [&](const std::string& text) {
    std::ofstream(s.dir / Manifest::file_name) << text;
    return refused(Exit::input, [&] { Manifest::read(s.dir); });
  };
  EXPECT_NE(with(good + "{").find(".jsonl:4"), std::string::npos);
  std::string other = good;
  other.replace(other.find("a ball"), 6, "a cube");
  EXPECT_NE(with(other).find(".jsonl:1"), std::string::npos) << "the base's text has a digest";
  other = good;
  other.replace(other.find("\"index\":1"), 9, "\"index\":5");
  EXPECT_NE(with(other).find(".jsonl:3"), std::string::npos);
}

TEST_F(Sweep, StatesComeFromFiles) {
  const auto state = [&] { return standing_of(dir, "x-r0").state; };
  EXPECT_EQ(state(), RunState::missing);
  put("x-r0.checkpoint.before", "");
  EXPECT_EQ(state(), RunState::stopped);
  note_failure(dir, "x-r0", Error(Exit::nonfinite, "the velocity is not finite", "step 3"));
  EXPECT_EQ(state(), RunState::failed);
  EXPECT_EQ(standing_of(dir, "x-r0").note, "exit 6: the velocity is not finite");
  {
    const std::unique_ptr<Claim> claim = Claim::take(dir, "x-r0");
    ASSERT_NE(claim, nullptr);
    EXPECT_EQ(state(), RunState::running);
    EXPECT_EQ(Claim::take(dir, "x-r0"), nullptr) << "one at a time";
  }
  EXPECT_EQ(state(), RunState::failed);
  forget_failure(dir, "x-r0");
  EXPECT_EQ(state(), RunState::stopped);
  put("x-r0.h5", "");
  EXPECT_EQ(state(), RunState::done);
}

TEST_F(Sweep, ClaimsOfTheDeadAreTakenOver) {
  const fs::path path = dir / "x-r0.claim";
  const auto claimed_by = [&](nlohmann::json j) { put("x-r0.claim", j.dump() + "\n"); };
  int gone = 999'999;  // a process number that nobody has
  while (kill(gone, 0) == 0) --gone;
  claimed_by({{"host", this_host()}, {"pid", gone}, {"boot", boot_id()}});
  EXPECT_NE(Claim::take(dir, "x-r0"), nullptr) << "its process is gone";
  claimed_by({{"host", "elsewhere"}, {"pid", gone}, {"boot", boot_id()}});
  EXPECT_EQ(Claim::take(dir, "x-r0"), nullptr) << "of other hosts nothing is known";
  claimed_by({{"host", this_host()}, {"pid", gone}, {"boot", "another"}});
  EXPECT_EQ(Claim::take(dir, "x-r0"), nullptr) << "nor of other spaces of process numbers";
  // Not renewed for more than ten minutes.
  const timespec old[2]{{std::time(nullptr) - 601, 0}, {std::time(nullptr) - 601, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, path.c_str(), old, 0), 0);
  EXPECT_NE(Claim::take(dir, "x-r0"), nullptr);
  EXPECT_FALSE(fs::exists(path)) << "gone with its owner";
}

}  // namespace
}  // namespace reel::study
