#include "study/times.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

namespace reel::study {
namespace {

bool odd(double x) { return !(x >= 0) || std::isinf(x); }

double sum_of(const std::vector<double>& v) { return std::accumulate(v.begin(), v.end(), 0.0); }

}  // namespace

std::optional<Spent> spent(const io::Record& record) {
  using nlohmann::json;
  std::set<std::string> hosts;
  for (const std::string& text : record.values<std::string>("/provenance/ranks")) {
    const json rank = json::parse(text, nullptr, false);
    if (!rank.is_object() || !rank.contains("host") || !rank["host"].is_string()) return {};
    hosts.insert(rank["host"].get<std::string>());
  }
  const auto& wall = record.values<double>("/measured/phase_wall");
  const auto& threads = record.values<double>("/measured/threads");
  const auto any_odd = [](const std::vector<double>& v) { return std::any_of(v.begin(), v.end(), odd); };
  if (threads.empty() || wall.size() % threads.size() != 0 || any_odd(wall) || any_odd(threads)) return {};
  Spent s;
  const std::size_t phases = wall.size() / threads.size();
  for (std::size_t r = 0; r < threads.size(); ++r) {
    const auto first = wall.begin() + static_cast<std::ptrdiff_t>(r * phases);
    const double rank_s = std::accumulate(first, first + static_cast<std::ptrdiff_t>(phases), 0.0);
    s.wall_s = std::max(s.wall_s, rank_s);
    s.core_h += rank_s * threads[r] / 3600;
  }
  s.node_h = s.wall_s * static_cast<double>(hosts.size()) / 3600;
  if (record.find("/measured/energy") != nullptr) s.energy_j = sum_of(record.values<double>("/measured/energy"));
  if (record.find("/measured/earlier_wall") == nullptr) return s;
  const auto& earlier = record.values<double>("/measured/earlier_wall");
  const auto& nodes = record.values<std::int64_t>("/measured/earlier_nodes");
  const auto& cores = record.values<std::int64_t>("/measured/earlier_cores");
  if (nodes.size() != earlier.size() || cores.size() != earlier.size()) return {};
  for (std::size_t i = 0; i < earlier.size(); ++i) {
    if (odd(earlier[i]) || nodes[i] < 1 || cores[i] < 1) return {};
    s.wall_s += earlier[i];
    s.node_h += earlier[i] * static_cast<double>(nodes[i]) / 3600;
    s.core_h += earlier[i] * static_cast<double>(cores[i]) / 3600;
  }
  s.energy_j += sum_of(record.values<double>("/measured/earlier_energy"));
  return s;
}

}  // namespace reel::study
