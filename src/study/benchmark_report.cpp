// From films to means, intervals, differences and tables.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "metrics/fit.hpp"
#include "study/benchmark.hpp"
#include "study/tables.hpp"

namespace reel::study {
namespace {

using std::int64_t;

std::size_t index_of(std::string_view metric) {
  const std::vector<KeptMetric>& kept = kept_metrics();
  return static_cast<std::size_t>(std::find_if(kept.begin(), kept.end(), [&](const KeptMetric& k) { return metric == k.id; }) - kept.begin());
}

/// Whether a film of this scene is asked for this number. "Not of this scene" must not count as refused.
bool belongs(std::string_view scene, std::string_view metric) {
  const bool of_picture = metric.starts_with("B");
  if (scene == "house") return of_picture;
  if (of_picture) return false;
  if (metric.starts_with("C")) return scene == "collision";
  if (metric.starts_with("F")) return scene == "fall" || scene == "parabola";
  if (metric.starts_with("U")) return scene == "uniform";
  return true;
}

/// Mean value of each clip, over its films.
struct Clips {
  std::map<std::uint64_t, double> mean;
  std::map<std::uint64_t, int64_t> count;
  int64_t num_films = 0, num_refused = 0;
  void add(std::uint64_t clip, double value) {
    if (!std::isfinite(value)) {
      ++num_refused;
      return;
    }
    ++num_films;
    mean[clip] += (value - mean[clip]) / static_cast<double>(++count[clip]);
  }
};

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double v : values) sum += v;
  return values.empty() ? metrics::nan : sum / static_cast<double>(values.size());
}

std::array<double, 2> interval_of(const std::vector<double>& values) {
  if (values.size() < 2) return {metrics::nan, metrics::nan};
  return metrics::bootstrap_mean(values);
}

/// To three digits of the larger end.
std::string with_interval(double mean, const std::array<double, 2>& interval) {
  if (!std::isfinite(mean)) return "-";
  const double size = std::max({std::abs(mean), std::isfinite(interval[0]) ? std::abs(interval[0]) : 0, std::isfinite(interval[1]) ? std::abs(interval[1]) : 0});
  const int digits = size > 0 ? std::clamp(2 - static_cast<int>(std::floor(std::log10(size))), 0, 6) : 1;
  if (!std::isfinite(interval[0])) return fmt::format("{:.{}f}", mean, digits);
  return fmt::format("{:.{}f} [{:.{}f}, {:.{}f}]", mean, digits, interval[0], digits, interval[1], digits);
}

/// One scene's lines of the velocity table.
void velocity_lines(const BenchmarkResults& r, std::size_t scene, std::string& out) {
  const auto cell = [&](std::size_t source, std::size_t band, const char* metric = "PW.velocity") { return r.find(source, scene, band, metric); };
  for (std::size_t source = 0; source < r.sources.size(); ++source) {
    std::string line = fmt::format("{:<10} {:<16}", r.scenes[scene], r.sources[source]);
    double first = metrics::nan;
    for (std::size_t band = 0; band < r.bands.size(); ++band) {
      const BenchmarkCell* c = cell(source, band);
      const BenchmarkCell* floor = cell(BenchmarkResults::truth, band);
      line += fmt::format(" {:>22}", c != nullptr ? with_interval(c->mean, c->interval) : "-");
      line += fmt::format(" {:>8}", c != nullptr && floor != nullptr && floor->mean > 0 ? fmt::format("{:.0f}", c->mean / floor->mean) : "-");
      const BenchmarkCell* lost = cell(source, band, "PW.lost");
      line += fmt::format(" {:>6}", lost != nullptr && std::isfinite(lost->mean) ? fmt::format("{:.1f}", 100 * lost->mean) : "-");
      if (band == 0 && c != nullptr) first = c->mean;
      if (band > 0) line += fmt::format(" {:>8}", c != nullptr && first > 0 ? fmt::format("{:.2f}", c->mean / first) : "-");
    }
    out += line + "\n";
  }
}

/// One line for each source that has the metric, and how later models differ from the first.
void metric_lines(const BenchmarkResults& r, std::string_view scene_name, const std::vector<const char*>& metrics_shown, std::string& out) {
  for (std::size_t scene = 0; scene < r.scenes.size(); ++scene) {
    if (r.scenes[scene] != scene_name) continue;
    for (const char* metric : metrics_shown)
      for (std::size_t band = 0; band < r.bands.size(); ++band)
        for (std::size_t source = 0; source < r.sources.size(); ++source) {
          const BenchmarkCell* c = r.find(source, scene, band, metric);
          if (c == nullptr || c->num_films + c->num_refused == 0 || source == BenchmarkResults::copy || source == BenchmarkResults::law) continue;
          out += fmt::format("{:<10} {:<12} {:<4} {:<16} {:>26} {:<7} films {:>5}  refused {:>5}\n", scene_name, metric, r.bands[band], r.sources[source],
                             with_interval(c->mean, c->interval), kept_metrics()[c->metric].unit, c->num_films, c->num_refused);
        }
  }
}

}  // namespace

const std::vector<KeptMetric>& kept_metrics() {
  static const std::vector<KeptMetric> kept{
      {"PW.velocity", "m s-1"}, {"PW.mean_velocity", "m s-1"}, {"PW.lost", "1"},      {"PW.radius_drift", "m"}, {"F1.g_eff", "m s-2"},
      {"F1.r2", "1"},           {"F2.exponent", "1"},          {"U1.drift", "1"},     {"C1.momentum", "1"},     {"C2.energy", "1"},
      {"O1.missing", "1"},      {"O2.teleports", "1"},         {"O3.births", "1"},    {"R1.cv", "1"},           {"B1.shift", "px"},
      {"B2.rms", "px"},         {"B4.boil", "levels"},         {"B5.flicker", "levels"}, {"B6.warp", "1"}};
  return kept;
}

const BenchmarkCell* BenchmarkResults::find(std::size_t source, std::size_t scene, std::size_t band, std::string_view metric) const {
  const std::size_t m = index_of(metric);
  for (const BenchmarkCell& c : cells)
    if (c.source == source && c.scene == scene && c.band == band && c.metric == m) return &c;
  return nullptr;
}

std::vector<BenchmarkCell> benchmark_cells(const BenchmarkResults& r) {
  const std::vector<KeptMetric>& kept = kept_metrics();
  std::map<std::tuple<std::size_t, std::size_t, std::size_t, std::size_t>, Clips> all;  // scene, band, metric, source
  for (const BenchmarkFilm& f : r.films)
    for (std::size_t k = 0; k < kept.size(); ++k) {
      const bool no_film = f.source == BenchmarkResults::copy || f.source == BenchmarkResults::law;
      if (!belongs(r.scenes[f.scene], kept[k].id) || (no_film && k != 0)) continue;
      all[{f.scene, f.band, k, f.source}].add(f.clip, f.value[k]);
    }
  std::vector<BenchmarkCell> cells;
  for (const auto& [key, clips] : all) {
    BenchmarkCell c;
    std::tie(c.scene, c.band, c.metric, c.source) = key;
    std::vector<double> values;
    for (const auto& [clip, mean] : clips.mean) values.push_back(mean);
    c.num_clips = static_cast<int64_t>(values.size());
    c.num_films = clips.num_films;
    c.num_refused = clips.num_refused;
    c.mean = mean_of(values);
    c.interval = interval_of(values);
    if (c.source > r.model(0) && (c.source - r.model(0)) % 2 == 0) {
      const auto first = all.find({c.scene, c.band, c.metric, r.model(0)});
      std::vector<double> differences;
      if (first != all.end())
        for (const auto& [clip, mean] : clips.mean)
          if (const auto other = first->second.mean.find(clip); other != first->second.mean.end()) differences.push_back(mean - other->second);
      c.difference = mean_of(differences);
      c.difference_interval = interval_of(differences);
    }
    cells.push_back(c);
  }
  return cells;
}

std::string benchmark_text(const BenchmarkResults& r) {
  std::string out = "Velocity error after the given frames, m/s: mean over clips [95 % by bootstrap over clips]; its ratio to that of\n"
                    "the true films (what the tracker adds); share of frames in which an object is not found, %\n";
  out += fmt::format("{:<10} {:<16}", "scene", "source");
  for (std::size_t band = 0; band < r.bands.size(); ++band)
    out += fmt::format(" {:>22} {:>8} {:>6}{}", r.bands[band], "/ floor", "lost", band > 0 ? fmt::format(" {:>8}", "/ " + r.bands[0]) : "");
  out += "\n";
  for (std::size_t scene = 0; scene < r.scenes.size(); ++scene)
    if (r.scenes[scene] != "house") velocity_lines(r, scene, out);
  std::string gravity, wobble;
  metric_lines(r, "fall", {"F1.g_eff", "F2.exponent"}, gravity);
  metric_lines(r, "house", {"B1.shift", "B2.rms", "B4.boil", "B5.flicker", "B6.warp"}, wobble);
  if (!gravity.empty()) out += "\nGravity of the fall (true: 9.81 m/s2; exponent 2)\n" + gravity;
  if (!wobble.empty()) out += "\nWobble of the house (\"truth\" is the floor)\n" + wobble;
  if (!r.preferences.empty()) {
    out += "\nPreference error (LikePhys): share of pairs in which the film that breaks a law has the smaller denoising loss\n"
           "[95 %, Wilson], with so many clean latent frames; 0.5 is chance; the trackers' error on the same pairs, and how often\n"
           "both prefer the same film\n";
    for (const BenchmarkPreference& p : r.preferences) {
      const PreferenceCell& c = p.cell;
      out += fmt::format("{:<16} given {} {:<10} {:<8} {:>5} pairs {:>5}  {:.3f} [{:.3f}, {:.3f}]  trackers {:.3f}  agree {:.3f}\n", r.sources[r.model(p.model)], c.given_latents,
                         c.scene.empty() ? "all" : c.scene, c.breaking.name, c.scene.empty() ? "" : fmt::format("{:g}", c.breaking.amount), c.model.num_pairs,
                         c.model.error, c.model.low, c.model.high, c.tracker.error, c.agreement);
    }
  }
  for (std::size_t m = 1; m < r.num_models; ++m) {
    out += fmt::format("\n{} less {}, same clips and noise: mean [95 %]; * the interval leaves out zero\n", r.sources[r.model(m)], r.sources[r.model(0)]);
    for (const BenchmarkCell& c : r.cells) {
      if (c.source != r.model(m) || !std::isfinite(c.difference)) continue;
      const bool clear = c.difference_interval[0] > 0 || c.difference_interval[1] < 0;
      out += fmt::format("{:<10} {:<4} {:<16} {:>26} {:<7} {}\n", r.scenes[c.scene], r.bands[c.band], kept_metrics()[c.metric].id,
                         with_interval(c.difference, c.difference_interval), kept_metrics()[c.metric].unit, clear ? "*" : "");
    }
  }
  return out;
}

std::string benchmark_json(const BenchmarkResults& r) {
  using nlohmann::ordered_json;
  ordered_json j{{"task_id", r.task_id}, {"result", r.file.string()}, {"result_digest", r.result_digest}, {"num_films", r.films.size()}, {"cells", ordered_json::array()}};
  for (const BenchmarkCell& c : r.cells)
    j["cells"].push_back({{"scene", r.scenes[c.scene]}, {"band", r.bands[c.band]}, {"source", r.sources[c.source]}, {"metric", kept_metrics()[c.metric].id},
                          {"unit", kept_metrics()[c.metric].unit}, {"clips", c.num_clips}, {"films", c.num_films}, {"refused", c.num_refused},
                          {"mean", number(c.mean)}, {"low", number(c.interval[0])}, {"high", number(c.interval[1])}, {"difference", number(c.difference)},
                          {"difference_low", number(c.difference_interval[0])}, {"difference_high", number(c.difference_interval[1])}});
  j["preferences"] = ordered_json::array();
  for (const BenchmarkPreference& p : r.preferences)
    j["preferences"].push_back({{"source", r.sources[r.model(p.model)]}, {"scene", p.cell.scene}, {"break", p.cell.breaking.name}, {"amount", p.cell.breaking.amount}, {"given_latents", p.cell.given_latents},
                                {"pairs", p.cell.model.num_pairs}, {"error", number(p.cell.model.error)}, {"low", number(p.cell.model.low)},
                                {"high", number(p.cell.model.high)}, {"trackers", number(p.cell.tracker.error)}, {"agreement", number(p.cell.agreement)}});
  return j.dump(2);
}

}  // namespace reel::study
