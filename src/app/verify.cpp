// reel verify: reads result files again and compares their digests.
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "app/verbs.hpp"
#include "io/results.hpp"

namespace reel::app {
namespace {

/// One line (or one JSON object) per file; returns the exit code for it.
Exit verify_file(const std::string& file, nlohmann::ordered_json& list) {
  nlohmann::ordered_json item{{"file", file}};
  Exit exit = Exit::ok;
  std::string line, detail;
  try {
    const io::Verification found = io::verify(file);
    exit = found.good() ? Exit::ok : Exit::differ;
    item["state"] = found.good() ? "ok" : "differs";
    item["recorded"] = found.recorded;
    item["computed"] = found.computed;
    item["damaged"] = found.damaged;
    line = fmt::format("{:<10} {}  {}", found.good() ? "ok" : "DIFFERS", file, found.good() ? found.recorded : "");
    for (const std::string& name : found.damaged) detail += fmt::format("  damaged: {}\n", name);
    if (found.damaged.empty() && !found.good()) {
      detail = fmt::format("  recorded: {}\n  computed: {}\n", found.recorded, found.computed);
    }
  } catch (const Error& error) {
    exit = error.exit();
    item["state"] = "unreadable";
    item["error"] = error.what();
    line = fmt::format("{:<10} {}", "UNREADABLE", file);
    detail = fmt::format("  {}\n  {}\n", error.what(), error.hint());
  }
  list.push_back(item);
  if (!global().json) {
    while (line.ends_with(' ')) line.pop_back();
    std::printf("%s\n%s", line.c_str(), detail.c_str());
  }
  return exit;
}

}  // namespace

void add_verify(CLI::App& root) {
  auto files = std::make_shared<std::vector<std::string>>();
  CLI::App* verb = root.add_subcommand("verify", "reread result files and compare their digests");
  verb->add_option("files", *files, "result files")->required();
  verb->footer("Exit code: 0 all good, 1 a file differs from its digest, 3 a file cannot be read.");
  verb->callback([files] {
    if (launch_rank() != 0) return;
    nlohmann::ordered_json list = nlohmann::ordered_json::array();
    for (const std::string& file : *files) {
      global().exit = std::max(global().exit, static_cast<int>(verify_file(file, list)));
    }
    if (global().json) std::printf("%s\n", list.dump(2).c_str());
  });
}

}  // namespace reel::app
