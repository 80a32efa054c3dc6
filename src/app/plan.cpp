// reel plan: what an experiment or a sweep will need, before anything runs.
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "app/verbs.hpp"
#include "core/parallel.hpp"
#include "model/peak.hpp"
#include "study/forecast.hpp"
#include "study/run.hpp"
#include "study/scaling.hpp"
#include "study/sweep.hpp"

namespace reel::app {
namespace {

using std::int64_t;

struct Layout {
  std::vector<study::PartitionChoice> choices;  // of the first experiment
  int64_t ranks = 1, threads = 1, runs = 0;
  study::Forecast largest;  // of any run: memory, time; disk of all
  double disk_bytes = 0, seconds = 0;
};

std::string size_text(double bytes) { return bytes < 1e9 ? fmt::format("{:.1f} MB", bytes * 1e-6) : fmt::format("{:.2f} GB", bytes * 1e-9); }
std::string time_text(double s) {
  return s < 120 ? fmt::format("{:.3g} s", s) : s < 7200 ? fmt::format("{:.1f} min", s / 60) : fmt::format("{:.1f} h", s / 3600);
}

void plan(const std::string& file, const std::vector<std::string>& set, double price) {
  std::vector<study::Experiment> all;
  const std::string text = study::read_experiment_text(file);
  int64_t excluded = 0;
  if (study::is_sweep(text)) {
    const study::SweepFile sweep = study::load_sweep(file);
    for (const study::SweepPoint& p : sweep.points) all.push_back(study::experiment_of(sweep, p));
    excluded = sweep.num_excluded;
  } else {
    all.push_back(study::parse_experiment(text, file, set));
  }
  std::map<std::string, double> peaks;  // of each profile
  std::map<std::pair<int64_t, int64_t>, Layout> layouts;
  std::map<std::string, std::unique_ptr<model::Pipeline>> pipelines;
  for (const study::Experiment& e : all) {
    std::unique_ptr<model::Pipeline>& pipeline = pipelines[e.model.path.string() + "\n" + e.model.config + "\n" + e.model.profile];
    if (pipeline == nullptr) pipeline = study::open_pipeline(e.model);
    double& peak = peaks[e.model.profile];
    if (peak == 0) peak = model::measured_peak_flops(pipeline->numerics());
    const int64_t ranks = std::max<int64_t>(1, e.run.num_ranks), threads = e.run.num_threads > 0 ? e.run.num_threads : std::max<int64_t>(1, num_cores() / ranks);
    const study::Forecast f = study::forecast(e, *pipeline, ranks, ranks, peak * static_cast<double>(ranks * threads));
    Layout& l = layouts[{ranks, threads}];
    if (l.choices.empty() && ranks > 1) l.choices = study::partition_choices(e, *pipeline, ranks);
    l.ranks = ranks;
    l.threads = threads;
    ++l.runs;
    l.largest.memory_bytes = std::max(l.largest.memory_bytes, f.memory_bytes);
    l.largest.seconds = std::max(l.largest.seconds, f.seconds);
    l.largest.checkpoint_bytes = std::max(l.largest.checkpoint_bytes, f.checkpoint_bytes);
    l.disk_bytes += f.disk_bytes;
    l.seconds += f.seconds;
  }
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  double core_hours = 0, disk = 0;
  if (!global().json) std::printf("%6s %8s %6s %14s %14s %12s %12s\n", "ranks", "threads", "runs", "memory/node", "disk", "longest run", "all runs");
  for (const auto& [key, l] : layouts) {
    const double hours = l.seconds * static_cast<double>(l.ranks * l.threads) / 3600;
    core_hours += hours;
    disk += l.disk_bytes;
    nlohmann::ordered_json choices = nlohmann::ordered_json::array();
    for (const study::PartitionChoice& c : l.choices)
      choices.push_back({{"partition", c.partition}, {"guidance_groups", c.guidance_groups}, {"step_bytes", c.step_bytes}});
    list.push_back({{"ranks", l.ranks}, {"threads", l.threads}, {"runs", l.runs}, {"memory_bytes", l.largest.memory_bytes}, {"disk_bytes", l.disk_bytes},
                    {"checkpoint_bytes", l.largest.checkpoint_bytes}, {"longest_s", l.largest.seconds}, {"seconds", l.seconds}, {"core_hours", hours}, {"partitions", choices}});
    if (!global().json)
      std::printf("%6lld %8lld %6lld %14s %14s %12s %12s\n", static_cast<long long>(l.ranks), static_cast<long long>(l.threads), static_cast<long long>(l.runs),
                  size_text(l.largest.memory_bytes).c_str(), size_text(l.disk_bytes).c_str(), time_text(l.largest.seconds).c_str(), time_text(l.seconds).c_str());
  }
  const double node_hours = core_hours / num_cores();
  if (global().json) {
    nlohmann::ordered_json of_peak = nlohmann::ordered_json::object();
    for (const auto& [profile, peak] : peaks) {
      const study::PeakShares share = study::peak_shares(model::parse_numerics(profile));
      of_peak[profile] = {{"denoise", share.denoise}, {"decode", share.decode}};
    }
    std::printf("%s\n", nlohmann::ordered_json{{"runs", all.size()}, {"excluded", excluded}, {"layouts", list}, {"core_hours", core_hours}, {"node_hours", node_hours},
                                               {"disk_bytes", disk}, {"peak_flops_per_thread", peaks}, {"of_peak", of_peak}}
                              .dump(2).c_str());
    return;
  }
  std::printf("\n%zu run(s)%s: %.3g core-hours, %.3g hours of nodes like this one (%d cores), %s on disk%s\n", all.size(),
              excluded > 0 ? fmt::format(", {} left out", excluded).c_str() : "", core_hours, node_hours, num_cores(), size_text(disk).c_str(),
              price > 0 ? fmt::format(", {:.2f} at {:.2f} a node-hour", node_hours * price, price).c_str() : "");
  for (const auto& [key, l] : layouts)
    for (const study::PartitionChoice& c : l.choices)
      std::printf("%s %lld ranks, %-6s %lld guidance group(s): the busiest rank sends %s in a step\n", &c == &l.choices.front() ? "auto:" : "     ",
                  static_cast<long long>(l.ranks), c.partition.c_str(), static_cast<long long>(c.guidance_groups), size_text(static_cast<double>(c.step_bytes)).c_str());
  for (const auto& [profile, peak] : peaks) {
    const study::PeakShares share = study::peak_shares(model::parse_numerics(profile));
    std::printf("times: operations / (%.1f GFLOP/s per thread in %s, measured here, x %.2f denoising, x %.2f decoding); small models reach less\n", peak * 1e-9,
                profile.c_str(), share.denoise, share.decode);
  }
}

}  // namespace

void add_plan(CLI::App& root) {
  struct Options {
    std::string file;
    std::vector<std::string> set;
    double price = 0;
  };
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("plan", "runs, memory, disk, time and money of an experiment or a sweep, before anything runs");
  verb->add_option("file", o->file, "experiment or sweep file (TOML)")->required();
  verb->add_option("--set", o->set, "override a key of an experiment")->allow_extra_args(false);
  verb->add_option("--price", o->price, "of a node-hour, in your money")->check(CLI::Range(0.0, 1e6));
  verb->callback([o] {
    start_ranks(0);
    if (launch_rank() == 0) plan(o->file, o->set, o->price);
  });
}

}  // namespace reel::app
