// Collecting a sweep: digests that agree or not, what is missing or damaged, and the numbers of the table. Nothing is rendered.
#include "study/sweep_collect.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/study/made_results.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::expect_contains;
using std::int64_t;

// What is measured of a run on 2 hosts: [rank, phase] of the phases text, denoise, decode.
struct Times {
  std::vector<double> wall{1, 30, 5, 1, 30, 4}, comm{0, 3, 1, 0, 9, 2}, sent{0, 0, 0, 0, 0, 0};
  std::vector<double> steps{12, 8, 10};
  test::Made made;
};

class Collect : public test::MadeResults {
 protected:
  void SetUp() override {
    MadeResults::SetUp();
    put("base.toml",
        "reel = 1\n[shot]\nprompt = \"a ball\"\nframes = 5\nsize = [64, 32]\n"
        "[model]\nconfig = \"wan2.1-t2v-1.3b\"\nweights = \"synthetic\"\n");
  }
  /// Two tasks (3 and 4 steps) of two layouts, two repeats: runs 0 to 3 are of the first.
  void sweep() {
    put("s.toml",
        "reel = 1\nbase = \"base.toml\"\n[sweep]\nrepeat = 2\n[sweep.matrix]\nsampler.steps = [3, 4]\n"
        "[[sweep.zip]]\nrun.ranks = [2, 2]\nrun.threads = [4, 2]\n[output]\ndir = \"out\"\n");
    const SweepFile file = load_sweep(dir / "s.toml");
    fs::create_directories(file.dir);
    manifest = Manifest::read(file.dir);
    std::vector<std::string> tasks;
    for (const SweepPoint& point : file.points) tasks.push_back("task" + std::to_string(experiment_of(file, point).sampler.num_steps));
    manifest.add(file, tasks);
  }
  fs::path result(int64_t index) const { return manifest.dir() / (manifest.at(index).run + ".h5"); }

  /// Run `index` is done, with this film.
  void finish(int64_t index, float film, const Times& times = {}) const {
    test::Made made = times.made;
    made.wall = times.wall;
    const auto threads = static_cast<double>(manifest.experiment(manifest.at(index)).run.num_threads);
    made.threads.assign(2, threads);
    const fs::path raw = make(made);
    io::Record r = io::read_record(raw);
    // Indexes are made when the record is written.
    std::erase_if(r.datasets, [](const io::Dataset& d) { return d.dims == std::vector<std::string>{d.path.substr(d.path.rfind('/') + 1)}; });
    fs::remove(raw);
    const auto add = [&](const std::string& name, const std::string& unit, Shape shape, std::vector<std::string> dims, io::Data data) {
      r.datasets.push_back({name, unit, name, std::move(shape), std::move(dims), std::move(data), {}});
    };
    add("/measured/phase", "", {3}, {"phase"}, std::vector<std::string>{"text", "denoise", "decode"});
    add("/measured/comm_wall", "s", {2, 3}, {"rank", "phase"}, times.comm);
    add("/measured/bytes_sent", "byte", {2, 3}, {"rank", "phase"}, times.sent);
    add("/measured/flop", "1", {3}, {"phase"}, std::vector<double>{1, 6e9, 1e9});
    add("/measured/mem_peak", "byte", {2}, {"rank"}, std::vector<double>{7e8, 9e8});
    add("/measured/peak_rate", "s-1", {2}, {"rank"}, std::vector<double>{2e8, 2e8});
    add("/measured/step_wall", "s", {static_cast<int64_t>(times.steps.size())}, {"step"}, times.steps);
    add("/measured/checkpoint_wall", "s", {}, {}, std::vector<double>{0.9});
    add("/result/latent", "1", {1}, {"x"}, std::vector<float>{film});
    io::write_record(result(index), r);
  }
  io::Record table() const { return io::read_record(manifest.dir() / "sweep.h5"); }
  template <class T>
  static T first(const io::Record& r, const std::string& name) {
    return r.values<T>("/table/" + name).at(0);
  }
  Manifest manifest;
};

TEST_F(Collect, AgreeingDigestsMakeOneTable) {
  sweep();
  for (int64_t i = 0; i < 8; ++i) finish(i, i < 4 ? 1.0f : 2.0f);
  const Collected c = collect(manifest);
  EXPECT_TRUE(c.odd.empty() && c.damaged.empty() && c.count.all_done());
  EXPECT_EQ(c.num_tasks, 2);
  EXPECT_EQ(c.num_layouts, 2);
  EXPECT_EQ(c.file, manifest.dir() / "sweep.h5");
  EXPECT_EQ(c.scaling.size(), 4u);
  const io::Record r = table();
  const auto& digests = r.values<std::string>("/table/digest");
  ASSERT_EQ(digests.size(), 8u);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(digests[i], digests[i < 4 ? 0 : 4]);
  EXPECT_NE(digests[0], digests[4]);
  EXPECT_EQ(r.values<int64_t>("/table/sampler_steps"), (std::vector<int64_t>{3, 3, 3, 3, 4, 4, 4, 4}));
  EXPECT_EQ(r.values<int64_t>("/table/repeat"), (std::vector<int64_t>{0, 1, 0, 1, 0, 1, 0, 1}));
  EXPECT_EQ(r.values<std::string>("/table/layout"), (std::vector<std::string>{"2x4", "2x4", "2x2", "2x2", "2x4", "2x4", "2x2", "2x2"}));
  EXPECT_EQ(r.values<std::string>("/table/run").at(5), manifest.at(5).run);
  const std::string once = get(c.file);
  EXPECT_EQ(collect(manifest).scaling.size(), 4u);
  EXPECT_EQ(io::read_record(c.file).values<std::string>("/table/digest"), digests) << "idempotent";
}

TEST_F(Collect, TheOddRunIsNamed) {
  sweep();
  for (int64_t i = 0; i < 8; ++i) finish(i, i == 2 ? 1.5f : 1.0f);
  const Collected c = collect(manifest);
  ASSERT_EQ(c.odd.size(), 1u);
  EXPECT_EQ(c.odd[0].run, manifest.at(2).run);
  EXPECT_EQ(c.odd[0].task, "task3");
  EXPECT_EQ(c.odd[0].digest, io::read_record(result(2)).text("/", "result_digest"));
  EXPECT_EQ(c.odd[0].expected, io::read_record(result(0)).text("/", "result_digest"));
  EXPECT_FALSE(fs::exists(manifest.dir() / "sweep.h5")) << "no table of doubtful runs";
}

TEST_F(Collect, WithoutAMajorityAllAreOdd) {
  sweep();
  finish(0, 1);
  finish(2, 2);
  const Collected c = collect(manifest);
  ASSERT_EQ(c.odd.size(), 2u);
  EXPECT_EQ(c.odd[0].expected, c.odd[1].digest);
  EXPECT_EQ(c.odd[1].expected, c.odd[0].digest);
}

TEST_F(Collect, WhatIsMissingIsCountedNotInvented) {
  sweep();
  const Error e = error_of([&] { collect(manifest); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.what(), "nothing is done");
  finish(1, 1);
  finish(6, 1);
  note_failure(manifest.dir(), manifest.at(4).run, Error(Exit::nonfinite, "NaN"));
  const Collected c = collect(manifest);
  EXPECT_EQ(c.count.done, 2);
  EXPECT_EQ(c.count.failed, 1);
  EXPECT_EQ(c.count.missing, 5);
  EXPECT_FALSE(c.count.all_done());
  EXPECT_EQ(table().values<int64_t>("/table/index"), (std::vector<int64_t>{1, 6}));
}

TEST_F(Collect, DamagedResultsAreLeftOutWhole) {
  sweep();
  for (int64_t i = 0; i < 4; ++i) finish(i, 1);
  std::string bytes = get(result(0));
  std::ofstream(result(0), std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  Times nonsense;
  nonsense.wall[1] = -1;
  finish(1, 5, nonsense);  // another film, but nobody may count on it
  measure(result(2), {{"F1.g_eff", 9.5}});
  put("out/" + manifest.at(3).run + ".measure.h5", "\x89HDF");
  const Collected c = collect(manifest);
  ASSERT_EQ(c.damaged.size(), 3u);
  for (const int64_t i : {0, 1, 3}) expect_contains(c.damaged[static_cast<std::size_t>(std::min<int64_t>(i, 2))], manifest.at(i).run);
  EXPECT_TRUE(c.odd.empty());
  const io::Record r = table();
  for (const io::Dataset& d : r.datasets)
    if (d.path.starts_with("/table/")) {
      EXPECT_EQ(d.shape, Shape{1}) << d.path;
    }
  EXPECT_EQ(first<std::string>(r, "run"), manifest.at(2).run);
  EXPECT_EQ(first<double>(r, "F1_g_eff"), 9.5);
}

TEST_F(Collect, BytesThatHaveChangedAreNoResult) {
  sweep();
  for (int64_t i = 0; i < 3; ++i) finish(i, 1);
  std::string bytes = get(result(1));
  const std::size_t at = bytes.find("complete");
  ASSERT_NE(at, std::string::npos);
  bytes[at + 1] = 'a';  // it can still be read
  std::ofstream(result(1), std::ios::binary) << bytes;
  const Collected c = collect(manifest);
  ASSERT_EQ(c.damaged.size(), 1u);
  expect_contains(c.damaged[0], manifest.at(1).run + ".h5: its bytes have changed");
  EXPECT_EQ(table().values<int64_t>("/table/index"), (std::vector<int64_t>{0, 2}));
}

TEST_F(Collect, TimesOfAllSittingsAreCounted) {
  sweep();
  Times t;
  t.made.joules = {100, 200};
  finish(0, 1, t);
  collect(manifest);
  io::Record r = table();
  EXPECT_DOUBLE_EQ(first<double>(r, "wall"), 36);  // 1 + 30 + 5; the other rank has 35
  EXPECT_DOUBLE_EQ(first<double>(r, "core_hours"), (36 + 35) * 4 / 3600.0);
  EXPECT_DOUBLE_EQ(first<double>(r, "node_hours"), 36 * 2 / 3600.0);
  EXPECT_DOUBLE_EQ(first<double>(r, "energy"), 300);
  t.made.earlier_wall = {100, 50};
  t.made.earlier_joules = {7, 8};
  finish(0, 1, t);
  collect(manifest);
  r = table();
  EXPECT_DOUBLE_EQ(first<double>(r, "wall"), 186);
  EXPECT_DOUBLE_EQ(first<double>(r, "core_hours"), ((36 + 35) * 4 + 150 * 8) / 3600.0);
  EXPECT_DOUBLE_EQ(first<double>(r, "node_hours"), (36 * 2 + 150 * 2) / 3600.0);
  EXPECT_DOUBLE_EQ(first<double>(r, "energy"), 315);
  t.made.earlier_joules[1] = std::nan("");
  finish(0, 1, t);
  collect(manifest);
  EXPECT_EQ(table().find("/table/energy"), nullptr) << "a sum of which a part is unknown is unknown";
}

TEST_F(Collect, StepsOfDenoising) {
  sweep();
  finish(0, 1);
  const Collected c = collect(manifest);
  const io::Record r = table();
  EXPECT_DOUBLE_EQ(first<double>(r, "step_wall"), 10);                       // median of 12, 8, 10
  EXPECT_DOUBLE_EQ(first<double>(r, "step_flop"), 2e9);                      // 6e9 in three steps
  EXPECT_DOUBLE_EQ(first<double>(r, "denoise_comm_share"), (3 + 9) / 2.0 / 30);
  EXPECT_DOUBLE_EQ(first<double>(r, "denoise_peak_share"), 6e9 / 30 / 4e8);
  EXPECT_DOUBLE_EQ(first<double>(r, "imbalance"), 27 / 24.0);                // 27 and 21 s outside communication
  EXPECT_DOUBLE_EQ(first<double>(r, "save_share"), 0.9 / 36);
  EXPECT_EQ(first<double>(r, "mem_peak"), 9e8);
  ASSERT_EQ(c.scaling.size(), 1u);
  EXPECT_DOUBLE_EQ(c.scaling[0].run.imbalance, 27 / 24.0);
}

TEST_F(Collect, BytesAreHeldAgainstTheFormula) {
  sweep();
  const Experiment e = manifest.experiment(manifest.at(0));
  const std::vector<std::uint64_t> formula = denoise_bytes(e, model::Pipeline::synthetic(e.model.config, 0), 2, 3);
  Times t;
  t.sent[1] = static_cast<double>(formula[0]);
  t.sent[4] = static_cast<double>(formula[1]);
  finish(0, 1, t);
  collect(manifest);
  EXPECT_EQ(first<double>(table(), "bytes_off"), 0);
  EXPECT_DOUBLE_EQ(first<double>(table(), "step_bytes"), first<double>(table(), "step_bytes_formula"));
  t.sent[1] -= 12, t.sent[4] += 12;  // the sum would not show it
  finish(0, 1, t);
  EXPECT_EQ(collect(manifest).scaling.at(0).run.off_bytes, 12);
  EXPECT_EQ(first<double>(table(), "bytes_off"), 12);
}

TEST_F(Collect, OfSharedWeightsTheFormulaIsUnknown) {
  put("base.toml", "reel = 1\n[shot]\nprompt = \"a ball\"\nframes = 5\nsize = [64, 32]\n[model]\nconfig = \"wan2.1-t2v-1.3b\"\n[run]\nshard_weights = true\n");
  sweep();
  finish(0, 1);
  EXPECT_TRUE(std::isnan(collect(manifest).scaling.at(0).run.off_bytes));
  EXPECT_NE(collect(manifest).scaling.at(0).run.layout.find(" sharded"), std::string::npos);
}

TEST_F(Collect, WithoutTheModelTheFormulaIsUnknown) {
  put("base.toml", "reel = 1\n[shot]\nprompt = \"a ball\"\nframes = 5\nsize = [64, 32]\n[model]\npath = \"gone\"\n");
  sweep();
  finish(0, 1);
  const Collected c = collect(manifest);
  EXPECT_TRUE(c.damaged.empty());
  EXPECT_TRUE(std::isnan(c.scaling.at(0).run.off_bytes));
  EXPECT_TRUE(std::isnan(first<double>(table(), "bytes_off")));
}

}  // namespace
}  // namespace reel::study
