#include "study/provenance.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

namespace reel::study {
namespace {

using nlohmann::json;

TEST(Provenance, SecretsAreNotKept) {
  for (const char* name :
       {"SLURM_JWT", "OMPI_MCA_orte_precondition_transports_KEY", "REEL_API_TOKEN", "SLURM_password"}) {
    EXPECT_TRUE(sounds_secret(name)) << name;
  }
  EXPECT_FALSE(sounds_secret("SLURM_JOB_ID"));
  setenv("REEL_TEST_SECRET", "hunter2", 1);
  setenv("REEL_TEST_VALUE", "x\xff", 1);
  setenv("OTHER_TEST_VALUE", "y", 1);
  const json kept = json::parse(environment_json());
  EXPECT_FALSE(kept.contains("REEL_TEST_SECRET"));
  EXPECT_FALSE(kept.contains("OTHER_TEST_VALUE"));
  EXPECT_EQ(kept["REEL_TEST_VALUE"], "x\xef\xbf\xbd");  // always valid UTF-8
}

TEST(Provenance, TellsProgramAndMachine) {
  const json build = json::parse(build_json());
  for (const char* key : {"version", "commit", "compiler", "flags", "libraries", "mpi", "program_sha256"}) {
    EXPECT_FALSE(build[key].get<std::string>().empty()) << key;
  }
  EXPECT_EQ(program_digest().size(), 64u);
  EXPECT_EQ(program_digest(), program_digest());
  const json rank = json::parse(rank_provenance_json());
  EXPECT_GE(rank["cores"], 1);
  EXPECT_FALSE(rank["host"].get<std::string>().empty());
}

TEST(Provenance, DateIsIsoAndCanBeFixed) {
  EXPECT_EQ(iso_date().size(), 20u);
  setenv("SOURCE_DATE_EPOCH", "1000000000", 1);
  EXPECT_EQ(iso_date(), "2001-09-09T01:46:40Z");
  unsetenv("SOURCE_DATE_EPOCH");
}

TEST(Provenance, RecordHoldsIt) {
  const Experiment e =
      parse_experiment("reel = 1\n[shot]\nprompt = \"x\"\nframes = 5\nsize = [16, 16]\n[model]\npath = \"m\"\n",
                       "/lab/a.toml", {"shot.seed=4"});
  io::Record record;
  add_provenance(record, {e.text, e.overrides, resolved_json(e), task_json(e, {"abc", ""}), "{\"model\":\"abc\"}"}, {"{}", "{}"}, "reel run a.toml");
  const auto text = [&](const std::string& name) { return record.values<std::string>("/provenance/" + name).at(0); };
  EXPECT_EQ(text("config_text"), e.text);
  EXPECT_EQ(json::parse(text("config_overrides"))[0], "shot.seed=4");
  EXPECT_EQ(json::parse(text("config_resolved"))["shot"]["seed"], 4);
  EXPECT_EQ(json::parse(text("inputs"))["model"], "abc");
  EXPECT_EQ(text("command_line"), "reel run a.toml");
  EXPECT_EQ(record.values<std::string>("/provenance/ranks").size(), 2u);
  EXPECT_TRUE(record.text("/", "source").starts_with("Reel "));
  EXPECT_EQ(io::result_digest(record), io::result_digest(io::Record{}));  // nothing of it is in /result
}

}  // namespace
}  // namespace reel::study
