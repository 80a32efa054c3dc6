// What results and their measurements tell of takes, and the [cost] table. Results are made up: nothing is rendered.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "study/pricing.hpp"
#include "tests/study/made_results.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::expect_contains;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

class Takes : public test::MadeResults {
 protected:
  void expect_refused(const Made& made, const std::string& part) const {
    const fs::path path = make(made);
    const Error e = error_of([&] { read_take(path, {}); });
    EXPECT_EQ(e.exit(), Exit::input) << e.what();
    expect_contains(e.what(), part);
  }
  static PriceTask gated(std::vector<Gate> gates) {
    PriceTask task;
    task.gates = std::move(gates);
    return task;
  }
};

TEST_F(Takes, HoursOfCoresAndNodes) {
  const Take take = read_take(make({}), {});
  EXPECT_EQ(take.run_id, "task3-layout-r0");
  EXPECT_EQ(take.task_id, "task3");
  EXPECT_EQ(take.seed, 3u);
  EXPECT_EQ(take.num_frames, 33);
  EXPECT_EQ(take.fps, 16);
  EXPECT_EQ(take.width_px, 64);
  EXPECT_EQ(take.height_px, 48);
  EXPECT_DOUBLE_EQ(take.core_h, (36 * 4 + 18 * 2) / 3600.0);  // each rank its own seconds and threads
  EXPECT_DOUBLE_EQ(take.node_h, 36 * 2 / 3600.0);             // both nodes are held until the last rank is done
  Made one_node;
  one_node.hosts = {"a", "a"};
  EXPECT_DOUBLE_EQ(read_take(make(one_node), {}).node_h, 36 / 3600.0);
  EXPECT_TRUE(take.passed());
}

TEST_F(Takes, EarlierSittingsWerePaidForAsWell) {
  Made m;
  m.earlier_wall = {100, 50};
  m.earlier_joules = {3.6e6, 1.8e6};
  m.joules = {3.6e6, 3.6e6};
  Take take = read_take(make(m), {});
  EXPECT_DOUBLE_EQ(take.core_h, (36 * 4 + 18 * 2 + 150 * 8) / 3600.0);
  EXPECT_DOUBLE_EQ(take.node_h, (36 * 2 + 150 * 2) / 3600.0);
  EXPECT_DOUBLE_EQ(take.energy_kwh.value(), 3.5);
  m.earlier_joules[1] = nan;
  EXPECT_FALSE(read_take(make(m), {}).energy_kwh) << "a sum of which a part is unknown is unknown";
  for (const double bad : {-1.0, nan, std::numeric_limits<double>::infinity()}) {
    m.earlier_wall[1] = bad;
    expect_refused(m, "makes no sense");
  }
  m.earlier_wall[1] = 50;
  m.without = "/measured/earlier_cores";
  expect_refused(m, "earlier_cores");
}

TEST_F(Takes, EnergyIsMeasuredDeclaredOrNotThere) {
  EXPECT_FALSE(read_take(make({}), {}).energy_kwh);
  PriceTask declared;
  declared.node_w = 500;
  Take take = read_take(make({}), declared);
  EXPECT_DOUBLE_EQ(take.energy_kwh.value(), 0.5 * 0.02);
  EXPECT_EQ(take.energy_method, "declared");
  Made metered;
  metered.joules = {3.6e6, 7.2e6};
  take = read_take(make(metered), declared);
  EXPECT_DOUBLE_EQ(take.energy_kwh.value(), 3);
  EXPECT_EQ(take.energy_method, "perf");
  metered.method = std::int64_t{3};  // no text
  EXPECT_EQ(read_take(make(metered), {}).energy_method, "");
}

TEST_F(Takes, WhatMakesNoSenseIsRefused) {
  const std::string no_sense = "makes no sense";
  for (const double bad : {-1.0, nan, std::numeric_limits<double>::infinity()}) {
    Made m;
    m.wall[2] = bad;
    expect_refused(m, no_sense);
    m = {};
    m.threads[1] = bad;
    expect_refused(m, no_sense);
  }
  Made m;
  m.wall.pop_back();
  expect_refused(m, no_sense);
  m = {};
  m.run_id = "";
  expect_refused(m, no_sense);
  m = {};
  m.resolved = "{\"shot\": ";
  expect_refused(m, "description cannot be read");
  m.resolved = "[]";
  expect_refused(m, "description cannot be read");
  m.resolved = R"({"shot": {"seed": 1, "frames": 33, "fps": 0, "size": [64, 48]}})";
  expect_refused(m, no_sense);
  m.resolved = R"({"shot": {"seed": 1, "frames": "x", "fps": 16, "size": [64, 48]}})";
  expect_refused(m, "description cannot be read");
  m = {};
  m.without = "/measured/threads";
  expect_refused(m, "threads");
  m.without = "/provenance/config_resolved";
  expect_refused(m, "config_resolved");
  EXPECT_EQ(error_of([&] { read_take(dir / "none.h5", {}); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { read_take(put("cut.h5", "\x89HDF"), {}); }).exit(), Exit::input);
}

TEST_F(Takes, GatesPassFailAndRefuse) {
  const fs::path result = make({});
  measure(result, {{"F1.g_eff", 9}, {"F1.g_eff", 11}, {"F1.g_eff", nan}, {"B1.shift", 0.5}, {"B4.boil", nan}});
  const auto failed = [&](const PriceTask& task) { return read_take(result, task).failed; };
  EXPECT_TRUE(failed(gated({{"F1.g_eff", 9.5, 10.5}, {"B1.shift"}})).empty()) << "the mean over objects counts";
  EXPECT_TRUE(failed(gated({{"F1.g_eff", 10, 10}})).empty()) << "ends belong to the range";
  EXPECT_EQ(failed(gated({{"F1.g_eff", 10.001, 20}})), (std::vector<std::string>{"F1.g_eff = 10"}));
  Gate below{"B1.shift"};
  below.max = 0.4;
  EXPECT_EQ(failed(gated({below, {"F1.g_eff", 0, 1}})), (std::vector<std::string>{"B1.shift = 0.5", "F1.g_eff = 10"}));
  PriceTask refused = gated({{"B4.boil", 0, 1}});
  EXPECT_EQ(failed(refused), (std::vector<std::string>{"B4.boil was refused"}));
  refused.refused_passes = true;
  EXPECT_TRUE(failed(refused).empty());
  const Error e = error_of([&] { failed(gated({{"F1.g_ef", 0, 1}})); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.what(), "no metric 'F1.g_ef'");
  expect_contains(e.hint(), "did you mean 'F1.g_eff'?");
  expect_contains(e.where(), ".measure.h5");
}

TEST_F(Takes, GatesNeedAMeasurementOfRealPictures) {
  const fs::path result = make({});
  Error e = error_of([&] { read_take(result, gated({{"F1.g_eff", 0, 1}})); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.hint(), "reel measure " + result.string());
  Made synthetic;
  synthetic.weights = "synthetic";
  const fs::path noise = make(synthetic);
  measure(noise, {{"F1.g_eff", 1}});
  e = error_of([&] { read_take(noise, gated({{"F1.g_eff", 0, 2}})); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.what(), "synthetic");
  EXPECT_EQ(read_take(noise, {}).weights, "synthetic") << "what they cost can be told";
}

TEST_F(Takes, AreThoseOfTheExperimentButForTheSeed) {
  const Experiment e = experiment();  // seed 3
  EXPECT_TRUE(is_take_of(make({}), e, 1));
  Made later;
  later.seed = 4;
  EXPECT_FALSE(is_take_of(make(later), e, 1));
  EXPECT_TRUE(is_take_of(make(later), e, 2));
  later.seed = 2;
  EXPECT_FALSE(is_take_of(make(later), e, 100));
  Made other;
  other.overrides = {"sampler.steps=7"};
  EXPECT_FALSE(is_take_of(make(other), e, 1));
  other.overrides = {"shot.prompt=another"};
  EXPECT_FALSE(is_take_of(make(other), e, 1));
  other.overrides = {"run.threads=2", "output.video=none"};  // of the same film
  EXPECT_TRUE(is_take_of(make(other), e, 1));
  Made stopped;
  stopped.status = "stopped";
  EXPECT_FALSE(is_take_of(make(stopped), e, 1));
  Made foreign;
  foreign.without = "/provenance/config_resolved";
  EXPECT_FALSE(is_take_of(make(foreign), e, 1));
  foreign = {};
  foreign.resolved = "{\"shot\": {}}";
  const Error error = error_of([&] { is_take_of(make(foreign), e, 1); });
  EXPECT_EQ(error.exit(), Exit::input);
  expect_contains(error.what(), "description cannot be read");
}

TEST_F(Takes, TellTheirExperiment) {
  Made made;
  made.cost = "[cost]\nshot = \"establishing_house\"\ntakes = 5\n";
  const Experiment e = experiment_of(make(made));
  EXPECT_EQ(e.shot.seed, 3u) << "overrides count";
  EXPECT_EQ(price_task(e).num_takes, 5);
  EXPECT_EQ(e.model.path, dir / "model") << "paths start where the experiment stood";
  made.without = "/provenance/config_text";
  Error error = error_of([&] { experiment_of(make(made)); });
  EXPECT_EQ(error.exit(), Exit::input);
  expect_contains(error.what(), "does not tell its experiment");
  for (const char* json : {"{", "[]", "3"}) {
    made = {};
    made.resolved = json;
    error = error_of([&] { experiment_of(make(made)); });
    EXPECT_EQ(error.exit(), Exit::input) << json;
  }
}

// ---- acceptance

std::vector<Take> takes(std::int64_t passed, std::int64_t failed) {
  std::vector<Take> all;
  for (std::int64_t i = 0; i < passed + failed; ++i) {
    Take take;
    take.seed = static_cast<std::uint64_t>(i + 1);
    if (i >= passed) take.failed = {"F1.g_eff = 3"};
    all.push_back(take);
  }
  return all;
}

TEST_F(Takes, AcceptanceByGates) {
  PriceTask task = gated({{"F1.g_eff", 9, 10}});
  std::vector<Take> some = takes(3, 1);
  Acceptance a = acceptance_of(some, task);
  EXPECT_EQ(a.num_takes, 4);
  EXPECT_EQ(a.num_passed, 3);
  EXPECT_EQ(a.method, "gates");
  EXPECT_EQ(a.screening_method, "assumed perfect");
  EXPECT_NEAR(a.beta.mean(), 3.5 / 5, 1e-4);
  std::vector<Take> many = takes(500, 500);
  task.miss = 0.2;
  task.false_reject = 0.1;
  a = acceptance_of(many, task);
  EXPECT_EQ(a.screening_method, "given");
  EXPECT_NEAR(a.beta.mean(), 0.9 * (0.5 - 0.2) / 0.7, 1e-3) << "a take must pass and be usable";
  std::vector<Take> none;
  EXPECT_EQ(acceptance_of(none, task).method, "") << "nothing was rendered: priors";
  EXPECT_EQ(acceptance_of(some, {}).method, "") << "nothing says what is usable";
}

TEST_F(Takes, AcceptanceByLabels) {
  PriceTask task;
  task.labels = put("labels.csv", "seed,usable\r\n1,1\r\n\r\n2,0\n3,1\n99,1\n");
  std::vector<Take> some = takes(4, 0);
  const Acceptance a = acceptance_of(some, task);
  EXPECT_EQ(a.method, "labels");
  EXPECT_EQ(a.num_labelled, 3);
  EXPECT_EQ(a.num_usable, 2);
  EXPECT_EQ(a.beta.a, 2.5);
  EXPECT_EQ(a.beta.b, 1.5);
  EXPECT_EQ(some[0].label, true);
  EXPECT_EQ(some[1].label, false);
  EXPECT_FALSE(some[3].label);
}

TEST_F(Takes, LabelsTellHowOftenGatesErr) {
  PriceTask task = gated({{"F1.g_eff", 9, 10}});
  // Seeds 1 ... 6 pass, 7 ... 10 do not; of the passing 1 is bad, of the rejected 2 are good.
  task.labels = put("labels.csv", "1,1\n2,1\n3,1\n4,1\n5,1\n6,0\n7,1\n8,1\n9,0\n10,0\n");
  std::vector<Take> all = takes(6, 4);
  Acceptance a = acceptance_of(all, task);
  EXPECT_EQ(a.method, "labels");
  EXPECT_EQ(a.screening_method, "labels");
  EXPECT_DOUBLE_EQ(a.screening.miss, (1 + 0.5) / (3 + 1));
  EXPECT_DOUBLE_EQ(a.screening.false_reject, (2 + 0.5) / (7 + 1));
  EXPECT_EQ(a.beta.a, 7.5);
  EXPECT_EQ(a.beta.b, 3.5);
  task.miss = 0.3;
  a = acceptance_of(all, task);
  EXPECT_EQ(a.screening_method, "given");
  EXPECT_EQ(a.screening.miss, 0.3);
  EXPECT_EQ(a.screening.false_reject, 0);
}

TEST_F(Takes, BadLabels) {
  std::vector<Take> some = takes(2, 0);
  const auto error = [&](const std::string& text) {
    PriceTask task;
    task.labels = put("labels.csv", text);
    return error_of([&] { acceptance_of(some, task); });
  };
  for (const char* bad : {"1;1\n", "1\n", "1,yes\n", "1,2\n", "1,1,\n", ",1\n", "-1,1\n", "1.0,1\n", " 1,1\n", "seed\n", "99999999999999999999,1\n", "\xff\xfe,1\n"}) {
    const Error e = error(std::string("seed,usable\n") + bad);
    EXPECT_EQ(e.exit(), Exit::input);
    expect_contains(e.what(), "not a label");
    expect_contains(e.where(), "labels.csv:2");
  }
  expect_contains(error("1,1\nseed,usable\n").where(), "labels.csv:2");  // a header stands first
  const Error twice = error("1,1\n2,0\n1,0\n");
  expect_contains(twice.what(), "twice");
  expect_contains(twice.where(), "labels.csv:3");
  const Error none = error("seed,usable\n17,1\n");
  EXPECT_EQ(none.exit(), Exit::input);
  expect_contains(none.what(), "no label belongs to any of these takes");
  PriceTask missing;
  missing.labels = dir / "none.csv";
  expect_contains(error_of([&] { acceptance_of(some, missing); }).where(), "none.csv");
}

// ---- the [cost] table

TEST_F(Takes, EveryKeyOfTheTask) {
  const PriceTask t = price_task(experiment(R"([cost]
shot = "establishing_house"
cards = ["../mine", "/yours.toml"]
takes = 24
gates = { "B1.shift" = { max = 0.5 }, "F1.g_eff" = { min = 8.8, max = 10 } }
refused = "pass"
miss = 0.05
false_reject = 0.1
labels = "labels.csv"
region = "PT"
currency = "EUR"
year = 2025
date = "2026-01-01"
without = ["stock", "vfx"]
sequence = { shots = 4, continuity = 0.6 }
claim = 100
node_w = 400
draws = 4096
seed = 7
)"));
  EXPECT_EQ(t.shot, "establishing_house");
  EXPECT_EQ(t.base, dir);
  EXPECT_EQ(t.cards, (std::vector<fs::path>{dir.parent_path() / "mine", "/yours.toml"}));
  EXPECT_EQ(t.num_takes, 24);
  ASSERT_EQ(t.gates.size(), 2u);
  EXPECT_EQ(t.gates[0].metric, "B1.shift");
  EXPECT_EQ(t.gates[0].min, -std::numeric_limits<double>::infinity());
  EXPECT_EQ(t.gates[0].max, 0.5);
  EXPECT_EQ(t.gates[1].min, 8.8);
  EXPECT_TRUE(t.refused_passes);
  EXPECT_EQ(t.miss, 0.05);
  EXPECT_EQ(t.false_reject, 0.1);
  EXPECT_EQ(t.labels, dir / "labels.csv");
  EXPECT_EQ(t.options.region, "PT");
  EXPECT_EQ(t.options.currency, "EUR");
  EXPECT_EQ(t.options.year, 2025);
  EXPECT_EQ(t.options.date, "2026-01-01");
  EXPECT_EQ(t.options.without, (std::vector<std::string>{"stock", "vfx"}));
  EXPECT_EQ(t.sequence_shots, 4);
  EXPECT_EQ(t.continuity, 0.6);
  EXPECT_EQ(t.claim, 100);
  EXPECT_EQ(t.node_w, 400);
  EXPECT_EQ(t.num_draws, 4096);
  EXPECT_EQ(t.seed, 7u);
  const PriceTask none = price_task(experiment());
  EXPECT_EQ(none.shot, "");
  EXPECT_EQ(none.num_takes, 1);
  EXPECT_EQ(none.num_draws, 200'000);
  EXPECT_FALSE(none.miss || none.claim);
}

TEST_F(Takes, EveryWrongKeyOfTheTask) {
  const auto expect_wrong = [&](const std::string& line, const std::string& key, const std::string& part) {
    const Error e = error_of([&] { price_task(experiment("[cost]\nshot = \"s\"\n" + line + "\n")); });
    EXPECT_EQ(e.exit(), Exit::usage) << line;
    expect_contains(e.where(), "e.toml: cost." + key);
    expect_contains(std::string(e.what()) + e.hint(), part);
  };
  const std::string range = "unknown, of the wrong type or out of range";
  expect_wrong("tkaes = 3", "tkaes", "did you mean 'takes'?");
  expect_wrong("zzz = 3", "zzz", "keys of [cost]: cards, claim");
  for (const char* line : {"takes = 0", "takes = 100001", "takes = 1.5", "takes = \"3\"", "cards = \"x\"", "cards = [1]", "gates = 3", "refused = \"maybe\"", "refused = true",
                           "miss = 1", "miss = -0.1", "miss = nan", "miss = true", "false_reject = \"x\"", "labels = 3", "region = 3", "currency = 3", "date = 3", "year = 1989",
                           "year = 2101", "year = 2025.5", "without = \"stock\"", "without = [1]", "claim = 0", "claim = -1", "claim = nan", "claim = inf", "sequence = 4",
                           "node_w = 0", "node_w = 1e6", "node_w = \"x\"", "draws = 1023", "draws = 10000001", "draws = 1e5", "seed = -1", "seed = 0.5"}) {
    const std::string key = std::string(line).substr(0, std::string(line).find(' '));
    expect_wrong(line, key, range);
  }
  expect_wrong("gates = { a = {} }", "gates", "gate 'a' needs min, max or both");
  expect_wrong("gates = { a = 3 }", "gates", "gate 'a' needs min, max or both");
  expect_wrong("gates = { a = { mni = 3 } }", "gates", "knows min and max");
  expect_wrong("gates = { a = { min = \"3\" } }", "gates", "both numbers");
  expect_wrong("gates = { a = { min = nan } }", "gates", "both numbers");
  expect_wrong("gates = { a = { min = 2, max = 1 } }", "gates", "lets nothing through");
  expect_wrong("miss = 0.5\nfalse_reject = 0.5", "miss", "must be below 1");
  for (const char* line : {"{ shots = 0 }", "{ shots = 10001 }", "{ shots = 2, continuity = 1.1 }", "{ shots = 2, continuity = -0.1 }", "{ shots = 2, cont = 1 }"})
    expect_wrong(std::string("sequence = ") + line, "sequence", "a sequence is { shots = 4, continuity = 0.6 }");
  expect_wrong("sequence = { continuity = 0.5 }", "sequence", "needs its number of shots");
  const Error e = error_of([&] { price_task(experiment("[cost]\ntakes = 3\n")); });
  EXPECT_EQ(e.exit(), Exit::usage);
  expect_contains(e.what(), "which shot is priced?");
}

TEST(Datasets, MayStandElsewhere) {
  const std::string own = datasets().string();
  setenv("REEL_DATASETS", "/elsewhere", 1);
  EXPECT_EQ(datasets(), "/elsewhere");
  unsetenv("REEL_DATASETS");
  EXPECT_EQ(datasets(), own);
}

}  // namespace
}  // namespace reel::study
