#pragma once
// Results as `reel run` writes them and measurements as `reel measure` does, made up.
#include <string>
#include <utility>
#include <vector>

#include "io/results.hpp"
#include "study/experiment.hpp"
#include "tests/io/temp_dir.hpp"

namespace reel::test {

struct Made {
  std::uint64_t seed = 3;
  std::string run_id = "-", task_id = "-";  ///< "-": from the seed
  std::string weights = "model", status = "complete", cost, resolved;  ///< resolved "": of the experiment
  std::vector<std::string> overrides, hosts{"a", "b"};
  std::vector<double> wall{10, 26, 18, 0}, threads{4, 2};  ///< [rank, phase], [rank]
  std::vector<double> joules;
  std::vector<double> earlier_wall, earlier_joules;  ///< of sittings before the last, each on 2 nodes and 8 cores
  io::Attribute method = std::string("perf");
  std::string without;  ///< a dataset that is left out
};

class MadeResults : public TempDir {
 protected:
  using Made = test::Made;

  study::Experiment experiment(const std::string& cost = "", std::vector<std::string> overrides = {}) const {
    const std::string text =
        "reel = 1\n[shot]\nprompt = \"a ball\"\nframes = 33\nfps = 16\nsize = [64, 48]\nseed = 3\n[model]\npath = \"model\"\n[sampler]\nsteps = 5\n" + cost;
    return study::parse_experiment(text, dir / "e.toml", overrides);
  }

  /// A result in a file of its own.
  std::filesystem::path make(const Made& made) const {
    std::vector<std::string> overrides = made.overrides;
    overrides.push_back("shot.seed=" + std::to_string(made.seed));
    const study::Experiment e = experiment(made.cost, overrides);
    std::string told = "[";
    for (const std::string& o : overrides) told += (told.size() > 1 ? ",\"" : "\"") + o + "\"";
    const std::string task = made.task_id == "-" ? "task" + std::to_string(made.seed) : made.task_id;
    io::Record r;
    r.groups["/"] = {{"run_id", made.run_id == "-" ? task + "-layout-r0" : made.run_id}, {"task_id", task}, {"weights", made.weights}, {"status", made.status}};
    const auto text = [&](const std::string& name, const std::string& value) {
      r.datasets.push_back({"/provenance/" + name, "", name, {}, {}, std::vector<std::string>{value}, {}});
    };
    text("config_text", e.text);
    text("config_overrides", told + "]");
    text("config_resolved", made.resolved.empty() ? study::resolved_json(e) : made.resolved);
    std::vector<std::string> ranks;
    for (const std::string& host : made.hosts) ranks.push_back("{\"host\": \"" + host + "\"}");
    const auto n = static_cast<std::int64_t>(ranks.size());
    r.datasets.push_back({"/provenance/ranks", "", "ranks", {n}, {"rank"}, ranks, {}});
    const auto size = [](const auto& v) { return static_cast<std::int64_t>(v.size()); };
    const bool whole = size(made.wall) % 2 == 0;
    r.datasets.push_back({"/measured/phase_wall", "s", "wall", whole ? Shape{2, size(made.wall) / 2} : Shape{size(made.wall)},
                          whole ? std::vector<std::string>{"rank", "phase"} : std::vector<std::string>{"odd"}, made.wall, {}});
    r.datasets.push_back({"/measured/threads", "1", "threads", {size(made.threads)}, {"rank"}, made.threads, {}});
    if (!made.joules.empty())
      r.datasets.push_back({"/measured/energy", "J", "energy", {size(made.joules)}, {"node"}, made.joules, {{"method", made.method}}});
    if (const auto n = size(made.earlier_wall); n > 0) {
      const auto earlier = [&](const std::string& name, const std::string& unit, io::Data data) {
        r.datasets.push_back({"/measured/earlier_" + name, unit, name, {n}, {"sitting"}, std::move(data), {}});
      };
      earlier("wall", "s", made.earlier_wall);
      earlier("nodes", "1", std::vector<std::int64_t>(made.earlier_wall.size(), 2));
      earlier("cores", "1", std::vector<std::int64_t>(made.earlier_wall.size(), 8));
      earlier("energy", "J", made.earlier_joules);
    }
    std::erase_if(r.datasets, [&](const io::Dataset& d) { return d.path == made.without; });
    static int count = 0;
    const std::filesystem::path path = dir / ("result-" + std::to_string(count++) + ".h5");
    io::write_record(path, r);
    return path;
  }

  /// The measurement beside it.
  void measure(const std::filesystem::path& result, const std::vector<std::pair<std::string, double>>& metrics) const {
    std::vector<std::string> ids;
    std::vector<double> values;
    for (const auto& [id, value] : metrics) ids.push_back(id), values.push_back(value);
    const auto n = static_cast<std::int64_t>(ids.size());
    io::Record r;
    r.datasets.push_back({"/result/metric_id", "", "id", {n}, {"metric"}, ids, {}});
    r.datasets.push_back({"/result/metric_value", "1", "value", {n}, {"metric"}, values, {}});
    io::write_record(std::filesystem::path(result).replace_extension(".measure.h5"), r);
  }
};

}  // namespace reel::test
