// Several films measured one by one: what holds on the whole, and how sure that is.
#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "metrics/fit.hpp"
#include "study/measurement.hpp"
#include "study/tables.hpp"

namespace reel::study {

using nlohmann::json;
using nlohmann::ordered_json;

std::map<std::string, double> metric_means(const std::filesystem::path& side_file) {
  const io::Record record = io::read_groups(side_file, {"/result"});
  const auto& ids = record.values<std::string>("/result/metric_id");
  const auto& values = record.values<double>("/result/metric_value");
  if (ids.size() != values.size()) throw Error(Exit::input, "metric columns of different length", side_file.string(), "measure the film again");
  std::map<std::string, std::pair<double, int>> sums;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    auto& [sum, n] = sums[ids[i]];
    if (std::isfinite(values[i])) sum += values[i], ++n;
  }
  std::map<std::string, double> means;
  for (const auto& [id, s] : sums) means[id] = s.second > 0 ? s.first / s.second : std::numeric_limits<double>::quiet_NaN();
  return means;
}

std::vector<OverFilms> over_films(const std::vector<std::string>& measurement_jsons) {
  std::vector<OverFilms> all;
  std::map<std::string, std::size_t> place;
  std::vector<std::vector<double>> values;
  for (const std::string& text : measurement_jsons) {
    const json film = json::parse(text);
    std::map<std::string, std::pair<double, int>> sums;
    const auto take = [&](const json& findings) {
      for (const json& m : findings.at("metrics")) {
        const std::string id = m.at("id");
        if (place.emplace(id, all.size()).second) {
          all.push_back({.id = id, .name = m.at("name"), .unit = m.at("unit")});
          values.emplace_back();
        }
        if (m.at("value").is_null()) continue;
        auto& [sum, n] = sums[id];
        sum += m.at("value").get<double>();
        ++n;
      }
    };
    if (!film.contains("shots")) continue;  // a film that could not be measured at all
    for (const json& shot : film.at("shots")) take(shot);
    if (film.contains("paired")) take(film.at("paired"));
    for (const auto& [id, sum] : sums) values[place.at(id)].push_back(sum.first / sum.second);
  }
  std::vector<OverFilms> told;
  for (std::size_t i = 0; i < all.size(); ++i) {
    if (values[i].empty()) continue;
    OverFilms& o = all[i];
    o.num_films = static_cast<std::int64_t>(values[i].size());
    o.num_refused = static_cast<std::int64_t>(measurement_jsons.size()) - o.num_films;
    double sum = 0;
    for (const double v : values[i]) sum += v;
    o.mean = sum / static_cast<double>(values[i].size());
    if (o.num_films > 1) o.interval = metrics::bootstrap_mean(values[i]);
    told.push_back(std::move(o));
  }
  return told;
}

std::string over_films_text(const std::vector<OverFilms>& numbers, std::size_t num_films) {
  std::string out = fmt::format("over {} films: mean [95 % by bootstrap over films]\n", num_films);
  for (const OverFilms& o : numbers) {
    const std::string interval = std::isfinite(o.interval[0]) ? fmt::format("[{:.4g}, {:.4g}]", o.interval[0], o.interval[1]) : "";
    out += fmt::format("  {:<26} {:>12.5g} {:<24} {:<8} films {:<5} {}{}\n", o.id, o.mean, interval, o.unit == "1" ? "" : o.unit, o.num_films,
                       o.name, o.num_refused > 0 ? fmt::format("; {} without", o.num_refused) : "");
  }
  return out;
}

std::string over_films_json(const std::vector<OverFilms>& numbers, std::size_t num_films) {
  ordered_json j{{"over_films", ordered_json::array()}, {"num_films", num_films}};
  for (const OverFilms& o : numbers)
    j["over_films"].push_back({{"id", o.id}, {"name", o.name}, {"unit", o.unit}, {"mean", o.mean}, {"low", number(o.interval[0])},
                               {"high", number(o.interval[1])}, {"films", o.num_films}, {"refused", o.num_refused}});
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

}  // namespace reel::study
