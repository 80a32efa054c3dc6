#include "study/calibration.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <mutex>
#include <optional>

#include "core/parallel.hpp"
#include "io/video.hpp"

namespace reel::study {
namespace {

using worlds::Clip;
using worlds::Injection;

/// What a metric should say when an injection's knob is turned.
struct Probe {
  const char* injection;
  const char* metric;
  double (*expected)(double knob, const Clip& clip);
  double tolerance;  ///< of each recovered value; 0: only the exact number counts
  double ideal;      ///< what a film without flaw gives
};

double knob_itself(double knob, const Clip&) { return knob; }
double of_gravity(double knob, const Clip&) { return 9.81 * (1 + knob); }
double of_one(double knob, const Clip&) { return 1 + knob; }
double of_sine(double knob, const Clip&) { return knob / std::sqrt(2.0); }

/// Momentum change over the sum of the sizes of all momenta before, as C1 reports it.
double of_momentum(double knob, const Clip& clip) {
  double sum = 0, size = 0;
  for (const worlds::Track& t : clip.objects) {
    const double p = t.half_width_m * t.half_width_m * t.vx_m_per_s.front();
    sum += p;
    size += std::abs(p);
  }
  return std::abs(knob * sum) / size;
}

const std::vector<Probe>& probes() {
  static const std::vector<Probe> all{
      {"gravity", "F1.g_eff", of_gravity, 0.1, 9.81},
      {"heavier", "F4.ratio", of_one, 0.02, 1},
      {"exponent", "F2.exponent", knob_itself, 0.02, 2},
      {"slow_motion", "F1.tau", knob_itself, 0.01, 1},
      {"bounce", "F5.e_v", knob_itself, 0.02, metrics::nan},
      {"kick", "C1.momentum", of_momentum, 0.02, 0},
      {"teleport", "O2.jump", knob_itself, 0.1, 0},
      {"vanish", "O1.missing", knob_itself, 0, 0},
      {"duplicate", "O3.births", [](double knob, const Clip&) { return knob > 0 ? 1.0 : 0.0; }, 0, 0},
      {"size_pulse", "R1.pulse", knob_itself, 0.002, 0},
      {"jitter", "B1.shift", of_sine, 0.05, 0},
      {"wobble", "B2.rms", knob_itself, 0.05, 0},
      {"boil", "B4.boil", knob_itself, 0.5, 0},
      {"flicker", "B5.flicker", of_sine, 0.5, 0},
  };
  return all;
}

/// Injections that change the very quantity a metric reports: it should move, so that is no cross-talk.
bool same_quantity(const std::string& injection, const std::string& metric) {
  const bool of_gravity_metrics = metric.starts_with("F1.");
  return of_gravity_metrics && (injection == "gravity" || injection == "slow_motion" || injection == "heavier" || injection == "exponent");
}

/// One clip to film and measure.
struct Job {
  Condition condition;
  const Injection* injection;
  double knob;
  std::uint64_t seed;
};
struct Outcome {
  std::map<std::string, double> values;    ///< metric id -> mean over the objects that gave one
  std::map<std::string, std::string> units;
  std::map<std::string, double> expected;  ///< probed metric -> what should come back
};

/// The clip as a viewer would get it: through H.264 and back.
Film coded(const Film& film, int crf, const std::filesystem::path& file) {
  io::write_video(file, film, {.lossless = false, .crf = crf});
  Film read = io::read_video(file).film;
  std::filesystem::remove(file);
  read.fps = film.fps;
  return read;
}

metrics::MeasureOptions options_for(const Clip& clip) {
  metrics::MeasureOptions options;
  if (clip.objects.empty() || clip.objects[0].name == "house") return options;  // a picture without objects
  options.scale = {1 / clip.px_per_m, 0};
  options.still_background = true;
  options.colours = {{"red", {222, 52, 48}}, {"blue", {44, 102, 204}}};
  return options;
}

Outcome run(const Job& job, const CalibrationPlan& plan, const std::filesystem::path& scratch) {
  worlds::Spec spec;
  spec.width_px = spec.height_px = job.condition.size_px;
  spec.num_frames = plan.num_frames;
  spec.fps = plan.fps;
  Clip clip = worlds::make_injected(job.injection->name, job.knob, job.seed, spec);
  if (job.condition.crf >= 0) clip.film = coded(clip.film, job.condition.crf, scratch);
  FilmFrames frames(clip.film);
  const metrics::FilmReport report = metrics::measure(frames, options_for(clip));
  Outcome outcome;
  std::map<std::string, int> counts;
  for (const metrics::ShotReport& shot : report.shots)
    for (const metrics::Metric& m : shot.findings.metrics) {
      if (!m.given()) continue;
      const int n = counts[m.id]++;
      double& mean = outcome.values[m.id];
      mean += (m.value - mean) / (n + 1);
      outcome.units[m.id] = m.unit;
    }
  for (const Probe& p : probes())
    if (p.injection == job.injection->name) outcome.expected[p.metric] = p.expected(job.knob, clip);
  return outcome;
}

bool same(const Condition& a, const Condition& b) { return a.size_px == b.size_px && a.crf == b.crf; }

class Results {
 public:
  Results(const std::vector<Job>& jobs, const std::vector<Outcome>& outcomes) : jobs_(jobs), outcomes_(outcomes) {}

  Recovery recovery(const Condition& condition, const Probe& probe) const {
    Recovery r;
    r.condition = condition;
    r.injection = probe.injection;
    r.metric = probe.metric;
    r.tolerance = probe.tolerance;
    std::vector<double> x, y;
    each(condition, probe.injection, [&](const Job&, const Outcome& o) {
      ++r.num_clips;
      const auto found = o.values.find(probe.metric);
      if (found == o.values.end()) {
        ++r.num_refused;
        return;
      }
      r.unit = o.units.at(probe.metric);
      x.push_back(o.expected.at(probe.metric));
      y.push_back(found->second);
    });
    const auto n = static_cast<double>(x.size());
    if (x.empty()) return r;
    double mx = 0, my = 0, sxx = 0, sxy = 0, syy = 0;
    r.worst = r.bias = 0;
    for (std::size_t i = 0; i < x.size(); ++i) mx += x[i] / n, my += y[i] / n;
    for (std::size_t i = 0; i < x.size(); ++i) {
      sxx += (x[i] - mx) * (x[i] - mx);
      sxy += (x[i] - mx) * (y[i] - my);
      syy += (y[i] - my) * (y[i] - my);
      r.bias += (y[i] - x[i]) / n;
      r.worst = std::max(r.worst, std::abs(y[i] - x[i]));
    }
    r.slope = sxy / sxx;
    r.offset = my - r.slope * mx;
    r.r2 = syy > 0 ? sxy * sxy / (sxx * syy) : metrics::nan;
    r.passed = r.num_refused == 0 && (probe.tolerance == 0 ? r.worst == 0 : std::abs(r.slope - 1) <= 0.02 && r.r2 >= 0.99);
    return r;
  }

  /// Largest shift of `metric` that an injection causes against its own clean clip of the same seed.
  std::optional<double> shift(const Condition& condition, const std::string& injection, const std::string& metric) const {
    std::optional<double> largest;
    const double clean = clean_knob(injection);
    each(condition, injection, [&](const Job& job, const Outcome& o) {
      if (job.knob == clean || !o.values.contains(metric)) return;
      each(condition, injection, [&](const Job& other, const Outcome& at_rest) {
        if (other.seed != job.seed || other.knob != clean || !at_rest.values.contains(metric)) return;
        largest = std::max(largest.value_or(0), std::abs(o.values.at(metric) - at_rest.values.at(metric)));
      });
    });
    return largest;
  }

  Floor floor(const Condition& condition, const Probe& probe) const {
    Floor f;
    f.condition = condition;
    f.metric = probe.metric;
    std::vector<double> off;
    for (const Injection& injection : worlds::injections())
      each(condition, injection.name, [&](const Job& job, const Outcome& o) {
        if (job.knob != clean_knob(injection.name) || !o.values.contains(probe.metric)) return;
        const double ideal = std::isfinite(probe.ideal) ? probe.ideal : o.expected.contains(probe.metric) ? o.expected.at(probe.metric) : metrics::nan;
        if (!std::isfinite(ideal)) return;
        f.unit = o.units.at(probe.metric);
        off.push_back(std::abs(o.values.at(probe.metric) - ideal));
      });
    f.n = static_cast<std::int64_t>(off.size());
    if (off.empty()) return f;
    std::sort(off.begin(), off.end());
    f.value = off[static_cast<std::size_t>(std::ceil(0.95 * static_cast<double>(off.size()))) - 1];
    return f;
  }

 private:
  static double clean_knob(const std::string& injection) {
    for (const Injection& i : worlds::injections())
      if (i.name == injection) return i.knobs.front();
    return 0;
  }
  template <class Body>
  void each(const Condition& condition, const std::string& injection, Body body) const {
    for (std::size_t i = 0; i < jobs_.size(); ++i)
      if (same(jobs_[i].condition, condition) && jobs_[i].injection->name == injection) body(jobs_[i], outcomes_[i]);
  }
  const std::vector<Job>& jobs_;
  const std::vector<Outcome>& outcomes_;
};

std::string number(double v) { return std::isfinite(v) ? fmt::format("{:.6g}", v) : ""; }
std::string codec(const Condition& c) { return c.crf < 0 ? "clean" : fmt::format("crf{}", c.crf); }

}  // namespace

Calibration calibrate(const CalibrationPlan& plan, const std::function<void(std::int64_t, std::int64_t)>& progress) {
  std::vector<Job> jobs;
  for (const Condition& condition : plan.conditions)
    for (const Injection& injection : worlds::injections())
      for (const double knob : injection.knobs)
        for (int seed = 0; seed < plan.num_seeds; ++seed) jobs.push_back({condition, &injection, knob, static_cast<std::uint64_t>(seed)});
  std::vector<Outcome> outcomes(jobs.size());
  std::mutex speaking;
  std::int64_t done = 0;
  const auto all = static_cast<std::int64_t>(jobs.size());
  std::string folder = (std::filesystem::temp_directory_path() / "reel-calibrate-XXXXXX").string();
  if (mkdtemp(folder.data()) == nullptr) throw Error(Exit::write, "cannot make a folder for coded clips", folder, "set TMPDIR");
  parallel_for(all, [&](std::int64_t i) {
    const auto at = static_cast<std::size_t>(i);
    outcomes[at] = run(jobs[at], plan, std::filesystem::path(folder) / fmt::format("{}.mp4", i));
    const std::lock_guard lock(speaking);
    if (progress) progress(++done, all);
  });
  std::filesystem::remove_all(folder);

  const Results results(jobs, outcomes);
  Calibration c;
  for (const Condition& condition : plan.conditions)
    for (const Probe& probe : probes()) {
      c.recoveries.push_back(results.recovery(condition, probe));
      c.floors.push_back(results.floor(condition, probe));
      const std::optional<double> own = results.shift(condition, probe.injection, probe.metric);
      for (const Injection& injection : worlds::injections()) {
        if (injection.name == probe.injection || same_quantity(injection.name, probe.metric)) continue;
        const std::optional<double> moved = results.shift(condition, injection.name, probe.metric);
        if (!moved) continue;  // the metric does not apply to that scene
        CrossTalk talk{condition, injection.name, probe.metric, own && *own > 0 ? *moved / *own : metrics::nan, false};
        talk.passed = talk.share < 0.1;
        c.cross_talks.push_back(talk);
      }
    }
  return c;
}

std::string recovery_csv(const Calibration& c) {
  std::string out = "size_px,codec,injection,metric,unit,slope,offset,r2,bias,worst,tolerance,clips,refused,passed\n";
  for (const Recovery& r : c.recoveries)
    out += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", r.condition.size_px, codec(r.condition), r.injection, r.metric, r.unit,
                       number(r.slope), number(r.offset), number(r.r2), number(r.bias), number(r.worst), number(r.tolerance), r.num_clips,
                       r.num_refused, r.passed ? "yes" : "no");
  return out;
}

std::string cross_talk_csv(const Calibration& c) {
  std::string out = "size_px,codec,injection,metric,share,passed\n";
  for (const CrossTalk& t : c.cross_talks)
    out += fmt::format("{},{},{},{},{},{}\n", t.condition.size_px, codec(t.condition), t.injection, t.metric, number(t.share), t.passed ? "yes" : "no");
  return out;
}

std::string floors_csv(const Calibration& c) {
  std::string out = "size_px,codec,metric,unit,floor,n\n";
  for (const Floor& f : c.floors)
    out += fmt::format("{},{},{},{},{},{}\n", f.condition.size_px, codec(f.condition), f.metric, f.unit, number(f.value), f.n);
  return out;
}

}  // namespace reel::study
