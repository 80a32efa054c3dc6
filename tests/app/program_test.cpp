// The program as a user meets it: exit codes, messages, verify and info.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "io/results.hpp"
#include "io/safetensors.hpp"
#include "tests/io/temp_dir.hpp"

namespace reel {
namespace {

using test::expect_contains;

struct Outcome {
  int code;
  std::string out, err;
};

struct ProgramTest : test::TempDir {
  Outcome reel(const std::string& arguments) const {
    const std::string line = fmt::format("cd '{}' && '{}' {} > out 2> err", dir.string(), REEL_PROGRAM, arguments);
    const int status = std::system(line.c_str());
    return {WEXITSTATUS(status), get(dir / "out"), get(dir / "err")};
  }

  std::string write_result(const std::string& name) const {
    io::Record record;
    record.groups["/"]["title"] = "A throw";
    std::vector<std::uint8_t> pixels(2 * 32 * 32 * 3);
    for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * i % 251);
    record.datasets = {
        {"/result/time", "s", "time of each frame", {2}, {"frame"}, std::vector<double>{0, 0.5}, {}},
        {"/result/pixels", "1", "film", {2, 32, 32, 3}, {"frame", "y", "x", "band"}, pixels, {}},
        {"/provenance/config_text", "", "experiment file", {}, {}, std::vector<std::string>{"reel = 1\n"}, {}}};
    return io::write_record(dir / name, record);
  }
};

TEST_F(ProgramTest, VersionAndHelp) {
  const Outcome version = reel("--version");
  EXPECT_EQ(version.code, 0);
  for (const char* part : {"Reel ", "compiler: ", "HDF5 ", "TBB ", "xsimd ", "MPI: ", "instruction sets: "}) {
    expect_contains(version.out, part);
  }
  EXPECT_EQ(version.err, "");
  EXPECT_EQ(reel("--help").code, 0);
  EXPECT_EQ(reel("verify --help").code, 0);
}

TEST_F(ProgramTest, WrongCommandLinesAreCode2) {
  for (const char* arguments : {"", "--bogus", "info", "info --bogus x", "verify", "run"}) {
    const Outcome outcome = reel(arguments);
    EXPECT_EQ(outcome.code, 2) << arguments;
    EXPECT_EQ(outcome.out, "") << arguments;
    EXPECT_TRUE(outcome.err.starts_with("error: ")) << arguments << "\n" << outcome.err;
    expect_contains(outcome.err, "(exit 2)\n");
  }
  EXPECT_EQ(reel("verif x.h5").err, "error: unknown verb 'verif' (exit 2)\n  try: reel verify\n");
}

TEST_F(ProgramTest, AllFindingsOfAnExperimentAreShown) {
  put("bad.toml",
      "reel = 1\n[shot]\nprompt = \"x\"\nframes = 34\nsize = [64, 64]\n[model]\npath = \"m\"\n[sampler]\nstep = 3\n");
  const Outcome outcome = reel("run bad.toml");
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.err,
            "error: 'shot.frames' is 34 (exit 2)\n"
            "  --> bad.toml:4:10\n"
            "    4 | frames = 34\n"
            "      |          ^^ the model makes 4k+1 frames: use 33 or 37\n"
            "\n"
            "error: unknown key 'sampler.step' (exit 2)\n"
            "  --> bad.toml:9:1\n"
            "    9 | step = 3\n"
            "      | ^^^^ did you mean 'steps'?   known keys: name, steps, guidance, shift, noise, segment_overlap\n");
  EXPECT_EQ(reel("run none.toml").code, 3);
}

TEST_F(ProgramTest, VerifyTellsGoodDifferentAndUnreadable) {
  const std::string digest = write_result("good.h5");
  const Outcome good = reel("verify good.h5");
  EXPECT_EQ(good.code, 0);
  EXPECT_EQ(good.out, "ok         good.h5  " + digest + "\n");

  std::string bytes = get(dir / "good.h5");
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  put("flipped.h5", bytes);
  const Outcome flipped = reel("verify good.h5 flipped.h5");
  EXPECT_EQ(flipped.code, 1);
  expect_contains(flipped.out, "DIFFERS    flipped.h5");

  put("cut.h5", bytes.substr(0, 1000));
  put("text.h5", "hello");
  for (const char* file : {"cut.h5", "text.h5", "none.h5", "."}) {
    const Outcome outcome = reel(fmt::format("verify flipped.h5 {} good.h5", file));
    EXPECT_EQ(outcome.code, 3) << file;
    expect_contains(outcome.out, "UNREADABLE " + std::string(file));
    expect_contains(outcome.out, "ok         good.h5");  // the others are still checked
  }

  const auto list = nlohmann::json::parse(reel("--json verify good.h5 flipped.h5 none.h5").out);
  EXPECT_EQ(list[0]["state"], "ok");
  EXPECT_EQ(list[0]["computed"], digest);
  EXPECT_EQ(list[1]["state"], "differs");
  EXPECT_EQ(list[2]["state"], "unreadable");
}

TEST_F(ProgramTest, InfoShowsResults) {
  const std::string digest = write_result("r.h5");
  const Outcome text = reel("info r.h5");
  EXPECT_EQ(text.code, 0);
  for (const std::string part :
       {"A throw", digest.c_str(), "/result\n", "pixels", "(frame 2, y 32, x 32, band 3)", "time of each frame"}) {
    expect_contains(text.out, part);
  }
  const auto json = nlohmann::json::parse(reel("info r.h5 --json").out);
  EXPECT_EQ(json["groups"]["/"]["result_digest"], digest);
  EXPECT_EQ(reel("info r.h5 --config").out, "reel = 1\n");
  const Outcome missing = reel("info none.h5");
  EXPECT_EQ(missing.code, 3);
  EXPECT_EQ(missing.out, "");
  EXPECT_EQ(missing.err,
            "error: cannot open the result file: no such file (exit 3)\n  --> none.h5\n  try: check the path\n");
}

TEST_F(ProgramTest, InfoShowsWeights) {
  const std::vector<float> values{1, 2};
  io::write_safetensors(dir / "w.safetensors",
                        {{"a.weight", {2, 1}, io::Dtype::f32, std::as_bytes(std::span(values))}});
  const Outcome text = reel("info w.safetensors --digest");
  EXPECT_EQ(text.code, 0);
  expect_contains(text.out, "a.weight  F32  [2, 1]\n1 tensors (F32 1), 2 parameters, 8 bytes\ndigest ");
  expect_contains(text.out, io::weights_digest(io::Safetensors::open(dir / "w.safetensors")));
  EXPECT_EQ(nlohmann::json::parse(reel("info w.safetensors --json").out)["num_parameters"], 2);
  EXPECT_EQ(reel("info .").code, 3);
}

// A shot of the smallest model that comes with Reel.
std::string small_shot() {
  return fmt::format("reel = 1\n[shot]\nprompt = \"a ball falls\"\nframes = 5\nsize = [64, 64]\n[model]\npath = \"{}/datasets/models/backlot-1\"\n[sampler]\nsteps = 2\n",
                     REEL_SOURCE_DIR);
}

TEST_F(ProgramTest, PlansTellTimeAndMoneyOfAMachine) {
  put("shot.toml", small_shot());
  const auto j = nlohmann::json::parse(reel("--json plan shot.toml --set run.ranks=4 --set run.threads=96 --machine example_epyc").out);
  const auto& layout = j["layouts"][0];
  EXPECT_GT(layout["seconds"].get<double>(), 0);
  EXPECT_DOUBLE_EQ(j["node_hours"].get<double>() * 192, j["core_hours"].get<double>());
  EXPECT_DOUBLE_EQ(j["core_hours"].get<double>(), layout["seconds"].get<double>() * 4 * 96 / 3600);
  const Outcome text = reel("plan shot.toml --machine example_epyc");
  EXPECT_EQ(text.code, 0) << text.err;
  expect_contains(text.out, "hours of nodes of example_epyc (192 cores)");
  expect_contains(text.out, " EUR at 1.85 a node-hour");
  EXPECT_EQ(reel("plan shot.toml --machine example_epic").code, 3);
}

TEST_F(ProgramTest, APredictionIsKeptBesideWhatItTook) {
  put("shot.toml", small_shot());
  const Outcome run = reel("--json run shot.toml --rehearse -o .");
  ASSERT_EQ(run.code, 0) << run.err;
  const auto j = nlohmann::json::parse(run.out);
  const io::Record record = io::read_record(dir / j["result"].get<std::string>());
  const auto& names = record.values<std::string>("/measured/phase");
  const auto& predicted = record.values<double>("/measured/predicted_wall");
  ASSERT_EQ(predicted.size(), names.size());
  int told = 0;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool long_phase = names[i] == "denoise" || names[i] == "decode";
    EXPECT_EQ(long_phase, predicted[i] > 0) << names[i];
    EXPECT_EQ(long_phase, j["phases"][i]["predicted_s"].is_number()) << names[i];
    told += long_phase;
  }
  EXPECT_EQ(told, 2);
  const Outcome same = reel("--json run shot.toml -o without");
  const auto k = nlohmann::json::parse(same.out);
  EXPECT_EQ(k["result_digest"], j["result_digest"]) << "times are no part of the digest";
  EXPECT_EQ(io::read_record(dir / k["result"].get<std::string>()).find("/measured/predicted_wall"), nullptr) << "too short to be told of itself";
}

}  // namespace
}  // namespace reel
