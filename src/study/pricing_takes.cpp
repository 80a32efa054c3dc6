// What results and their measurements tell of takes, and the [cost] table.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "study/experiment_tables.hpp"
#include "study/measurement.hpp"
#include "study/pricing.hpp"
#include "study/times.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::int64_t;

const std::vector<std::string>& known_keys() {
  static const std::vector<std::string> keys{"cards", "claim", "currency", "date", "draws", "false_reject", "gates", "labels", "miss",
                                             "node_w", "refused", "region", "seed", "sequence", "shot", "takes", "without", "year"};
  return keys;
}

void apply_gates(Take& take, const fs::path& result, const PriceTask& task) {
  if (task.gates.empty()) return;
  if (take.weights == "synthetic")
    throw Error(Exit::input, "takes of synthetic weights cannot pass or fail: their pictures mean nothing", result.string(), "leave out cost.gates");
  const fs::path side = fs::path(result).replace_extension(".measure.h5");
  if (!fs::exists(side))
    throw Error(Exit::input, "gates need a measurement, and there is none beside the result", side.string(),
                "run: reel measure " + result.string() + " --out " + side.string() + ", or give the experiment a [measure] table");
  const std::map<std::string, double> metrics = metric_means(side);
  for (const Gate& gate : task.gates) {
    const auto it = metrics.find(gate.metric);
    if (it == metrics.end()) {
      std::vector<std::string> ids;
      for (const auto& [id, value] : metrics) ids.push_back(id);
      const std::string near = nearest(gate.metric, ids);
      throw Error(Exit::input, fmt::format("the measurement has no metric '{}'", gate.metric), side.string(),
                  near.empty() ? fmt::format("it has: {}", fmt::join(ids, ", ")) : fmt::format("did you mean '{}'?", near));
    }
    if (!std::isfinite(it->second)) {
      if (!task.refused_passes) take.failed.push_back(gate.metric + " was refused");
    } else if (it->second < gate.min || it->second > gate.max) {
      take.failed.push_back(fmt::format("{} = {:.4g}", gate.metric, it->second));
    }
  }
}

// "seed,usable" lines; a header and blank lines are allowed.
std::map<std::uint64_t, bool> read_labels(const fs::path& path) {
  std::ifstream in(path);
  if (!in) throw Error(Exit::input, "labels cannot be read", path.string(), "give a CSV file with the columns seed,usable");
  std::map<std::uint64_t, bool> labels;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (line.empty() || (number == 1 && line == "seed,usable")) continue;
    const auto comma = line.find(',');
    const std::string seed = line.substr(0, comma), usable = comma == std::string::npos ? "" : line.substr(comma + 1);
    const bool good = !seed.empty() && seed.size() <= 19 && seed.find_first_not_of("0123456789") == std::string::npos && (usable == "0" || usable == "1");
    if (!good || !labels.emplace(std::stoull(seed), usable == "1").second)
      throw Error(Exit::input, good ? "this seed is there twice" : "not a label", fmt::format("{}:{}", path.string(), number),
                  "a label is seed,usable with usable 0 or 1, each seed once");
  }
  return labels;
}

// What `read` finds in a result's own description, which may be anything.
template <class Read>
auto described(const fs::path& result, Read&& read) {
  try {
    return read();
  } catch (const json::exception& e) {
    throw Error(Exit::input, fmt::format("this result's own description cannot be read: {}", plain(e.what())), result.string(), "render it again");
  } catch (const std::out_of_range&) {
    throw Error(Exit::input, "this result's own description is empty", result.string(), "render it again");
  }
}

}  // namespace

PriceTask price_task(const Experiment& e) {
  PriceTask task;
  task.base = e.file.parent_path();
  const json table = json::parse(e.cost_json);
  const auto refuse = [&](const std::string& what, const std::string& key) {
    const std::string near = nearest(key, known_keys());
    throw Error(Exit::usage, what, e.file.string() + ": cost." + key,
                std::find(known_keys().begin(), known_keys().end(), near) != known_keys().end() && near != key
                    ? fmt::format("did you mean '{}'?", near)
                    : fmt::format("keys of [cost]: {}", fmt::join(known_keys(), ", ")));
  };
  const auto rate = [&](const json& v) { return v.is_number() && v.get<double>() >= 0 && v.get<double>() < 1; };
  for (const auto& [key, value] : table.items()) {
    if (key == "shot" && value.is_string()) {
      task.shot = value.get<std::string>();
    } else if (key == "cards" && value.is_array() && std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); })) {
      for (const json& v : value) task.cards.push_back(resolved_path(e.file, v.get<std::string>()));
    } else if (key == "takes" && value.is_number_integer() && value.get<int64_t>() >= 1 && value.get<int64_t>() <= 100'000) {
      task.num_takes = value.get<int64_t>();
    } else if (key == "gates" && value.is_object()) {
      for (const auto& [metric, range] : value.items()) {
        Gate gate{.metric = metric};
        if (!range.is_object() || range.empty()) refuse(fmt::format("gate '{}' needs min, max or both", metric), key);
        for (const auto& [end, v] : range.items()) {
          if ((end != "min" && end != "max") || !v.is_number()) refuse(fmt::format("gate '{}' knows min and max, both numbers", metric), key);
          (end == "min" ? gate.min : gate.max) = v.get<double>();
        }
        if (gate.min > gate.max) refuse(fmt::format("gate '{}' lets nothing through", metric), key);
        task.gates.push_back(gate);
      }
    } else if (key == "refused" && (value == "fail" || value == "pass")) {
      task.refused_passes = value == "pass";
    } else if ((key == "miss" || key == "false_reject") && rate(value)) {
      (key == "miss" ? task.miss : task.false_reject) = value.get<double>();
    } else if (key == "labels" && value.is_string()) {
      task.labels = resolved_path(e.file, value.get<std::string>());
    } else if ((key == "currency" || key == "date" || key == "region") && value.is_string()) {
      (key == "currency" ? task.options.currency : key == "date" ? task.options.date : task.options.region) = value.get<std::string>();
    } else if (key == "year" && value.is_number_integer() && value.get<int64_t>() >= 1990 && value.get<int64_t>() <= 2100) {
      task.options.year = value.get<int>();
    } else if (key == "without" && value.is_array() && std::all_of(value.begin(), value.end(), [](const json& v) { return v.is_string(); })) {
      task.options.without = value.get<std::vector<std::string>>();
    } else if (key == "claim" && value.is_number() && value.get<double>() > 0) {
      task.claim = value.get<double>();
    } else if (key == "sequence" && value.is_object()) {
      for (const auto& [what, v] : value.items()) {
        if (what == "shots" && v.is_number_integer() && v.get<int64_t>() >= 1 && v.get<int64_t>() <= 10'000)
          task.sequence_shots = v.get<int64_t>();
        else if (what == "continuity" && v.is_number() && v.get<double>() >= 0 && v.get<double>() <= 1)
          task.continuity = v.get<double>();
        else
          refuse("a sequence is { shots = 4, continuity = 0.6 }", key);
      }
      if (task.sequence_shots == 0) refuse("a sequence needs its number of shots", key);
    } else if (key == "node_w" && value.is_number() && value.get<double>() > 0 && value.get<double>() < 1e6) {
      task.node_w = value.get<double>();
    } else if (key == "draws" && value.is_number_integer() && value.get<int64_t>() >= 1024 && value.get<int64_t>() <= 10'000'000) {
      task.num_draws = value.get<int64_t>();
    } else if (key == "seed" && value.is_number_integer() && value.get<int64_t>() >= 0) {
      task.seed = value.get<std::uint64_t>();
    } else {
      refuse(fmt::format("'{}' is unknown, of the wrong type or out of range", key), key);
    }
  }
  if (task.shot.empty() && !table.empty()) refuse("which shot is priced?", "shot");
  if (task.miss.value_or(0) + task.false_reject.value_or(0) >= 1) refuse("gates that err so often tell nothing: miss + false_reject must be below 1", "miss");
  return task;
}

Experiment experiment_of(const fs::path& result) {
  const io::Record record = io::read_groups(result, {"/provenance", "/measured"});
  if (record.find("/provenance/config_text") == nullptr)
    throw Error(Exit::input, "this file does not tell its experiment", result.string(), "give a result of `reel run`, or the experiment file");
  return described(result, [&] {
    const std::string text = record.values<std::string>("/provenance/config_text").at(0);
    const json overrides = json::parse(record.values<std::string>("/provenance/config_overrides").at(0));
    // The file's folder anchors relative paths; it is known from the resolved configuration alone.
    const json resolved = json::parse(record.values<std::string>("/provenance/config_resolved").at(0));
    return parse_experiment(text, resolved.value("file", result.string()), overrides.get<std::vector<std::string>>());
  });
}

fs::path datasets() {
  if (const char* folder = std::getenv("REEL_DATASETS")) return folder;
  return REEL_DATASETS_FOLDER;
}

bool is_take_of(const fs::path& result, const Experiment& e, int64_t num_takes) {
  const io::Record record = io::read_groups(result, {"/provenance", "/measured"});
  const io::Dataset* resolved = record.find("/provenance/config_resolved");
  if (resolved == nullptr || record.text("/", "status") != "complete") return false;
  return described(result, [&] {
    json theirs = json::parse(record.values<std::string>("/provenance/config_resolved").at(0)), ours = json::parse(resolved_json(e));
    const std::uint64_t seed = theirs.at("shot").at("seed").get<std::uint64_t>();
    if (seed < e.shot.seed || seed - e.shot.seed >= static_cast<std::uint64_t>(num_takes)) return false;
    theirs.at("shot").erase("seed");
    ours.at("shot").erase("seed");
    for (const char* key : {"shot", "model", "sampler"})
      if (theirs.at(key) != ours.at(key)) return false;
    return true;
  });
}

Take read_take(const fs::path& result, const PriceTask& task) {
  const io::Record record = io::read_groups(result, {"/provenance", "/measured"});
  Take take;
  described(result, [&] {
    take.run_id = record.text("/", "run_id");
    take.task_id = record.text("/", "task_id");
    take.weights = record.text("/", "weights");
    const json shot = json::parse(record.values<std::string>("/provenance/config_resolved").at(0)).at("shot");
    take.seed = shot.at("seed").get<std::uint64_t>();
    take.num_frames = shot.at("frames").get<int64_t>();
    take.fps = shot.at("fps").get<double>();
    take.width_px = shot.at("size").at(0).get<int64_t>();
    take.height_px = shot.at("size").at(1).get<int64_t>();
    const std::optional<Spent> took = spent(record);
    if (!took || take.run_id.empty() || take.task_id.empty() || take.num_frames < 1 || !(take.fps > 0) || take.width_px < 1 || take.height_px < 1)
      throw Error(Exit::input, "this result's own description makes no sense", result.string(), "render it again");
    take.node_h = took->node_h;
    take.core_h = took->core_h;
    if (!std::isnan(took->energy_j)) {
      take.energy_kwh = took->energy_j / 3.6e6;
      const auto& attributes = record.at("/measured/energy").attributes;
      if (const auto it = attributes.find("method"); it != attributes.end() && std::holds_alternative<std::string>(it->second))
        take.energy_method = std::get<std::string>(it->second);
    } else if (task.node_w > 0) {
      take.energy_kwh = task.node_w * take.node_h / 1000;
      take.energy_method = "declared";
    }
  });
  apply_gates(take, result, task);
  return take;
}

Acceptance acceptance_of(std::vector<Take>& takes, const PriceTask& task) {
  Acceptance a;
  a.num_takes = static_cast<int64_t>(takes.size());
  a.num_passed = std::count_if(takes.begin(), takes.end(), [](const Take& t) { return t.passed(); });
  int64_t good = 0, bad = 0, good_rejected = 0, bad_passed = 0;
  if (!task.labels.empty()) {
    const std::map<std::uint64_t, bool> labels = read_labels(task.labels);
    for (Take& t : takes)
      if (const auto it = labels.find(t.seed); it != labels.end()) t.label = it->second;
    for (const Take& t : takes) {
      if (!t.label) continue;
      ++a.num_labelled;
      a.num_usable += *t.label;
      (*t.label ? good : bad) += 1;
      good_rejected += *t.label && !t.passed();
      bad_passed += !*t.label && t.passed();
    }
    if (a.num_labelled == 0)
      throw Error(Exit::input, "no label belongs to any of these takes", task.labels.string(), "labels name takes by their shot.seed");
  }
  if (takes.empty() || (task.gates.empty() && a.num_labelled == 0)) return a;
  if (task.miss || task.false_reject) {
    a.screening = {task.miss.value_or(0), task.false_reject.value_or(0)};
    a.screening_method = "given";
  } else if (a.num_labelled > 0 && !task.gates.empty()) {
    // With one imagined take on either side: no rate is ever certain.
    a.screening = {(static_cast<double>(bad_passed) + 0.5) / (static_cast<double>(bad) + 1),
                   (static_cast<double>(good_rejected) + 0.5) / (static_cast<double>(good) + 1)};
    a.screening_method = "labels";
  } else {
    a.screening_method = "assumed perfect";
  }
  if (a.num_labelled > 0) {
    // A person has the last word, so labels alone count: P(usable).
    a.method = "labels";
    a.beta = cost::labelled(a.num_usable, a.num_labelled);
  } else {
    a.method = "gates";
    a.beta = cost::usable_after_gates(cost::labelled(a.num_passed, a.num_takes), a.screening);
  }
  return a;
}

}  // namespace reel::study
