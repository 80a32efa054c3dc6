#include "study/measurement.hpp"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "study/provenance.hpp"
#include "study/tables.hpp"

namespace reel::study {
namespace {

using metrics::Aspect;
using metrics::Better;
using nlohmann::ordered_json;
using std::int64_t;

const char* word(Aspect aspect) {
  switch (aspect) {
    case Aspect::form: return "form";
    case Aspect::parameter: return "parameter";
    case Aspect::stability: return "stability";
    case Aspect::description: return "description";
  }
  return "";
}

const char* word(Better better) {
  switch (better) {
    case Better::lower: return "lower";
    case Better::higher: return "higher";
    case Better::zero: return "zero";
    case Better::one: return "one";
    case Better::none: return "none";
  }
  return "";
}

/// Columns of one table that grow together and become datasets of one dimension.
class Table {
 public:
  Table(std::string dim, std::string prefix) : dim_(std::move(dim)), prefix_(std::move(prefix)) {}
  template <class T>
  void add(const std::string& name, const std::string& unit, const std::string& long_name, std::vector<T> values,
           io::Attributes attributes = {}) {
    if (static_cast<int64_t>(values.size()) != size_ && size_ >= 0)
      broken_promise("columns of one length", __FILE__, __LINE__, prefix_ + name);
    size_ = static_cast<int64_t>(values.size());
    datasets_.push_back({"/result/" + prefix_ + name, unit, long_name, {size_}, {dim_}, std::move(values), std::move(attributes)});
  }
  void move_to(io::Record& record) {
    if (size_ == 0) return;  // an empty table is not there
    for (io::Dataset& d : datasets_) record.datasets.push_back(std::move(d));
  }

 private:
  std::string dim_, prefix_;
  int64_t size_ = -1;
  std::vector<io::Dataset> datasets_;
};

template <class Thing>
struct InShot {
  int64_t shot;
  const Thing* thing;
};

// What `list` holds, of all shots and then of the comparison (shot -1).
template <class Thing>
std::vector<InShot<Thing>> all(const Measurement& m, std::vector<Thing> metrics::Findings::*list) {
  std::vector<InShot<Thing>> found;
  for (std::size_t s = 0; s < m.film.shots.size(); ++s)
    for (const Thing& thing : m.film.shots[s].findings.*list) found.push_back({static_cast<int64_t>(s), &thing});
  for (const Thing& thing : m.paired.*list) found.push_back({-1, &thing});
  return found;
}

double floor_of(const Measurement& m, const std::string& id) {
  const auto found = m.floors.value.find(id);
  return found == m.floors.value.end() ? metrics::nan : found->second;
}

void add_metrics(const Measurement& m, io::Record& record) {
  const auto list = all(m, &metrics::Findings::metrics);
  Table t("metric", "metric_");
  t.add("shot", "1", "shot, from 0; -1: the whole film against its reference", column(list, [](const auto& i) { return i.shot; }));
  t.add("id", "", "law and quantity, as in the manual", column(list, [](const auto& i) { return i.thing->id; }));
  t.add("name", "", "what it is", column(list, [](const auto& i) { return i.thing->name; }));
  t.add("object", "", "track it belongs to; empty: the whole shot", column(list, [](const auto& i) { return i.thing->object; }));
  t.add("value", "1", "value in the unit of metric_unit; NaN: refused", column(list, [](const auto& i) { return i.thing->value; }),
        {{"units_from", std::string("metric_unit")}});
  t.add("sigma", "1", "one standard deviation, same unit; NaN: not known", column(list, [](const auto& i) { return i.thing->sigma; }),
        {{"units_from", std::string("metric_unit")}});
  t.add("n", "1", "what the value rests on", column(list, [](const auto& i) { return i.thing->n; }));
  t.add("unit", "", "unit of value, sigma and floor", column(list, [](const auto& i) { return i.thing->unit; }));
  t.add("aspect", "", "form, parameter, stability or description", column(list, [](const auto& i) { return std::string(word(i.thing->aspect)); }));
  t.add("better", "", "which way is good", column(list, [](const auto& i) { return std::string(word(i.thing->better)); }));
  t.add("floor", "1", "what clean clips of this size give; NaN: not calibrated", column(list, [&](const auto& i) { return floor_of(m, i.thing->id); }),
        {{"units_from", std::string("metric_unit")}});
  t.add("refusal", "", "why there is no value", column(list, [](const auto& i) { return i.thing->refusal; }));
  t.move_to(record);
}

void add_traces(const Measurement& m, io::Record& record) {
  const auto list = all(m, &metrics::Findings::traces);
  std::vector<int64_t> begin, count;
  std::vector<double> time, value;
  for (const auto& i : list) {
    begin.push_back(static_cast<int64_t>(time.size()));
    count.push_back(static_cast<int64_t>(i.thing->time_s.size()));
    time.insert(time.end(), i.thing->time_s.begin(), i.thing->time_s.end());
    value.insert(value.end(), i.thing->value.begin(), i.thing->value.end());
  }
  Table t("trace", "trace_");
  t.add("shot", "1", "shot, from 0; -1: the whole film against its reference", column(list, [](const auto& i) { return i.shot; }));
  t.add("id", "", "law and quantity, as in the manual", column(list, [](const auto& i) { return i.thing->id; }));
  t.add("name", "", "what it is", column(list, [](const auto& i) { return i.thing->name; }));
  t.add("unit", "", "unit of the values", column(list, [](const auto& i) { return i.thing->unit; }));
  t.add("begin", "1", "first sample", begin);
  t.add("count", "1", "number of samples", count, {{"sample_dimension", std::string("sample")}});
  t.add("slope", "s-1", "trend, in the trace's unit per second", column(list, [](const auto& i) { return i.thing->slope_per_s; }));
  t.add("slope_sigma", "s-1", "one standard deviation of the trend", column(list, [](const auto& i) { return i.thing->slope_sigma; }));
  t.move_to(record);
  Table samples("sample", "sample_");
  samples.add("time", "s", "time of each sample", time);
  samples.add("value", "1", "value in the unit of trace_unit", value, {{"units_from", std::string("trace_unit")}});
  samples.move_to(record);
}

void add_tracks(const Measurement& m, io::Record& record) {
  std::vector<InShot<metrics::Track>> list;
  for (std::size_t s = 0; s < m.film.shots.size(); ++s)
    for (const metrics::Track& track : m.film.shots[s].tracks) list.push_back({static_cast<int64_t>(s), &track});
  std::vector<int64_t> begin, count;
  std::vector<double> time, x, y, area;
  for (const auto& i : list) {
    begin.push_back(static_cast<int64_t>(time.size()));
    count.push_back(i.thing->num_frames());
    time.insert(time.end(), i.thing->time_s.begin(), i.thing->time_s.end());
    x.insert(x.end(), i.thing->x_px.begin(), i.thing->x_px.end());
    y.insert(y.end(), i.thing->y_px.begin(), i.thing->y_px.end());
    area.insert(area.end(), i.thing->area_px.begin(), i.thing->area_px.end());
  }
  Table t("track", "track_");
  t.add("shot", "1", "shot, from 0", column(list, [](const auto& i) { return i.shot; }));
  t.add("name", "", "colour or number", column(list, [](const auto& i) { return i.thing->name; }));
  t.add("begin", "1", "first point", begin);
  t.add("count", "1", "number of points: one for each frame of the shot", count, {{"sample_dimension", std::string("point")}});
  t.add("sigma", "1", "standard deviation of one coordinate, pixels", column(list, [](const auto& i) { return i.thing->sigma_px; }));
  t.move_to(record);
  Table points("point", "point_");
  points.add("time", "s", "time of the frame", time);
  points.add("x", "1", "centroid, pixels to the right, camera motion removed; NaN: not seen", x);
  points.add("y", "1", "centroid, pixels down, camera motion removed; NaN: not seen", y);
  points.add("area", "1", "area, square pixels", area);
  points.move_to(record);
}

void add_events(const Measurement& m, io::Record& record) {
  const auto list = all(m, &metrics::Findings::events);
  Table t("event", "event_");
  t.add("shot", "1", "shot, from 0", column(list, [](const auto& i) { return i.shot; }));
  t.add("id", "", "what law it belongs to", column(list, [](const auto& i) { return i.thing->id; }));
  t.add("object", "", "track", column(list, [](const auto& i) { return i.thing->object; }));
  t.add("frame", "1", "first frame that shows it, in the shot", column(list, [](const auto& i) { return i.thing->frame; }));
  t.add("time", "s", "when", column(list, [](const auto& i) { return i.thing->time_s; }));
  t.add("x", "1", "where, pixels to the right", column(list, [](const auto& i) { return i.thing->x_px; }));
  t.add("y", "1", "where, pixels down", column(list, [](const auto& i) { return i.thing->y_px; }));
  t.add("text", "", "in words", column(list, [](const auto& i) { return i.thing->text; }));
  t.move_to(record);
}

void add_shots(const Measurement& m, io::Record& record) {
  const auto& list = m.film.shots;
  Table t("shot", "shot_");
  t.add("first_frame", "1", "first frame of the shot", column(list, [](const auto& s) { return s.first_frame; }));
  t.add("num_frames", "1", "frames", column(list, [](const auto& s) { return s.num_frames; }));
  t.add("begin", "s", "time of the first frame", column(list, [](const auto& s) { return s.begin_s; }));
  t.add("end", "s", "time of the last frame", column(list, [](const auto& s) { return s.end_s; }));
  t.add("refusal", "", "why the shot could not be measured", column(list, [](const auto& s) { return s.refusal; }));
  t.move_to(record);
}

/// One number per law, for a first look.
bool in_brief(const std::string& id) {
  static const std::set<std::string> ids{"F1.g_eff",   "F1.a",    "F2.exponent", "F4.ratio",   "F5.e_v",     "U1.drift", "C1.momentum",
                                         "P1.period",  "O1.missing", "O2.teleports", "O3.births", "R1.cv",   "B1.shift", "B2.rms",
                                         "B4.boil",    "B5.flicker", "B6.warp",   "PW.velocity", "PW.velocity_copy"};
  return ids.contains(id);
}

}  // namespace

io::Record measurement_record(const Measurement& m) {
  io::Record record;
  add_metrics(m, record);
  add_traces(m, record);
  add_tracks(m, record);
  add_events(m, record);
  add_shots(m, record);
  io::Attributes& root = record.groups["/"];
  root["title"] = "measurement of " + m.film.name;
  root["kind"] = std::string("measure");
  root["suite_version"] = int64_t{metrics::suite_version};
  root["source_sha256"] = m.source_sha256;
  root["task_id"] = m.task_id;
  root["reference"] = m.reference;
  root["status"] = std::string("complete");
  root["date_created"] = iso_date();
  root["source"] = program_name();
  io::Attributes& result = record.groups["/result"];
  result["width_px"] = m.film.width_px;
  result["height_px"] = m.film.height_px;
  result["num_frames"] = m.film.num_frames;
  result["duration_s"] = m.film.duration_s;
  result["dt_min_s"] = m.film.dt_min_s;
  result["dt_median_s"] = m.film.dt_median_s;
  result["dt_max_s"] = m.film.dt_max_s;
  if (m.floors.size_px > 0) {
    result["floors_size_px"] = m.floors.size_px;
    result["floors_codec"] = m.floors.codec;
  }
  result["num_duplicate_frames"] = static_cast<int64_t>(m.film.duplicate_frames.size());
  return record;
}

std::string measurement_json(const Measurement& m) {
  const auto metric_json = [&](const metrics::Metric& v) {
    ordered_json j{{"id", v.id}, {"name", v.name}, {"value", number(v.value)}, {"sigma", number(v.sigma)}, {"unit", v.unit},
                   {"n", v.n}, {"aspect", word(v.aspect)}, {"better", word(v.better)}};
    if (!v.object.empty()) j["object"] = v.object;
    if (const double floor = floor_of(m, v.id); std::isfinite(floor)) j["floor"] = floor;
    if (!v.given()) j["refusal"] = v.refusal;
    return j;
  };
  const auto findings = [&](const metrics::Findings& f, ordered_json& to) {
    to["metrics"] = ordered_json::array();
    for (const auto& v : f.metrics) to["metrics"].push_back(metric_json(v));
    to["trends"] = ordered_json::array();
    for (const auto& t : f.traces)
      to["trends"].push_back({{"id", t.id}, {"name", t.name}, {"slope_per_s", number(t.slope_per_s)}, {"sigma", number(t.slope_sigma)}, {"unit", t.unit}});
    to["events"] = ordered_json::array();
    for (const auto& e : f.events)
      to["events"].push_back({{"id", e.id}, {"object", e.object}, {"frame", e.frame}, {"time_s", e.time_s}, {"x_px", number(e.x_px)}, {"y_px", number(e.y_px)}, {"text", e.text}});
  };
  ordered_json j{{"film", m.film.name}, {"suite_version", metrics::suite_version}, {"source_sha256", m.source_sha256},
                 {"width_px", m.film.width_px}, {"height_px", m.film.height_px}, {"num_frames", m.film.num_frames},
                 {"duration_s", m.film.duration_s}, {"duplicate_frames", m.film.duplicate_frames}, {"shots", ordered_json::array()}};
  if (m.floors.size_px > 0) j["floors"] = {{"size_px", m.floors.size_px}, {"codec", m.floors.codec}};
  if (!m.task_id.empty()) j["task_id"] = m.task_id;
  for (const metrics::ShotReport& s : m.film.shots) {
    ordered_json shot{{"first_frame", s.first_frame}, {"num_frames", s.num_frames}, {"begin_s", s.begin_s}, {"end_s", s.end_s}};
    if (!s.refusal.empty()) shot["refusal"] = s.refusal;
    findings(s.findings, shot);
    j["shots"].push_back(std::move(shot));
  }
  if (!m.reference.empty()) {
    j["paired"] = {{"reference", m.reference}};
    findings(m.paired, j["paired"]);
  }
  return j.dump(2, ' ', false, ordered_json::error_handler_t::replace);
}

std::string measurement_text(const Measurement& m, bool brief) {
  std::string out = fmt::format("{}: {} x {} pixels, {} frames, {:.3f} s, {} shot(s)\n", m.film.name, m.film.width_px, m.film.height_px,
                                m.film.num_frames, m.film.duration_s, m.film.shots.size());
  if (m.floors.size_px > 0) out += fmt::format("  floors: what clean clips of {} px give, {}\n", m.floors.size_px, m.floors.codec == "clean" ? "without a codec" : "after H.264 at " + m.floors.codec);
  const auto lines = [&](const metrics::Findings& f) {
    std::vector<std::pair<std::string, std::string>> refusals;  // reason, and all that it refuses
    std::size_t num_refused = 0;
    for (const auto& v : f.metrics) {
      num_refused += !v.given();
      if (brief && (!v.given() || !in_brief(v.id))) continue;
      const std::string label = v.object.empty() ? v.id : fmt::format("{} ({})", v.id, v.object);
      if (!v.given()) {
        const auto same = std::find_if(refusals.begin(), refusals.end(), [&](const auto& r) { return r.first == v.refusal; });
        if (same == refusals.end())
          refusals.emplace_back(v.refusal, label);
        else
          same->second += ", " + label;
        continue;
      }
      const std::string sigma = std::isfinite(v.sigma) ? fmt::format("+- {:.2g}", v.sigma) : "";
      const double floor = floor_of(m, v.id);
      out += fmt::format("  {:<26} {:>12.5g} {:<10} {:<8} n {:<6} {}{}\n", label, v.value, sigma, v.unit == "1" ? "" : v.unit, v.n, v.name,
                         std::isfinite(floor) ? fmt::format("; floor {:.2g}", floor) : "");
    }
    for (const auto& e : f.events) out += fmt::format("  event {:<20} frame {:<6} {:.3f} s  {}\n", e.id, e.frame, e.time_s, e.text);
    if (brief && !f.metrics.empty())
      out += fmt::format("  {} numbers in all, {} refused with their reason: see the side file\n", f.metrics.size(), num_refused);
    for (const auto& [reason, what] : refusals) out += fmt::format("  not measured, {}: {}\n", reason, what);
  };
  for (std::size_t s = 0; s < m.film.shots.size(); ++s) {
    const metrics::ShotReport& shot = m.film.shots[s];
    if (m.film.shots.size() > 1) out += fmt::format("shot {}: frames {} to {}\n", s, shot.first_frame, shot.first_frame + shot.num_frames - 1);
    if (!shot.refusal.empty()) out += fmt::format("  refused: {}\n", shot.refusal);
    lines(shot.findings);
  }
  if (!m.reference.empty()) {
    out += fmt::format("against {}\n", m.reference);
    lines(m.paired);
  }
  return out;
}

}  // namespace reel::study
