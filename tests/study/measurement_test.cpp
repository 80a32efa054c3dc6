// The side file of a measurement: what goes in comes out, refusals and all.
#include "study/measurement.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "study/provenance.hpp"

namespace reel::study {
namespace {

Measurement example() {
  using namespace metrics;
  Measurement m;
  m.film = {"a.mp4", 64, 48, 3, 0.125, 0.0625, 0.0625, 0.0625, {2}, {}};
  ShotReport shot{0, 3, 0, 0.125, {}, {}, {}, ""};
  shot.findings.metrics.push_back({"F1.g_eff", "acceleration", "m s-2", Aspect::parameter, Better::none, 9.7, 0.05, 24, "red", ""});
  shot.findings.metrics.push_back(refused({"C1.momentum", "momentum change", "1", Aspect::parameter, Better::zero}, "no collision"));
  shot.findings.traces.push_back({"B1.shift", "camera shift", "px", {0, 0.0625, 0.125}, {0, 0.5, nan}, 4, 0.1});
  shot.findings.events.push_back({"O2.teleport", "red", "jumps 8 px", 2, 0.125, 10, 20});
  Track track;
  track.name = "red";
  track.time_s = {0, 0.0625, 0.125};
  track.x_px = {1, 2, nan};
  track.y_px = {3, 4, nan};
  track.area_px = {9, 9, nan};
  track.sigma_px = 0.02;
  shot.tracks.push_back(track);
  m.film.shots.push_back(shot);
  m.paired.metrics.push_back({"P.psnr", "peak signal-to-noise ratio", "dB", Aspect::description, Better::higher, 31, nan, 3, "", ""});
  m.reference = "b.mp4";
  m.floors = {64, "clean", {{"F1.g_eff", 0.02}}};
  m.source_sha256 = std::string(64, 'a');
  return m;
}

TEST(Measurement, SideFileHoldsTablesAndRaggedArrays) {
  const auto path = std::filesystem::temp_directory_path() / "reel-measurement-test.measure.h5";
  const std::string digest = io::write_record(path, measurement_record(example()));
  const io::Record r = io::read_record(path);
  std::filesystem::remove(path);
  EXPECT_EQ(r.text("/", "result_digest"), digest);
  EXPECT_EQ(r.text("/", "kind"), "measure");
  EXPECT_EQ(r.values<std::string>("/result/metric_id"), (std::vector<std::string>{"F1.g_eff", "C1.momentum", "P.psnr"}));
  EXPECT_EQ(r.values<std::int64_t>("/result/metric_shot"), (std::vector<std::int64_t>{0, 0, -1}));
  EXPECT_EQ(r.values<double>("/result/metric_value")[0], 9.7);
  EXPECT_TRUE(std::isnan(r.values<double>("/result/metric_value")[1]));
  EXPECT_EQ(r.values<std::string>("/result/metric_refusal")[1], "no collision");
  EXPECT_EQ(r.values<double>("/result/metric_floor")[0], 0.02);
  EXPECT_TRUE(std::isnan(r.values<double>("/result/metric_floor")[2]));
  EXPECT_EQ(r.values<std::int64_t>("/result/trace_count"), (std::vector<std::int64_t>{3}));
  EXPECT_EQ(r.values<double>("/result/sample_value")[1], 0.5);
  EXPECT_EQ(r.values<std::string>("/result/track_name"), (std::vector<std::string>{"red"}));
  EXPECT_EQ(r.values<double>("/result/point_y")[1], 4);
  EXPECT_EQ(r.values<std::string>("/result/event_text"), (std::vector<std::string>{"jumps 8 px"}));
  EXPECT_EQ(std::get<std::int64_t>(r.groups.at("/result").at("num_duplicate_frames")), 1);
}

TEST(Measurement, DigestCountsNumbersAndNotNames) {
  const auto digest = [](const Measurement& m) { return io::result_digest(measurement_record(m)); };
  Measurement other = example();
  other.film.name = "elsewhere/a.mp4";
  EXPECT_EQ(digest(example()), digest(other));
  other.film.shots[0].findings.metrics[0].value = std::nextafter(9.7, 10);
  EXPECT_NE(digest(example()), digest(other));
}

TEST(Measurement, FilmWithNothingInItIsARecordToo) {
  Measurement empty;
  empty.film.name = "a";
  empty.film.shots.push_back({0, 1, 0, 0, {}, {}, {}, "one frame"});
  const io::Record r = measurement_record(empty);
  EXPECT_EQ(r.find("/result/metric_id"), nullptr);
  EXPECT_EQ(r.values<std::string>("/result/shot_refusal")[0], "one frame");
  EXPECT_NE(measurement_text(empty).find("refused: one frame"), std::string::npos);
}

TEST(Measurement, JsonAndTextNameValuesUnitsAndRefusals) {
  const auto j = nlohmann::json::parse(measurement_json(example()));
  const auto& metrics = j["shots"][0]["metrics"];
  EXPECT_EQ(metrics[0]["value"], 9.7);
  EXPECT_EQ(metrics[0]["floor"], 0.02);
  EXPECT_TRUE(metrics[1]["value"].is_null());
  EXPECT_EQ(metrics[1]["refusal"], "no collision");
  EXPECT_EQ(j["paired"]["metrics"][0]["unit"], "dB");
  EXPECT_EQ(j["shots"][0]["events"][0]["frame"], 2);
  const std::string text = measurement_text(example());
  for (const char* part : {"F1.g_eff (red)", "9.7", "m s-2", "no collision", "O2.teleport", "against b.mp4", "P.psnr"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}

TEST(Measurement, FileDigestIsThatOfItsBytes) {
  const auto path = std::filesystem::temp_directory_path() / "reel-measurement-test.txt";
  std::ofstream(path) << "abc";
  EXPECT_EQ(file_sha256(path), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  std::filesystem::remove(path);
  EXPECT_THROW(file_sha256(path), Error);
  EXPECT_THROW(file_sha256("/"), Error);
}

TEST(Floors, NearestSizeAndCodec) {
  EXPECT_EQ(floors_for(64, 64, true).size_px, 64);
  EXPECT_EQ(floors_for(300, 120, true).size_px, 128);  // the shorter side
  EXPECT_EQ(floors_for(3840, 2160, false).codec, "crf28");
  EXPECT_GE(floors_for(3840, 2160, false).size_px, 256);
  const Floors clean = floors_for(64, 64, true), lossy = floors_for(64, 64, false);
  EXPECT_GT(clean.value.at("F1.g_eff"), 0);
  EXPECT_GT(lossy.value.at("C1.momentum"), clean.value.at("C1.momentum"));
}

TEST(OverFilms, EachFilmCountsOnceAndRefusalsAreCounted) {
  const auto film = [](const std::string& values) {
    std::string text;
    for (const char c : values) text += fmt::format("{}{{\"id\":\"F1.g_eff\",\"name\":\"g\",\"unit\":\"m s-2\",\"value\":{}}}", text.empty() ? "" : ",", c == '-' ? "null" : std::string(1, c));
    return fmt::format("{{\"shots\":[{{\"metrics\":[{}]}}]}}", text);
  };
  const auto numbers = over_films({film("246"), film("8-"), film("-"), "{\"film\":\"x\",\"error\":\"broken\"}"});
  ASSERT_EQ(numbers.size(), 1u);
  EXPECT_DOUBLE_EQ(numbers[0].mean, 6);  // of 4 and 8, not of 2, 4, 6, 8
  EXPECT_EQ(numbers[0].num_films, 2);
  EXPECT_EQ(numbers[0].num_refused, 2);
  EXPECT_DOUBLE_EQ(numbers[0].interval[0], 4);
  EXPECT_DOUBLE_EQ(numbers[0].interval[1], 8);
  EXPECT_TRUE(over_films({film("-"), film("-")}).empty());
  EXPECT_TRUE(std::isnan(over_films({film("3")}).at(0).interval[0]));  // one film says nothing of the spread
  EXPECT_NE(over_films_text(numbers, 4).find("films 2     g; 2 without"), std::string::npos) << over_films_text(numbers, 4);
  EXPECT_EQ(nlohmann::json::parse(over_films_json(numbers, 4))["over_films"][0]["mean"], 6);
}

}  // namespace
}  // namespace reel::study
