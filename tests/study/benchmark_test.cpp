// Benchmarks: what the file may say, how films become numbers, and that the numbers do not depend on threads.
#include "study/benchmark.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/parallel.hpp"
#include "io/results.hpp"
#include "study/diagnostic.hpp"

namespace reel::study {
namespace {

const std::string model = std::string(REEL_SOURCE_DIR) + "/datasets/models/backlot-1";

std::string file_text(const std::string& benchmark) {
  return "reel = 1\n[benchmark]\n" + benchmark + "\n[shot]\nframes = 9\nfps = 16\nsize = [64, 64]\n[sampler]\nsteps = 2\nguidance = 1.0\n";
}

std::vector<Diagnostic> findings(const std::string& benchmark) {
  try {
    parse_benchmark(file_text(benchmark), "/lab/b.toml");
  } catch (const DiagnosticError& error) {
    return error.diagnostics();
  }
  return {};
}

TEST(Benchmark, ReadsItsFile) {
  const Benchmark b = parse_benchmark(file_text("models = [\"a\", \"../b\"]\nscenes = [\"fall\"]\nclips = 3"), "/lab/x/b.toml", {"benchmark.seeds=2"});
  ASSERT_EQ(b.models.size(), 2u);
  EXPECT_EQ(b.models[1], "/lab/b");
  EXPECT_EQ(b.scenes, std::vector<std::string>{"fall"});
  EXPECT_EQ(b.bands, (std::vector<std::string>{"in", "ood"}));
  EXPECT_EQ(b.num_clips, 3);
  EXPECT_EQ(b.num_seeds, 2);
  EXPECT_EQ(b.first_clip, 1'000'000'000u);
  EXPECT_TRUE(is_benchmark(b.text));
  EXPECT_FALSE(is_benchmark("reel = 1\n[shot]\nprompt = \"[benchmark]\"\n"));
  EXPECT_FALSE(is_benchmark("[benchmark"));  // whoever reads it next says why
}

TEST(Benchmark, SaysWhatIsWrong) {
  EXPECT_EQ(findings("models = [\"a\"]").size(), 0u);
  EXPECT_EQ(findings("clips = 3").size(), 1u);  // no models
  const auto scene = findings("models = [\"a\"]\nscenes = [\"fal\"]");
  ASSERT_EQ(scene.size(), 1u);
  EXPECT_NE(scene[0].note.find("did you mean 'fall'?"), std::string::npos) << scene[0].note;
  EXPECT_EQ(findings("models = [\"a\"]\nscenes = [\"fall\", \"fall\"]").size(), 1u);
  EXPECT_EQ(findings("models = [\"a\"]\nscenes = []").size(), 1u);
  EXPECT_EQ(findings("models = [\"a\"]\nscenes = [1]").size(), 1u);
  EXPECT_EQ(findings("models = [\"a\"]\nclips = 0\nseeds = 0").size(), 2u);
  EXPECT_EQ(findings("models = [\"a\"]\ngiven_latents = 3").size(), 1u);  // all of nine frames
  EXPECT_EQ(findings("models = [\"a\"]\nclip = 3").size(), 1u);
  EXPECT_EQ(findings("models = [\"a\"]\n[run]\nshard_weights = true").size(), 1u);
}

/// Two models on two clips; only the velocity of "uniform" has values.
BenchmarkResults made(const std::vector<std::array<double, 4>>& rows) {  // source, clip, seed, value
  BenchmarkResults r;
  r.sources = {"truth", "copy", "law", "a vae", "a", "b vae", "b"};
  r.num_models = 2;
  r.scenes = {"uniform"};
  r.bands = {"in"};
  for (const auto& [source, clip, seed, value] : rows) {
    BenchmarkFilm f{static_cast<std::size_t>(source), 0, 0, static_cast<std::uint64_t>(clip), static_cast<std::uint64_t>(seed), "", {}};
    f.value.assign(kept_metrics().size(), metrics::nan);
    f.value[0] = value;
    r.films.push_back(f);
  }
  return r;
}

TEST(Benchmark, ClipsCountOnceHoweverManyFilmsTheyHave) {
  BenchmarkResults r = made({{4, 0, 0, 1}, {4, 0, 1, 3}, {4, 0, 2, 5}, {4, 1, 0, 9}, {4, 1, 1, metrics::nan},  // a: means 3 and 9
                             {6, 0, 0, 1}, {6, 1, 0, 1}, {6, 2, 0, 50}});                                       // b: 1, 1, 50
  r.cells = benchmark_cells(r);
  const BenchmarkCell* a = r.find(4, 0, 0, "PW.velocity");
  ASSERT_NE(a, nullptr);
  EXPECT_DOUBLE_EQ(a->mean, 6);  // not (1 + 3 + 5 + 9) / 4
  EXPECT_EQ(a->num_clips, 2);
  EXPECT_EQ(a->num_films, 4);
  EXPECT_EQ(a->num_refused, 1);
  EXPECT_DOUBLE_EQ(a->interval[0], 3);  // of two clips a resample has the mean 3, 6 or 9
  EXPECT_DOUBLE_EQ(a->interval[1], 9);
  EXPECT_TRUE(std::isnan(a->difference));
  const BenchmarkCell* b = r.find(6, 0, 0, "PW.velocity");
  ASSERT_NE(b, nullptr);
  EXPECT_DOUBLE_EQ(b->mean, 52.0 / 3);
  EXPECT_DOUBLE_EQ(b->difference, -5);  // (1 - 3 and 1 - 9) / 2: the clip that a lacks is left out
  EXPECT_DOUBLE_EQ(b->difference_interval[0], -8);
  EXPECT_DOUBLE_EQ(b->difference_interval[1], -2);
  EXPECT_EQ(r.find(4, 0, 0, "B2.rms"), nullptr);  // no number of this scene, so none is refused
  EXPECT_NE(benchmark_text(r).find("6.00 [3.00, 9.00]"), std::string::npos) << benchmark_text(r);
}

TEST(Benchmark, ThreadsDoNotChangeABit) {
  const std::filesystem::path dir = std::filesystem::temp_directory_path() / fmt::format("reel-benchmark-{}", getpid());
  Benchmark b = parse_benchmark(file_text(fmt::format("models = [\"{}\"]\nscenes = [\"uniform\"]\nclips = 1\nseeds = 1", model)), "/lab/b.toml");
  b.dir = dir;
  std::vector<std::string> digests;
  for (const int threads : {1, 2}) {
    set_num_threads(threads);
    const BenchmarkResults r = run_benchmark(b, Comm::solo(), "test");
    digests.push_back(r.result_digest);
    EXPECT_EQ(r.films.size(), 2u * (3 + 1 + 1));  // two bands
    const BenchmarkCell *floor = r.find(0, 0, 0, "PW.velocity"), *still = r.find(1, 0, 0, "PW.velocity"), *law = r.find(2, 0, 0, "PW.velocity");
    ASSERT_TRUE(floor && still && law);
    EXPECT_LT(floor->mean, 0.02);
    EXPECT_LT(law->mean, 0.02);
    EXPECT_GT(still->mean, 1);  // uniform motion at 1 to 4 m/s
    EXPECT_EQ(io::read_record(r.file).values<std::string>("/result/film_sha256").size(), r.films.size());
  }
  EXPECT_EQ(digests[0], digests[1]);
  b.first_clip += 1;
  EXPECT_NE(run_benchmark(b, Comm::solo(), "test").result_digest, digests[0]);  // other clips, other films
  set_num_threads(1);
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace reel::study
