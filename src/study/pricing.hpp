#pragma once
// From rendered takes and rate cards to the price of a usable shot: every alternative as a distribution, side by side on
// the same draws. Nothing is rendered or measured here.
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cost/sensitivity.hpp"
#include "cost/shot.hpp"
#include "io/results.hpp"
#include "study/experiment.hpp"
#include "study/shot_file.hpp"

namespace reel::study {

/// A take passes when the metric, averaged over its objects and shots, lies in [min, max].
struct Gate {
  std::string metric;  ///< "B1.jitter_rms"
  double min = -std::numeric_limits<double>::infinity(), max = std::numeric_limits<double>::infinity();
};

/// What an experiment's [cost] table asks for. Keys:
///   shot = "establishing_house"            a name in datasets/shots, or a path (.toml); required
///   cards = ["../my_cards"]                beside those that come with Reel
///   takes = 24                             attempts that `reel run` renders: seeds shot.seed, shot.seed + 1, ...
///   gates = { "B1.jitter_rms" = { max = 0.5 }, "F1.g_eff" = { min = 8.8, max = 10.8 } }
///   refused = "fail" | "pass"              a take whose gated metric was refused; "fail"
///   miss = 0.05, false_reject = 0.1        of the gates, when known; otherwise from `labels` when there are any, else 0
///   labels = "labels.csv"                  seed,usable: what a person says of the takes (1 or 0)
///   region, currency, year, date, without = [..]   as ShotOptions
///   sequence = { shots = 4, continuity = 0.6 }   so many shots that must match: P(it matches | it is usable)
///   claim = 100                            what a usable shot is said to cost: how probable is it to be had for that?
///   node_w = 400                           power of a node, when no counter can be read [W]
///   draws = 200000, seed = 1
struct PriceTask {
  std::string shot;
  std::filesystem::path base;  ///< relative paths start here
  std::vector<std::filesystem::path> cards;
  std::int64_t num_takes = 1;
  std::vector<Gate> gates;
  bool refused_passes = false;
  std::optional<double> miss, false_reject;
  std::filesystem::path labels;
  ShotOptions options;
  std::int64_t sequence_shots = 0;  ///< 0: no sequence asked for
  double continuity = 1;
  std::optional<double> claim;
  double node_w = 0;
  std::int64_t num_draws = 200'000;
  int sobol_log2 = 13;
  std::uint64_t seed = 1;
};

/// Throws Error (Exit::usage) for an unknown key or a wrong type.
PriceTask price_task(const Experiment& experiment);

/// One attempt, as its result and its measurement tell it.
struct Take {
  std::string run_id, task_id;
  std::uint64_t seed = 0;
  std::int64_t width_px = 0, height_px = 0, num_frames = 0;
  double fps = 0;
  double core_h = 0, node_h = 0;
  std::optional<double> energy_kwh;
  std::string energy_method;             ///< as Energy::method
  std::string weights;                   ///< a path, or "synthetic"
  std::vector<std::string> failed;       ///< why gates rejected it
  std::optional<bool> label;             ///< usable, says a person
  bool passed() const noexcept { return failed.empty(); }
};

/// Reads a result and the measurement beside it (`<run_id>.measure.h5`). Gates without a measurement, and results of
/// synthetic weights with gates, throw Error (Exit::input).
Take read_take(const std::filesystem::path& result, const PriceTask& task);
/// Folder of the rate cards and shots that come with Reel: $REEL_DATASETS, or where this program was built from.
std::filesystem::path datasets();
/// The experiment that a result was made from, for its [cost] table. Throws Error (Exit::input) when it cannot be read.
Experiment experiment_of(const std::filesystem::path& result);

/// How good takes are.
struct Acceptance {
  std::int64_t num_takes = 0, num_passed = 0, num_labelled = 0, num_usable = 0;
  std::string method;  ///< "labels", "gates", "" when only priors are there
  cost::Screening screening;
  std::string screening_method;  ///< "labels", "given", "assumed perfect"
  cost::BetaShape beta;          ///< of P(a take passes and is usable)
};

/// Whether `result` is a complete take of `experiment`: the same film but for a seed of shot.seed ... + num_takes - 1.
/// Throws Error (Exit::input) when it, or its own description, cannot be read.
bool is_take_of(const std::filesystem::path& result, const Experiment& experiment, std::int64_t num_takes);

/// Reads labels, if any, into the takes, and counts. Throws Error (Exit::input) for bad labels.
Acceptance acceptance_of(std::vector<Take>& takes, const PriceTask& task);

/// One alternative beside the cheapest conventional one.
struct PricedAlternative {
  std::size_t index = 0;
  cost::Summary realised, expected, attempt, takes, energy_kwh, carbon_kg;
  double generation_share = 0;        ///< of the mean expected cost
  std::optional<double> within_claim;   ///< P(realised <= the claim)
  double person_days = 0;             ///< paid days of people in its budget, typical: what would be displaced, never netted
  double unsourced_share = 0;         ///< of the typical cost that rests on rows without source
  double typical = 0;                 ///< all numbers at their typical values
  // Against the comparator, generated alternatives alone:
  std::vector<double> cheaper;        ///< P(realised < realised of each alternative), same draws; 0 of itself
  cost::Summary difference;           ///< realised minus the comparator's
  double regret = 0;                  ///< E[max(0, difference)]: what choosing it loses on average against hindsight
  std::optional<double> break_even_acceptance;
  double break_even_takes = 0;
  std::optional<std::int64_t> stop;   ///< failures in a row after which to stop
  double used_share = 0;              ///< usable seconds of all generated, at the mean number of takes
  double per_used_second = 0;         ///< mean expected cost
};

struct Priced {
  cost::Shot shot;
  std::vector<Take> takes;
  Acceptance acceptance;
  std::vector<PricedAlternative> alternatives;  ///< in the order of the file
  std::size_t comparator = 0;                   ///< cheapest that meets the specification without generating
  std::optional<std::size_t> headline;          ///< cheapest generated one that is there without a condition
  std::vector<cost::SobolIndex> sobol;          ///< of log(headline / comparator), mean over luck; one per number, the tier last
  std::vector<cost::TornadoBar> tornado;        ///< of headline - comparator
  double value_of_knowing_p = 0;                ///< EVPPI of the headline's acceptance, for the choice against the comparator
  std::vector<std::pair<std::int64_t, double>> value_of_labels;  ///< labels -> EVSI of the same
  std::optional<double> sequence;               ///< mean cost of the sequence, generated as the headline
  std::optional<double> claim;
  std::map<std::string, cost::Account> accounts;  ///< chart of accounts, by code
  std::string cards_sha256;
  std::uint64_t seed = 0;
  std::int64_t num_draws = 0;
  std::vector<float> first_draws;  ///< realised cost [alternative, draw] of the first num_first_draws draws
  std::int64_t num_first_draws = 0;
};

/// Results of one task (other layouts, repeats) are one film and count once. Throws Error (Exit::input) when nothing that
/// is not generated meets the specification; otherwise as what it reads.
Priced price(const PriceTask& task, const std::vector<std::filesystem::path>& results);

/// Side file `<run_id>.cost.h5`: columns of equal length /result/input_*, /result/alternative_*, /result/take_*, and
/// /result/draws, the same draws for every alternative.
io::Record priced_record(const Priced& priced);
std::string priced_text(const Priced& priced);
std::string priced_json(const Priced& priced);
/// The budget of every alternative at typical values in the chart of accounts, each line rounded to cents before anything
/// is added. CSV with a row for each line ("detail"), then one for each account, section and the whole ("account",
/// "section", "total"), in the order of the codes.
std::string top_sheet_csv(const Priced& priced);

}  // namespace reel::study
