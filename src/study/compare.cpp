#include "study/compare.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>

#include "core/error.hpp"
#include "io/results.hpp"
#include "metrics/fit.hpp"
#include "study/measurement.hpp"
#include "study/tables.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using nlohmann::ordered_json;
using std::int64_t;

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

struct Result {
  fs::path path;
  std::string task, digest;
};

// Results by what they show: a file alone may be paired with any other.
std::map<std::string, Result> results_in(const fs::path& place) {
  std::vector<fs::path> files;
  if (fs::is_directory(place)) {
    for (const auto& entry : fs::directory_iterator(place)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".h5") && name.find('.') == name.size() - 3 && name != "sweep.h5") files.push_back(entry.path());  // no side files
    }
    std::sort(files.begin(), files.end());
  } else {
    files.push_back(place);
  }
  std::map<std::string, Result> found;
  for (const fs::path& file : files) {
    const io::Record r = io::read_groups(file, {"/provenance"});
    const json config = json::parse(r.values<std::string>("/provenance/config_resolved").at(0), nullptr, false);
    if (config.is_discarded() || !config.contains("shot")) throw Error(Exit::input, "does not tell its shot", file.string(), "give results of `reel run`");
    const std::string shot = fs::is_directory(place) ? config.at("shot").dump() : "";
    found.emplace(shot, Result{file, r.text("/", "task_id"), r.text("/", "result_digest")});
  }
  if (found.empty()) throw Error(Exit::input, "holds no results", place.string(), "give results of `reel run`, or folders of them");
  return found;
}

void compare_pictures(const Result& a, const Result& b, ComparedPair& pair) {
  const io::Record ra = io::read_groups(a.path, {"/result"}), rb = io::read_groups(b.path, {"/result"});
  const auto both = [&](const char* path) {
    const io::Dataset *x = ra.find(path), *y = rb.find(path);
    return x != nullptr && y != nullptr && x->shape == y->shape && x->data.index() == y->data.index() ? std::pair{x, y} : std::pair<const io::Dataset*, const io::Dataset*>{};
  };
  if (const auto [x, y] = both("/result/latent"); x != nullptr && std::holds_alternative<std::vector<float>>(x->data)) {
    const auto &u = std::get<std::vector<float>>(x->data), &v = std::get<std::vector<float>>(y->data);
    double square = 0, all = 0;
    for (std::size_t i = 0; i < u.size(); ++i) {
      const double p = u[i], d = static_cast<double>(v[i]) - p;
      square += d * d;
      all += p * p;
    }
    pair.latent_deviation = std::sqrt(square / all);
  }
  if (const auto [x, y] = both("/result/pixels"); x != nullptr && std::holds_alternative<std::vector<std::uint8_t>>(x->data)) {
    const auto &u = std::get<std::vector<std::uint8_t>>(x->data), &v = std::get<std::vector<std::uint8_t>>(y->data);
    std::int64_t square = 0;
    int largest = 0;
    for (std::size_t i = 0; i < u.size(); ++i) {
      const int d = std::abs(int{u[i]} - int{v[i]});
      square += d * d;
      largest = std::max(largest, d);
    }
    pair.largest = largest;
    pair.psnr_db = 10 * std::log10(255.0 * 255.0 * static_cast<double>(u.size()) / static_cast<double>(square));  // infinite when equal
  }
}

// Value and sigma of a single number in a side file; sigma is NaN for several objects.
std::map<std::string, double> sigmas_of(const fs::path& side) {
  const io::Record r = io::read_groups(side, {"/result"});
  const auto& ids = r.values<std::string>("/result/metric_id");
  const auto& sigmas = r.values<double>("/result/metric_sigma");
  std::map<std::string, double> found;
  for (std::size_t i = 0; i < std::min(ids.size(), sigmas.size()); ++i)
    if (const auto [at, is_new] = found.emplace(ids[i], sigmas[i]); !is_new) at->second = nan;
  return found;
}

}  // namespace

bool Comparison::all_same() const noexcept {
  return num_alone == 0 && std::all_of(pairs.begin(), pairs.end(), [](const ComparedPair& p) { return p.same_digest; });
}

Comparison compare(const fs::path& place_a, const fs::path& place_b) {
  const std::map<std::string, Result> in_a = results_in(place_a), in_b = results_in(place_b);
  Comparison c;
  std::map<std::string, std::array<std::vector<double>, 2>> values;  // metric -> A, B over pairs
  std::map<std::string, double> sigma;
  for (const auto& [shot, a] : in_a) {
    const auto found = in_b.find(shot);
    if (found == in_b.end()) continue;
    const Result& b = found->second;
    ComparedPair pair{.name_a = a.path.stem().string(), .name_b = b.path.stem().string(), .same_task = a.task == b.task, .same_digest = a.digest == b.digest};
    compare_pictures(a, b, pair);
    c.pairs.push_back(pair);
    const fs::path side_a = fs::path(a.path).replace_extension(".measure.h5"), side_b = fs::path(b.path).replace_extension(".measure.h5");
    if (!fs::exists(side_a) || !fs::exists(side_b)) continue;
    const std::map<std::string, double> numbers_b = metric_means(side_b), sigma_a = sigmas_of(side_a), sigma_b = sigmas_of(side_b);
    for (const auto& [id, x] : metric_means(side_a)) {
      const auto y = numbers_b.find(id);
      if (y == numbers_b.end() || !std::isfinite(x) || !std::isfinite(y->second)) continue;
      values[id][0].push_back(x);
      values[id][1].push_back(y->second);
      sigma[id] = std::hypot(sigma_a.at(id), sigma_b.at(id));
    }
  }
  c.num_alone = static_cast<int64_t>(in_a.size() + in_b.size() - 2 * c.pairs.size());
  if (c.pairs.empty()) throw Error(Exit::input, "no two results show the same shot", place_b.string(), "compare folders of the same shots and seeds, or two files");
  for (const auto& [id, v] : values) {
    ComparedMetric m{.id = id, .num_pairs = static_cast<int64_t>(v[0].size())};
    std::vector<double> differences;
    for (std::size_t i = 0; i < v[0].size(); ++i) {
      m.mean_a += v[0][i] / static_cast<double>(v[0].size());
      m.mean_b += v[1][i] / static_cast<double>(v[0].size());
      differences.push_back(v[1][i] - v[0][i]);
      m.difference += differences.back() / static_cast<double>(v[0].size());
    }
    if (m.num_pairs > 1) {
      const auto interval = metrics::bootstrap_mean(differences);
      m.interval = {interval[0], interval[1]};
    } else {
      m.interval = {m.difference - 1.96 * sigma[id], m.difference + 1.96 * sigma[id]};
    }
    c.metrics.push_back(std::move(m));
  }
  return c;
}

std::string comparison_text(const Comparison& c) {
  std::string out;
  for (const ComparedPair& p : c.pairs) {
    out += fmt::format("{} {}  {} | {}", p.same_digest ? "same bits     " : p.same_task ? "DIFFERENT BITS" : "another film  ", p.same_task ? "(one task)" : "(two tasks)", p.name_a, p.name_b);
    if (!p.same_digest) out += fmt::format("  latents {:.3g} relative, pixels {:.2f} dB, at most {:.0f} levels", p.latent_deviation, p.psnr_db, p.largest);
    out += "\n";
  }
  if (c.num_alone > 0) out += fmt::format("{} result(s) without a partner\n", c.num_alone);
  if (c.metrics.empty()) return out + "no metrics to compare: measure both sides first\n";
  out += fmt::format("\n{:<26} {:>12} {:>12} {:>12} {:<26} {:>5}\n", "metric", "A", "B", "B - A", "95 %", "pairs");
  for (const ComparedMetric& m : c.metrics)
    out += fmt::format("{:<26} {:>12.5g} {:>12.5g} {:>12.4g} {:<26} {:>5}{}\n", m.id, m.mean_a, m.mean_b, m.difference,
                       std::isfinite(m.interval[0]) ? fmt::format("[{:.4g}, {:.4g}]", m.interval[0], m.interval[1]) : "unknown", m.num_pairs, m.differs() ? "  *" : "");
  return out + "* the interval leaves out zero\n";
}

std::string comparison_json(const Comparison& c) {
  ordered_json j{{"same", c.all_same()}, {"alone", c.num_alone}, {"pairs", ordered_json::array()}, {"metrics", ordered_json::array()}};
  for (const ComparedPair& p : c.pairs)
    j["pairs"].push_back({{"a", p.name_a}, {"b", p.name_b}, {"same_task", p.same_task}, {"same_digest", p.same_digest}, {"latent_deviation", number(p.latent_deviation)},
                          {"psnr_db", number(p.psnr_db)}, {"largest_levels", number(p.largest)}});
  for (const ComparedMetric& m : c.metrics)
    j["metrics"].push_back({{"id", m.id}, {"a", number(m.mean_a)}, {"b", number(m.mean_b)}, {"difference", number(m.difference)}, {"low", number(m.interval[0])},
                            {"high", number(m.interval[1])}, {"pairs", m.num_pairs}, {"differs", m.differs()}});
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace reel::study
