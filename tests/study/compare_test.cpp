// Two results, or folders of them: digests first, then pictures and metrics with intervals. Results are made up.
#include "study/compare.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "tests/study/made_results.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::expect_contains;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Number {
  std::string id;
  double value, sigma;
};

class Compare : public test::MadeResults {
 protected:
  void SetUp() override {
    MadeResults::SetUp();
    for (const char* side : {"a", "b"}) fs::create_directories(dir / side);
  }
  /// A result that holds a picture, at `name`.
  fs::path film(const std::string& name, const Made& made, std::vector<float> latents = {3, 4}, std::vector<std::uint8_t> pixels = {10, 10, 10, 10, 10, 10}) const {
    const fs::path raw = make(made);
    io::Record r = io::read_record(raw);
    std::erase_if(r.datasets, [](const io::Dataset& d) { return d.path.starts_with("/result/"); });
    const auto add = [&](const char* what, auto values, const char* dim) {
      const auto n = static_cast<std::int64_t>(values.size());
      if (n > 0) r.datasets.push_back({std::string("/result/") + what, "1", what, {n}, {dim}, std::move(values), {}});
    };
    add("latent", std::move(latents), "i");
    add("pixels", std::move(pixels), "j");
    fs::remove(raw);
    io::write_record(dir / name, r);
    return dir / name;
  }
  void measured(const fs::path& result, const std::vector<Number>& numbers) const {
    std::vector<std::string> ids;
    std::vector<double> values, sigmas;
    for (const Number& n : numbers) ids.push_back(n.id), values.push_back(n.value), sigmas.push_back(n.sigma);
    const auto n = static_cast<std::int64_t>(ids.size());
    io::Record r;
    r.datasets.push_back({"/result/metric_id", "", "id", {n}, {"metric"}, ids, {}});
    r.datasets.push_back({"/result/metric_value", "1", "value", {n}, {"metric"}, values, {}});
    r.datasets.push_back({"/result/metric_sigma", "1", "sigma", {n}, {"metric"}, sigmas, {}});
    io::write_record(fs::path(result).replace_extension(".measure.h5"), r);
  }
  static Made seed(std::uint64_t seed, std::vector<std::string> overrides = {}, const std::string& task = "-") {
    Made m;
    m.seed = seed;
    m.overrides = std::move(overrides);
    m.task_id = task;
    return m;
  }
};

TEST_F(Compare, EqualBitsAreSaidFirst) {
  const fs::path a = film("a/x.h5", seed(3)), b = film("b/x.h5", seed(3));
  measured(a, {{"F1.g_eff", 9, 0.1}});
  measured(b, {{"F1.g_eff", 9, 0.1}});
  const Comparison c = compare(a, b);
  ASSERT_EQ(c.pairs.size(), 1u);
  EXPECT_TRUE(c.all_same() && c.pairs[0].same_digest && c.pairs[0].same_task);
  EXPECT_EQ(c.pairs[0].latent_deviation, 0);
  EXPECT_EQ(c.pairs[0].largest, 0);
  EXPECT_TRUE(std::isinf(c.pairs[0].psnr_db));
  const std::string text = comparison_text(c);
  EXPECT_TRUE(text.starts_with("same bits ")) << text;
  EXPECT_GT(text.find("F1.g_eff"), text.find("same bits"));
  EXPECT_EQ(nlohmann::json::parse(comparison_json(c)).begin().key(), "alone") << "sorted here; the text is not";
  EXPECT_TRUE(comparison_json(c).starts_with("{\n  \"same\": true,"));
}

TEST_F(Compare, DifferentBitsOfOneTaskStandOut) {
  const fs::path a = film("a/x.h5", seed(3)), b = film("b/x.h5", seed(3), {3, 5}, {10, 13, 10, 10, 9, 10});
  const Comparison c = compare(a, b);
  EXPECT_FALSE(c.all_same());
  const ComparedPair& p = c.pairs.at(0);
  EXPECT_TRUE(p.same_task && !p.same_digest);
  EXPECT_DOUBLE_EQ(p.latent_deviation, 1.0 / 5);  // |(0, 1)| over |(3, 4)|
  EXPECT_DOUBLE_EQ(p.psnr_db, 10 * std::log10(255.0 * 255.0 / ((9 + 1) / 6.0)));
  EXPECT_EQ(p.largest, 3);
  EXPECT_TRUE(comparison_text(c).starts_with("DIFFERENT BITS")) << comparison_text(c);
  expect_contains(comparison_text(c), "0.2 relative");
}

TEST_F(Compare, AnotherFilmOfTheShotIsNoFault) {
  const Comparison c = compare(film("a/x.h5", seed(3, {}, "five")), film("b/x.h5", seed(3, {"sampler.steps=9"}, "nine"), {3, 5}));
  EXPECT_FALSE(c.pairs.at(0).same_task);
  EXPECT_TRUE(comparison_text(c).starts_with("another film")) << comparison_text(c);
  // A picture that one of them does not have, or has in another size, is not compared.
  const Comparison less = compare(film("a/y.h5", seed(3), {3, 4, 5}, {}), film("b/y.h5", seed(3)));
  EXPECT_TRUE(std::isnan(less.pairs.at(0).latent_deviation) && std::isnan(less.pairs.at(0).psnr_db) && std::isnan(less.pairs.at(0).largest));
  EXPECT_TRUE(nlohmann::json::parse(comparison_json(less))["pairs"][0]["psnr_db"].is_null());
}

TEST_F(Compare, FoldersPairByShot) {
  film("a/1.h5", seed(3));
  film("a/2.h5", seed(4));
  film("a/3.h5", seed(3), {9, 9});  // another layout of the first: the first by name counts
  film("b/7.h5", seed(4));
  film("b/8.h5", seed(5));
  film("b/9.h5", seed(3));
  film("b/sweep.h5", seed(6));
  const Comparison c = compare(dir / "a", dir / "b");
  ASSERT_EQ(c.pairs.size(), 2u);
  EXPECT_TRUE(c.pairs[0].same_digest && c.pairs[1].same_digest);
  EXPECT_EQ(c.num_alone, 1);
  EXPECT_FALSE(c.all_same()) << "something has no partner";
  expect_contains(comparison_text(c), "1 result(s) without a partner");
  fs::remove(dir / "b/8.h5");
  EXPECT_TRUE(compare(dir / "a", dir / "b").all_same());
}

TEST_F(Compare, OnePairHasTheIntervalOfItsSigmas) {
  const fs::path a = film("a/x.h5", seed(3)), b = film("b/x.h5", seed(3), {3, 5});
  measured(a, {{"both", 9, 0.3}, {"near", 1, 0.3}, {"unknown", 1, nan}, {"refused", nan, 0.1}, {"a_only", 1, 1}, {"two", 1, 0.1}, {"two", 3, 0.1}});
  measured(b, {{"both", 10, 0.4}, {"near", 1.5, 0.4}, {"unknown", 2, 0.1}, {"refused", 1, 0.1}, {"b_only", 1, 1}, {"two", 5, 0.1}});
  const Comparison c = compare(a, b);
  ASSERT_EQ(c.metrics.size(), 4u);
  const ComparedMetric &both = c.metrics[0], &near = c.metrics[1], &two = c.metrics[2], &unknown = c.metrics[3];
  EXPECT_EQ(both.id + near.id + two.id + unknown.id, "bothneartwounknown");
  EXPECT_DOUBLE_EQ(both.difference, 1);
  EXPECT_DOUBLE_EQ(both.interval[0], 1 - 1.96 * 0.5);  // sqrt(0.3^2 + 0.4^2)
  EXPECT_DOUBLE_EQ(both.interval[1], 1 + 1.96 * 0.5);
  EXPECT_TRUE(both.differs());
  EXPECT_FALSE(near.differs()) << "0.5 +- 0.98";
  EXPECT_DOUBLE_EQ(two.difference, 3) << "the mean over objects";
  EXPECT_TRUE(std::isnan(two.interval[0]) && !two.differs()) << "several objects have no single sigma";
  EXPECT_TRUE(std::isnan(unknown.interval[0]) && !unknown.differs());
  expect_contains(comparison_text(c), "unknown");
  const nlohmann::json j = nlohmann::json::parse(comparison_json(c))["metrics"];
  EXPECT_EQ(j[0]["differs"], true);
  EXPECT_TRUE(j[3]["low"].is_null());
}

TEST_F(Compare, SeveralPairsAreDrawnAgain) {
  const double shift[]{0.5, 0.6, 0.4, 0.5, 0.55, 0.45}, noise[]{1, -1, 1, -1, 1, -1};
  for (std::uint64_t s = 0; s < 6; ++s) {
    const std::string name = std::to_string(s) + ".h5";
    const fs::path a = film("a/" + name, seed(s)), b = film("b/" + name, seed(s));
    measured(a, {{"constant", 1, nan}, {"noise", 10, 0.001}, {"shift", static_cast<double>(s), 100}});
    measured(b, {{"constant", 3, nan}, {"noise", 10 + noise[s], 0.001}, {"shift", static_cast<double>(s) + shift[s], 100}});
  }
  const Comparison c = compare(dir / "a", dir / "b");
  ASSERT_EQ(c.metrics.size(), 3u);
  const ComparedMetric &constant = c.metrics[0], &noisy = c.metrics[1], &shifted = c.metrics[2];
  EXPECT_EQ(constant.num_pairs, 6);
  EXPECT_EQ(constant.interval, (std::array{2.0, 2.0})) << "whatever is drawn";
  EXPECT_TRUE(constant.differs());
  EXPECT_DOUBLE_EQ(noisy.difference, 0);
  EXPECT_FALSE(noisy.differs()) << "pairs disagree, however small their sigmas";
  EXPECT_LT(noisy.interval[0], -0.3);
  EXPECT_GT(noisy.interval[1], 0.3);
  EXPECT_NEAR(shifted.difference, 0.5, 1e-12);
  EXPECT_TRUE(shifted.differs()) << "pairs agree, however large what separates the films";
  EXPECT_GE(shifted.interval[0], 0.4);
  EXPECT_LE(shifted.interval[1], 0.6);
  EXPECT_EQ(comparison_json(c), comparison_json(compare(dir / "a", dir / "b"))) << "the same draws each time";
  expect_contains(comparison_text(c), "*");
}

TEST_F(Compare, WhatCannotBeComparedIsSaid) {
  const fs::path a = film("a/x.h5", seed(3));
  Error e = error_of([&] { compare(dir / "a", dir / "b"); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.what(), "holds no results");
  film("b/x.h5", seed(4));
  e = error_of([&] { compare(dir / "a", dir / "b"); });
  expect_contains(e.what(), "no two results show the same shot");
  EXPECT_EQ(error_of([&] { compare(a, put("cut.h5", "\x89HDF")); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { compare(a, dir / "none.h5"); }).exit(), Exit::input);
  Made foreign;
  foreign.resolved = "[]";
  expect_contains(error_of([&] { compare(a, film("f.h5", foreign)); }).what(), "does not tell its shot");
  expect_contains(comparison_text(compare(a, a)), "measure both sides first");
}

}  // namespace
}  // namespace reel::study
