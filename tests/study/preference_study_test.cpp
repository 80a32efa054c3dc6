// Preference of the reference model on two pairs, the bookkeeping on rows made by hand, and refusals.
#include "study/preference_study.hpp"

#include <gtest/gtest.h>

#include "core/error.hpp"
#include "core/parallel.hpp"

namespace reel::study {
namespace {

struct Preferences : testing::Test {
  model::Pipeline pipeline = model::Pipeline::open(REEL_SOURCE_DIR "/datasets/models/backlot-1");
  model::Observer silent;
  model::Renderer renderer{pipeline, model::Team{}, silent};
  PreferencePlan plan = [] {
    PreferencePlan p;
    p.scenes = {"parabola"};
    p.breaks = {{"vanish", 4}};
    p.num_clips = 2;
    p.num_noises = 1;
    p.sigmas = {0.3, 0.6};
    p.given_latents = {2};
    p.spec.num_frames = 25;  // short, for the sanitizers' sake
    return p;
  }();
};

TEST_F(Preferences, ABallThatVanishesIsUnlikelyForModelAndTrackers) {
  const PreferenceStudy one = study_preference(pipeline, renderer, plan);
  ASSERT_EQ(one.rows.size(), 2u);
  ASSERT_EQ(one.cells.size(), 2u);  // this break, and all pairs
  for (const PreferenceRow& row : one.rows) {
    EXPECT_GE(row.event_frame, 5);
    ASSERT_EQ(row.valid_by_sigma.size(), 2u);
    EXPECT_DOUBLE_EQ(row.valid, (row.valid_by_sigma[0] + row.valid_by_sigma[1]) / 2);
    EXPECT_GT(row.valid, 0);
    EXPECT_LT(row.valid, 1);  // a model that says nothing has 1 and more
    EXPECT_GT(row.invalid, row.valid);
    EXPECT_EQ(row.tracked_valid.lost, 0);
    EXPECT_GT(row.tracked_invalid.lost, 0.1);
    EXPECT_EQ(row.tracked, 1);
  }
  EXPECT_EQ(one.cells[0].model.error, 0);
  EXPECT_EQ(one.cells[0].agreement, 1);
  set_num_threads(2);
  const PreferenceStudy two = study_preference(pipeline, renderer, plan);
  set_num_threads(1);
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(one.rows[i].valid_by_sigma, two.rows[i].valid_by_sigma);
    EXPECT_EQ(one.rows[i].invalid_by_sigma, two.rows[i].invalid_by_sigma);
    EXPECT_EQ(one.rows[i].tracked_invalid.velocity_m_per_s, two.rows[i].tracked_invalid.velocity_m_per_s);
  }
}

TEST_F(Preferences, NothingBrokenIsATie) {
  plan.breaks = {{"freeze", 0}};
  plan.num_clips = 1;
  plan.sigmas = {0.5};
  const PreferenceStudy study = study_preference(pipeline, renderer, plan);
  EXPECT_EQ(study.rows.at(0).valid, study.rows.at(0).invalid);
  EXPECT_EQ(study.rows.at(0).tracked, 0);
  EXPECT_EQ(study.cells.at(0).model.num_ties, 1);
}

// A ball that jumps right after the kept frames and rolls on as before is wrong in one step only.
TEST_F(Preferences, TrackersSeeAJumpAtTheFirstFreeFrame) {
  plan.scenes = {"uniform"};
  plan.breaks = {{"skip", 4}};
  plan.first_clip = 1'000'000'021;
  plan.num_clips = 1;
  plan.sigmas = {0.5};
  const PreferenceStudy study = study_preference(pipeline, renderer, plan);
  EXPECT_EQ(study.rows.at(0).event_frame, 5);
  EXPECT_LT(study.rows.at(0).tracked_valid.velocity_m_per_s, 0.05);
  EXPECT_GT(study.rows.at(0).tracked_invalid.velocity_m_per_s, 0.1);  // four steps more, over at most 27
  EXPECT_EQ(study.rows.at(0).tracked, 1);
}

TEST_F(Preferences, RefusesPlansThatCannotBe) {
  const auto refused = [&](auto spoil) {
    PreferencePlan bad = plan;
    spoil(bad);
    try {
      study_preference(pipeline, renderer, bad);
      return false;
    } catch (const Error& e) {
      return e.exit() == Exit::usage;
    }
  };
  EXPECT_TRUE(refused([](auto& p) { p.scenes.clear(); }));
  EXPECT_TRUE(refused([](auto& p) { p.sigmas.clear(); }));
  EXPECT_TRUE(refused([](auto& p) { p.num_clips = 0; }));
  EXPECT_TRUE(refused([](auto& p) { p.breaks = {{"pass", 1}}; }));
  EXPECT_TRUE(refused([](auto& p) { p.scenes = {"house"}; }));
  EXPECT_TRUE(refused([](auto& p) { p.given_latents = {9}; }));
  EXPECT_TRUE(refused([](auto& p) { p.spec.num_frames = 37; }));
  EXPECT_TRUE(refused([](auto& p) { p.spec.num_frames = 32; }));
  EXPECT_TRUE(refused([](auto& p) { p.spec.num_frames = 9; }));  // no room for any break
}

TEST(PreferenceCells, CountPairsOfEachBreakAndOfAll) {
  const auto row = [](const char* scene, double amount, std::int64_t given, double valid, double invalid, int tracked) {
    PreferenceRow r;
    r.scene = scene;
    r.breaking = {"freeze", amount};
    r.given_latents = given;
    r.valid_by_sigma = {valid, 1};
    r.invalid_by_sigma = {invalid, 1};
    r.valid = (valid + 1) / 2;
    r.invalid = (invalid + 1) / 2;
    r.tracked = tracked;
    return r;
  };
  const auto cells = preference_cells({row("a", 1, 0, 1, 2, 1), row("a", 1, 0, 2, 1, 1), row("a", 2, 0, 1, 1, 0),
                                       row("b", 2, 0, 3, 1, -1), row("b", 2, 2, 1, 3, 1)});
  ASSERT_EQ(cells.size(), 6u);
  EXPECT_EQ(cells[0].model.error, 0.5);
  EXPECT_EQ(cells[0].tracker.error, 0);
  EXPECT_EQ(cells[0].agreement, 0.5);
  EXPECT_DOUBLE_EQ(cells[0].gap, (0.5 - 1.0 / 3) / 2);
  EXPECT_EQ(cells[0].by_sigma.at(0).num_wrong, 1);
  EXPECT_EQ(cells[0].by_sigma.at(1).num_ties, 2);
  EXPECT_EQ(cells[1].model.num_ties, 1);
  EXPECT_EQ(cells[1].agreement, 1);
  EXPECT_EQ(cells[2].scene, "b");
  EXPECT_EQ(cells[2].agreement, 1);
  EXPECT_EQ(cells[3].scene, "");
  EXPECT_EQ(cells[3].model.num_pairs, 4);
  EXPECT_EQ(cells[3].model.error, (2 + 0.5) / 4);
  EXPECT_EQ(cells[4].given_latents, 2);
  EXPECT_EQ(cells[5].model.num_pairs, 1);
  EXPECT_TRUE(preference_cells({}).empty());
}

}  // namespace
}  // namespace reel::study
