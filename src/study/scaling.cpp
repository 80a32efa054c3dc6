#include "study/scaling.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <numeric>
#include <tuple>

#include "core/partition.hpp"
#include "model/generate.hpp"
#include "study/tables.hpp"

namespace reel::study {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using std::int64_t;
using std::uint64_t;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
constexpr uint64_t f32 = 4;

double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  const std::size_t n = v.size();
  return n == 0 ? nan : (v[(n - 1) / 2] + v[n / 2]) / 2;
}

// Heads that a rank's share of the (head, row) pairs touches.
int64_t heads_touched(Interval pairs, int64_t num_tokens) {
  return pairs.size() == 0 ? 0 : (pairs.end - 1) / num_tokens - pairs.begin / num_tokens + 1;
}

// Cores that these ranks keep busy. Ranks of a host with one list of allowed cores share them; others have their own.
struct Cores {
  int64_t used = 0;
  bool oversubscribed = false;
};
Cores cores_of(const std::vector<std::string>& ranks) {
  struct Host {
    int64_t threads = 0, most = 0, sum = 0;
    std::string allowed;
    bool shared = true;
  };
  std::map<std::string, Host> hosts;
  try {
    for (const std::string& text : ranks) {
      const json rank = json::parse(text);
      const auto [at, is_new] = hosts.try_emplace(rank.at("host").get<std::string>());
      Host& host = at->second;
      const std::string allowed = rank.value("allowed_cores", "");
      if (is_new) host.allowed = allowed;
      host.shared = host.shared && host.allowed == allowed;
      host.threads += rank.value("threads", int64_t{1});
      host.most = std::max(host.most, rank.value("cores", int64_t{0}));
      host.sum += rank.value("cores", int64_t{0});
    }
  } catch (const json::exception&) {
    throw Error(Exit::input, "a rank's own description cannot be read");
  }
  Cores c;
  for (const auto& [name, host] : hosts) {
    const int64_t there = host.shared ? host.most : host.sum;
    c.used += there > 0 ? std::min(there, host.threads) : host.threads;
    c.oversubscribed = c.oversubscribed || (there > 0 && host.threads > there);
  }
  return c;
}

std::string layout_name(const std::vector<double>& threads, const Run& run) {
  const bool same = std::all_of(threads.begin(), threads.end(), [&](double t) { return t == threads[0]; });
  std::string name = same ? fmt::format("{}x{:.0f}", threads.size(), threads[0])
                          : fmt::format("{} ranks, {:.0f} threads", threads.size(), std::accumulate(threads.begin(), threads.end(), 0.0));
  if (run.partition != "heads") name += " " + run.partition;
  if (run.guidance_groups != 1) name += fmt::format(" g{}", run.guidance_groups);
  if (run.shard_weights) name += " sharded";
  return name;
}

// The overrides that determine the film.
std::string what_of(const std::vector<std::string>& overrides) {
  std::string what;
  for (const std::string& text : overrides)
    if (!text.starts_with("run.") && !text.starts_with("output.")) what += (what.empty() ? "" : " ") + text;
  return what;
}

}  // namespace

uint64_t attention_bytes(model::Partition partition, model::Numerics numerics, int64_t num_tokens, int64_t num_heads, int64_t head_dim, int64_t ranks,
                         int64_t rank) {
  const auto element = static_cast<uint64_t>(model::attention_element_bytes(numerics));
  const Interval tokens = slice(num_tokens, ranks, rank);
  const int64_t n = tokens.size();
  if (partition == model::Partition::stream) return element * static_cast<uint64_t>(2 * n * num_heads * head_dim * (ranks - 1));
  if (ranks == 1) return 0;
  const int64_t pairs = num_heads * num_tokens;
  int64_t all_heads = 0;
  for (int64_t r = 0; r < ranks; ++r) all_heads += heads_touched(slice(pairs, ranks, r), num_tokens);
  const Interval mine = slice(pairs, ranks, rank);
  int64_t own = 0;
  for (int64_t h = 0; h < num_heads; ++h) own += intersect(mine, {h * num_tokens + tokens.begin, h * num_tokens + tokens.end}).size();
  return element * static_cast<uint64_t>(head_dim * (2 * n * (all_heads - heads_touched(mine, num_tokens)) + n * num_heads + mine.size() - 2 * own));
}

std::vector<uint64_t> denoise_bytes(const Experiment& e, const model::Pipeline& pipeline, int64_t ranks, int64_t num_steps) {
  const model::TransformerConfig& c = pipeline.transformer();
  const model::VaeConfig& v = pipeline.vae();
  const Run run = choose_partition(e, pipeline, ranks);
  const model::Partition partition = run.partition == "stream" ? model::Partition::stream : model::Partition::heads;
  const bool guided = e.sampler.guidance_scale > 1, groups = run.guidance_groups == 2;
  const int64_t area = e.shot.height_px / v.scale_factor_spatial * (e.shot.width_px / v.scale_factor_spatial);
  const std::vector<model::Segment> segments =
      model::plan_segments(1 + (e.shot.num_frames - 1) / v.scale_factor_temporal, pipeline.trained_latent_frames(), e.sampler.segment_overlap);
  std::vector<uint64_t> sent(static_cast<std::size_t>(ranks));
  // Backwards: the last sitting has the last steps.
  for (auto segment = segments.rbegin(); segment != segments.rend() && num_steps > 0; ++segment) {
    const auto steps = static_cast<uint64_t>(std::min(num_steps, e.sampler.num_steps));
    num_steps -= static_cast<int64_t>(steps);
    const int64_t frames = segment->end - segment->begin, num_tokens = frames * area / c.patch_size();
    const uint64_t velocity = f32 * static_cast<uint64_t>(c.out_channels * frames * area);
    for (int64_t rank = 0; rank < ranks; ++rank) {
      const int64_t first = groups ? slice(ranks, 2, 0).size() : ranks;
      const int64_t branch = rank < first ? first : ranks - first, place = rank < first ? rank : rank - first;
      uint64_t call = static_cast<uint64_t>(c.num_layers) *
                      attention_bytes(partition, pipeline.numerics(), num_tokens, c.num_heads, c.head_dim, branch, place);
      call += f32 * static_cast<uint64_t>(slice(num_tokens, branch, place).size() * c.out_channels * c.patch_size() * (branch - 1));
      uint64_t step = call * (guided && !groups ? 2 : 1);
      if (groups && place == 0) step += velocity * static_cast<uint64_t>(ranks - 1);
      sent[static_cast<std::size_t>(rank)] += steps * step;
    }
  }
  return sent;
}

std::vector<PartitionChoice> partition_choices(const Experiment& e, const model::Pipeline& pipeline, int64_t ranks) {
  std::vector<PartitionChoice> choices;
  const bool can_group = ranks % 2 == 0 && e.sampler.guidance_scale > 1;
  for (const int64_t groups : {1, 2})
    for (const char* partition : {"heads", "stream"}) {
      if (groups == 2 && !can_group) continue;
      Experiment tried = e;
      tried.run.partition = partition;
      tried.run.guidance_groups = groups;
      const std::vector<uint64_t> sent = denoise_bytes(tried, pipeline, ranks, 1);
      choices.push_back({partition, groups, *std::max_element(sent.begin(), sent.end())});
    }
  std::stable_sort(choices.begin(), choices.end(), [](const auto& a, const auto& b) { return a.step_bytes < b.step_bytes; });
  return choices;
}

Run choose_partition(const Experiment& e, const model::Pipeline& pipeline, int64_t ranks) {
  Run run = e.run;
  if (run.partition != "auto") return run;
  const PartitionChoice best = partition_choices(e, pipeline, ranks).front();
  run.partition = best.partition;
  run.guidance_groups = best.guidance_groups;
  return run;
}

LayoutRun layout_run(const io::Record& record, const std::string& task, const Experiment& e, const model::Pipeline* pipeline) {
  const auto& names = record.values<std::string>("/measured/phase");
  const auto& walls = record.values<double>("/measured/phase_wall");
  const auto& comms = record.values<double>("/measured/comm_wall");
  const auto& bytes = record.values<double>("/measured/bytes_sent");
  const auto& flops = record.values<double>("/measured/flop");
  const auto& threads = record.values<double>("/measured/threads");
  const std::size_t ranks = threads.size(), phases = names.size();
  if (ranks == 0 || walls.size() != ranks * phases || comms.size() != walls.size() || bytes.size() != walls.size() || flops.size() != phases)
    throw Error(Exit::input, "times of different length");
  LayoutRun run;
  run.task = task;
  run.what = what_of(e.overrides);
  run.model = fmt::format("{} {} {}", e.model.path.string(), e.model.config, e.model.profile);
  run.layout = layout_name(threads, pipeline != nullptr ? choose_partition(e, *pipeline, static_cast<int64_t>(threads.size())) : e.run);
  run.ranks = static_cast<int64_t>(ranks);
  const Cores cores = cores_of(record.values<std::string>("/provenance/ranks"));
  run.cores = cores.used;
  run.oversubscribed = cores.oversubscribed;
  const auto denoise = static_cast<std::size_t>(std::find(names.begin(), names.end(), "denoise") - names.begin());
  if (denoise == phases || record.find("/measured/step_wall") == nullptr) return run;
  const auto& steps = record.values<double>("/measured/step_wall");
  if (steps.empty()) return run;
  run.num_steps = static_cast<int64_t>(steps.size());
  run.step_s = median(steps);
  run.step_flops = flops[denoise] / static_cast<double>(steps.size());
  double busiest = 0, busy = 0, sitting = 0;
  std::vector<uint64_t> formula;
  const bool known = pipeline != nullptr && !e.run.shard_weights;  // which ranks send weights is not in the formula
  if (known) formula = denoise_bytes(e, *pipeline, run.ranks, run.num_steps), run.off_bytes = run.formula_bytes = 0;
  for (std::size_t r = 0; r < ranks; ++r) {
    const double wall = walls[r * phases + denoise], comm = comms[r * phases + denoise], sent = bytes[r * phases + denoise];
    busiest = std::max(busiest, wall - comm);
    busy += (wall - comm) / static_cast<double>(ranks);
    run.comm_share += wall > 0 ? comm / wall / static_cast<double>(ranks) : 0;
    run.step_bytes += sent / static_cast<double>(steps.size());
    const auto begin = walls.begin() + static_cast<std::ptrdiff_t>(r * phases);
    sitting = std::max(sitting, std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(phases), 0.0));
    if (!known) continue;
    run.formula_bytes += static_cast<double>(formula[r]) / static_cast<double>(steps.size());
    run.off_bytes = std::max(run.off_bytes, std::abs(sent - static_cast<double>(formula[r])));
  }
  run.imbalance = busy > 0 ? busiest / busy : 1;
  if (record.find("/measured/checkpoint_wall") != nullptr && sitting > 0)
    run.save_share = record.values<double>("/measured/checkpoint_wall").at(0) / sitting;
  return run;
}

std::vector<ScalingRow> scaling_rows(const std::vector<LayoutRun>& runs) {
  std::vector<std::vector<LayoutRun>> cells;
  std::map<std::string, std::size_t> order;  // of tasks
  for (const LayoutRun& run : runs) {
    if (run.num_steps == 0) continue;
    order.emplace(run.task, order.size());
    const auto key = [](const LayoutRun& r) { return std::tie(r.task, r.layout, r.cores); };
    const auto same = std::find_if(cells.begin(), cells.end(), [&](const auto& cell) { return key(cell[0]) == key(run); });
    if (same != cells.end())
      same->push_back(run);
    else
      cells.push_back({run});
  }
  std::vector<ScalingRow> rows;
  for (const std::vector<LayoutRun>& cell : cells) {
    ScalingRow row{.run = cell[0], .num_runs = static_cast<int64_t>(cell.size())};
    const std::vector<double> step_s = column(cell, [](const LayoutRun& r) { return r.step_s; });
    row.low_s = *std::min_element(step_s.begin(), step_s.end());
    row.high_s = *std::max_element(step_s.begin(), step_s.end());
    for (double LayoutRun::* const member : {&LayoutRun::step_s, &LayoutRun::comm_share, &LayoutRun::imbalance, &LayoutRun::save_share})
      row.run.*member = median(column(cell, [&](const LayoutRun& r) { return r.*member; }));
    for (const LayoutRun& r : cell) row.run.off_bytes = std::max(row.run.off_bytes, r.off_bytes);
    rows.push_back(row);
  }
  std::stable_sort(rows.begin(), rows.end(), [&](const ScalingRow& a, const ScalingRow& b) {
    const auto key = [&](const LayoutRun& r) { return std::tuple(order.at(r.task), r.cores, r.ranks, r.layout); };
    return key(a.run) < key(b.run);
  });
  const auto rate = [](const LayoutRun& r) { return r.step_flops / r.step_s / static_cast<double>(r.cores); };
  const auto work = [](const LayoutRun& r) { return r.step_flops / static_cast<double>(r.cores); };
  for (ScalingRow& row : rows) {
    const LayoutRun* few = nullptr;    // fewest cores of the task, fastest
    const LayoutRun* least = nullptr;  // fewest cores of all, as much work for each, nearest
    int64_t fewest = row.run.cores;
    for (const ScalingRow& other : rows)
      if (other.run.model == row.run.model) fewest = std::min(fewest, other.run.cores);
    const auto far = [&](const LayoutRun& r) { return std::abs(work(row.run) / work(r) - 1); };
    for (const ScalingRow& other : rows) {
      const LayoutRun& r = other.run;
      if (r.task == row.run.task && (few == nullptr || std::pair(r.cores, r.step_s) < std::pair(few->cores, few->step_s))) few = &r;
      if (r.model != row.run.model || r.cores != fewest || far(r) > 0.25) continue;
      if (least == nullptr || std::pair(far(r), r.step_s) < std::pair(far(*least), least->step_s)) least = &r;
    }
    row.speed_up = few->step_s / row.run.step_s;
    row.efficiency = row.speed_up * static_cast<double>(few->cores) / static_cast<double>(row.run.cores);
    if (least != nullptr) row.weak_efficiency = rate(row.run) / rate(*least);
  }
  return rows;
}

std::string scaling_text(const std::vector<ScalingRow>& rows) {
  std::map<std::string, int> layouts;
  for (const ScalingRow& row : rows) ++layouts[row.run.task];
  if (std::none_of(layouts.begin(), layouts.end(), [](const auto& task) { return task.second > 1; })) return "";
  std::string out = fmt::format("\n{:<18} {:>5} {:>4} {:>9} {:>21} {:>8} {:>10} {:>5} {:>6} {:>9} {:>10} {:>9} {:>6}\n", "ranks x threads",
                                "cores", "runs", "s/step", "[fastest, slowest]", "speed-up", "efficiency", "weak", "comm", "imbalance", "MB/step",
                                "formula", "saves");
  std::string task;
  bool over = false;
  for (const ScalingRow& row : rows) {
    const LayoutRun& r = row.run;
    if (r.task != task) out += fmt::format("task {}{}{}\n", r.task, r.what.empty() ? "" : "  ", r.what);
    task = r.task;
    over = over || r.oversubscribed;
    const std::string weak = std::isnan(row.weak_efficiency) ? "-" : fmt::format("{:.2f}", row.weak_efficiency);
    const std::string formula = std::isnan(r.off_bytes) ? "unknown" : r.off_bytes == 0 ? "equal" : fmt::format("off {:.0f} B", r.off_bytes);
    out += fmt::format("  {:<16} {:>5} {:>4} {:>9.4g} {:>21} {:>8.2f} {:>10.3f} {:>5} {:>5.1f}% {:>9.3f} {:>10.4g} {:>9} {:>5.1f}%\n",
                       r.layout + (r.oversubscribed ? " *" : ""), r.cores, row.num_runs, r.step_s, fmt::format("[{:.4g}, {:.4g}]", row.low_s, row.high_s),
                       row.speed_up, row.efficiency, weak, 100 * r.comm_share, r.imbalance, r.step_bytes * 1e-6, formula, 100 * r.save_share);
  }
  out += "Denoising, medians of runs. comm: share of time, waiting included. imbalance: busiest rank over the mean. MB/step: sent by all\n"
         "ranks, formula: of every rank. weak: rate per core over that on the fewest cores, where a core has as much work. saves: checkpoints.\n";
  if (over) out += "* more threads than cores\n";
  return out;
}

std::string scaling_json(const std::vector<ScalingRow>& rows) {
  ordered_json all = ordered_json::array();
  for (const ScalingRow& row : rows) {
    const LayoutRun& r = row.run;
    all.push_back({{"task", r.task}, {"what", r.what}, {"layout", r.layout}, {"ranks", r.ranks}, {"cores", r.cores},
                   {"oversubscribed", r.oversubscribed}, {"runs", row.num_runs}, {"step_s", number(r.step_s)}, {"low_s", number(row.low_s)},
                   {"high_s", number(row.high_s)}, {"speed_up", number(row.speed_up)}, {"efficiency", number(row.efficiency)},
                   {"weak_efficiency", number(row.weak_efficiency)}, {"comm_share", number(r.comm_share)}, {"imbalance", number(r.imbalance)},
                   {"save_share", number(r.save_share)},
                   {"step_bytes", number(r.step_bytes)}, {"formula_bytes", number(r.formula_bytes)}, {"off_bytes", number(r.off_bytes)}});
  }
  return all.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace reel::study
