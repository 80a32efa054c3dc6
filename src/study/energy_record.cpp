// What nodes used, in the record.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "study/energy.hpp"
#include "study/tables.hpp"

namespace reel::study {

using nlohmann::json;

std::string energy_json(const Energy& energy) {
  const std::optional<double> total = energy.total_j();
  return json{{"method", energy.method},     {"domains", energy.domains}, {"joules", energy.joules},
              {"coverage", energy.coverage}, {"wall_s", energy.wall_s},   {"unavailable", energy.unavailable},
              {"total_j", total ? json(*total) : json(nullptr)}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

void add_energy(const std::vector<std::string>& energies, io::Record& record) {
  const auto nodes = static_cast<std::int64_t>(energies.size());
  std::vector<double> joules;
  std::string method;
  double coverage = 1;
  bool told = true;
  for (const std::string& text : energies) {
    const json e = json::parse(text);
    told = told && e.at("total_j").is_number() && (method.empty() || method == e.at("method"));
    if (!told) break;
    method = e.at("method").get<std::string>();
    joules.push_back(e.at("total_j").get<double>());
    coverage = std::min(coverage, e.at("coverage").get<double>());
  }
  if (told && nodes > 0)  // sources are never added to each other
    record.datasets.push_back({"/measured/energy", "J", "energy of each node while the run lasted", {nodes}, {"node"}, joules,
                               {{"method", method}, {"coverage", coverage}}});
  record.datasets.push_back({"/measured/energy_json", "", "energy of each node by domain, or why it is not available (JSON)", {nodes}, {"node"}, energies, {}});
}

}  // namespace reel::study
