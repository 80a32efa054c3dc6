#include "study/shot_file.hpp"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>

#include "study/experiment.hpp"
#include "study/rate_row.hpp"

namespace reel::study {
namespace {

using cost::Alternative;
using cost::Line;
using cost::Number;
using cost::Unit;

class ShotReader {
 public:
  ShotReader(TomlDocument& document, const std::filesystem::path& file, const cost::RateBook& rates, const Measured& measured, const ShotOptions& options)
      : root_(document.root()), file_(file), rates_(rates), measured_(measured), options_(options) {}

  cost::Shot read() {
    root_.require("shot", "version of this format: shot = 1");
    root_.integer("shot", 1, 1, 1);
    for (const char* key : {"name", "title", "date"}) root_.require(key);
    shot_.name = root_.text("name");
    shot_.title = root_.text("title");
    shot_.shot_class = root_.text("class");
    shot_.region = root_.text("region");
    shot_.currency = {root_.text("currency", "USD"), static_cast<int>(root_.integer("year", 2026, 1990, 2100))};
    shot_.date = root_.date("date");
    if (!options_.currency.empty()) shot_.currency.code = options_.currency;
    if (options_.year != 0) shot_.currency.year = options_.year;
    if (!options_.date.empty()) shot_.date = options_.date;
    if (!options_.region.empty()) shot_.region = options_.region;
    shot_.specification = specification(root_.table("specification"));
    for (TableReader row : root_.tables("number")) number(row, file_);
    std::vector<TableReader> tables = root_.tables("alternative");
    TableReader generate = root_.table("generate");
    if (generate.present()) {
      generate.require("ways", "a file with [[alternative]] tables that shots share");
      for (const char* key : {"acceptance", "cap", "fallback"}) generate.require(key);
      acceptance_ = generate.texts("acceptance", {});
      cap_ = generate.integer("cap", 1, 1, 1'000'000);
      fallback_ = generate.text("fallback");
      const std::string ways = generate.text("ways");
      if (!ways.empty()) {
        ways_file_ = (file_.parent_path() / ways).lexically_normal();
        ways_ = std::make_unique<TomlDocument>(read_experiment_text(ways_file_), ways_file_.string());
        TableReader root = ways_->root();
        root.require("ways", "version of this format: ways = 1");
        root.integer("ways", 1, 1, 1);
        for (TableReader row : root.tables("number")) number(row, ways_file_);
        for (TableReader* from : {&root, &generate}) {
          append(setup_, lines(*from, "setup", true, ""));
          append(attempt_, lines(*from, "attempt", true, ""));
          append(post_, lines(*from, "post", true, ""));
        }
        first_shared_ = tables.size();
        for (const TableReader& t : root.tables("alternative")) tables.push_back(t);
      }
    }
    if (tables.empty()) root_.error("alternative", "no [[alternative]] in this file", "a shot needs at least one way to get it");
    // Names first: an alternative may refer to a later one.
    for (TableReader& t : tables) {
      t.require("name");
      const std::string name = t.text("name");
      if (std::find(names_.begin(), names_.end(), name) != names_.end())
        t.error("name", fmt::format("alternative '{}' is there twice", name), "give each its own name");
      names_.push_back(name);
    }
    std::vector<std::string> reasons(names_.size());
    for (std::size_t i = 0; i < tables.size(); ++i) {
      read_.emplace_back();
      if (std::find(options_.without.begin(), options_.without.end(), names_[i]) != options_.without.end())
        reasons[i] = "left out as asked";
      missing_.clear();
      read_.back() = alternative(tables[i], i);
      if (!missing_.empty() && reasons[i].empty()) reasons[i] = fmt::format("needs {}, which no result here tells", missing_);
    }
    for (const std::string& name : options_.without)
      if (std::find(names_.begin(), names_.end(), name) == names_.end())
        throw Error(Exit::usage, fmt::format("the shot has no alternative '{}'", name), "cost.without",
                    fmt::format("it has: {}", fmt::join(names_, ", ")));
    keep(reasons, tables);
    if (ways_) ways_->finish();
    return std::move(shot_);
  }

 private:
  cost::Specification specification(TableReader t) {
    cost::Specification s;
    t.require("duration", "of the used shot: duration = \"5 s\"");
    t.require("size", "size = [1920, 1080]  # width, height [px]");
    s.duration_s = t.seconds("duration", 1);
    s.fps = t.number("fps", 24, 0, 1000, true);
    const auto size = t.integers("size", 2, 1, 65536);
    if (size.size() == 2) s.width_px = size[0], s.height_px = size[1];
    return s;
  }

  void number(TableReader& row, const std::filesystem::path& file) {
    const cost::Rate rate = read_rate(row, {.read = shot_.date, .year = shot_.currency.year}, file.string());
    if (shot_index_.contains(rate.id)) row.error("id", fmt::format("number '{}' is there twice", rate.id), "give each its own id");
    add(to_number(rate));
  }

  static Number to_number(const cost::Rate& rate) { return {rate.id, rate.item, rate.spread, rate.unit, rate.tier, rate.source, 0, {}}; }

  std::size_t add(Number number) {
    if (number.unit.same_kind(Unit()) && number.unit.factor() != 1) {  // per cent: shares are kept as shares
      const double f = number.unit.factor();
      number.spread.low *= f, number.spread.typical *= f, number.spread.high *= f;
      number.unit = Unit();
    }
    shot_index_[number.id] = shot_.numbers.size();
    shot_.numbers.push_back(std::move(number));
    return shot_.numbers.size() - 1;
  }

  // Nothing when the id is unknown; the finding is then in the document.
  std::optional<std::size_t> find(TableReader& t, const std::string& key, const std::string& id) {
    if (const auto it = shot_index_.find(id); it != shot_index_.end()) return it->second;
    if (id.starts_with("measured.")) {
      for (const Number& n : measured_.numbers)
        if (n.id == id) return add(n);
      static const std::vector<std::string> known{"measured.core_h", "measured.node_h", "measured.energy", "measured.acceptance"};
      if (std::find(known.begin(), known.end(), id) != known.end()) {
        missing_ = id;
        return std::nullopt;
      }
      t.error(key, fmt::format("nothing measures '{}'", id), fmt::format("known: {}", fmt::join(known, ", ")));
      return std::nullopt;
    }
    try {
      const cost::Rate& rate = rates_.at(id, shot_.date, shot_.region);
      rate_of_[id] = &rate;
      return add(to_number(rate));
    } catch (const Error& e) {
      std::vector<std::string> ids;
      for (const auto& [known, index] : shot_index_) ids.push_back(known);
      const std::string near = nearest(id, ids);
      t.error(key, e.what(), near.empty() ? e.hint() : fmt::format("did you mean '{}'?", near));
      return std::nullopt;
    }
  }

  // "6 h": the unit, and 6 in `value`.
  Unit amount(TableReader& t, const std::string& text, double& value) {
    const std::size_t space = text.find(' ');
    char* end = nullptr;
    value = std::strtod(text.c_str(), &end);
    if (end != text.c_str() + space || !(value >= 0 && value <= 1e12)) {
      t.error("quantity", fmt::format("'{}' is no quantity", plain(text, 80)), "a number and a unit: \"6 h\"");
      value = 1;
      return {};
    }
    try {
      return Unit::parse(std::string_view(text).substr(space + 1));
    } catch (const Error& e) {
      t.error("quantity", e.what(), e.hint());
      return {};
    }
  }

  std::vector<std::size_t> find_all(TableReader& t, const std::string& key) {
    std::vector<std::size_t> found;
    if (!t.has(key)) return found;
    for (const std::string& id : t.texts(key, {}))
      if (const auto j = find(t, key, id)) found.push_back(*j);
    return found;
  }

  std::vector<std::size_t> find_divisors(TableReader& t) {
    std::vector<std::size_t> found = find_all(t, "over");
    for (std::size_t j : found) {
      Number& n = shot_.numbers[j];
      if (n.spread.low < 1) t.error("over", fmt::format("'{}' may be {}: what is divided by is a count, at least 1", n.id, n.spread.low));
      n.floor = 1;
    }
    return found;
  }

  std::optional<std::size_t> share(TableReader& t, const std::string& key, const std::string& id) {
    const auto j = find(t, key, id);
    if (j && !shot_.numbers[*j].unit.same_kind(Unit())) {
      t.error(key, fmt::format("'{}' is in {}, a share is needed", id, shot_.numbers[*j].unit.text()));
      return std::nullopt;
    }
    return j;
  }

  // `wanted`: what the line must come to, "" for money.
  Line line(TableReader& t, bool generated, const std::string& wanted) {
    Line l;
    t.require("rate", "id of a card's row or of a [[number]]");
    const std::string id = t.text("rate");
    const auto rate = id.empty() ? std::nullopt : find(t, "rate", id);
    const auto row = rate_of_.find(id);
    const cost::Rate* card = row == rate_of_.end() ? nullptr : row->second;
    l.item = t.text("item", card ? card->item : rate ? shot_.numbers[*rate].item : id);
    l.account = t.text("account", card ? card->account : "");
    l.effect = std::map<std::string, cost::Effect>{{"displaced", cost::Effect::displaced}, {"left", cost::Effect::left}, {"added", cost::Effect::added}}
        [t.choice("effect", generated ? "added" : "displaced", {"displaced", "left", "added"})];
    l.generation = t.flag("generation", false);
    const std::string fringe = t.text("fringe", card ? card->fringe : "");
    if (!fringe.empty() && fringe != "none") l.fringe = share(t, "fringe", fringe);
    Unit unit;
    int year = shot_.currency.year;
    std::string currency;
    if (rate) {
      l.times.push_back(*rate);
      unit = shot_.numbers[*rate].unit;
      currency = unit.currency();
      if (card) year = card->year;
    }
    double bare = 1;
    if (const std::string quantity = t.is_text("quantity") ? t.text("quantity") : ""; quantity.find(' ') != std::string::npos) {
      unit = unit * amount(t, quantity, bare);
    } else if (!quantity.empty()) {
      if (const auto j = find(t, "quantity", quantity)) {
        l.times.push_back(*j);
        unit = unit * shot_.numbers[*j].unit;
      }
    } else if (t.has("quantity")) {
      bare = t.number("quantity", 1, 0, 1e12);
    }
    for (std::size_t j : find_all(t, "times")) l.times.push_back(j), unit = unit * shot_.numbers[j].unit;
    for (std::size_t j : find_divisors(t)) l.over.push_back(j), unit = unit / shot_.numbers[j].unit;
    if (!rate || !missing_.empty()) return l;
    // A bare quantity is a number of whatever the rate is paid for; hours and kilowatt-hours are said.
    const Unit rest = unit / Unit::parse(wanted.empty() ? currency.empty() ? shot_.currency.code : currency : wanted);
    if (!rest.per_things())
      t.error(t.has("quantity") ? "quantity" : "rate", fmt::format("the line comes to {}, not to {}", unit.text(), wanted.empty() ? "money" : wanted),
              "check the units of rate, quantity, times and over; a quantity of time is written as \"6 h\"");
    l.factor = bare * rest.factor();
    if (wanted.empty() && !currency.empty()) {
      try {
        l.factor *= rates_.prices.factor({currency, year}, shot_.currency);
      } catch (const Error& e) {
        t.error("rate", e.what(), e.hint());
      }
    }
    return l;
  }

  static void append(std::vector<Line>& to, const std::vector<Line>& from) { to.insert(to.end(), from.begin(), from.end()); }

  std::vector<Line> lines(TableReader& t, const std::string& key, bool generated, const std::string& wanted) {
    std::vector<Line> found;
    for (TableReader& l : t.tables(key)) found.push_back(line(l, generated, wanted));
    return found;
  }

  std::optional<std::size_t> by_name(TableReader& t, const std::string& key, const std::string& otherwise = {}) {
    const std::string name = t.text(key, otherwise);
    const auto it = std::find(names_.begin(), names_.end(), name);
    if (it != names_.end()) return static_cast<std::size_t>(it - names_.begin());
    const std::string near = nearest(name, names_);
    t.error(key, fmt::format("no alternative '{}'", name), near.empty() ? fmt::format("there are: {}", fmt::join(names_, ", ")) : fmt::format("did you mean '{}'?", near));
    return std::nullopt;
  }

  void part(TableReader& t, Alternative& a) {
    cost::PartOf part;
    const auto whole = by_name(t, "part_of");
    if (!whole) return;
    part.alternative = *whole;
    part.times = find_all(t, "times");
    part.over = find_divisors(t);
    if (t.has("days")) {
      TableReader days = t.table("days");
      const auto one = [&](const std::string& key) {
        days.require(key);
        const auto j = find(days, key, days.text(key));
        return j.value_or(0);
      };
      part.days = cost::PartOf::Days{one("setups"), one("replaced"), one("per_day")};
    }
    a.part_of = part;
  }

  void unmet(TableReader& t, Alternative& a) {
    a.unmet = t.text("unmet");
    cost::Specification gives = shot_.specification;
    if (t.has("gives") && t.is_text("gives")) {
      if (t.choice("gives", "measured", {"measured"}) == "measured") {
        if (measured_.gives)
          gives = *measured_.gives;
        else
          missing_ = "a rendered take";
      }
    } else if (t.has("gives")) {
      TableReader g = t.table("gives");
      gives.duration_s = g.seconds("duration", gives.duration_s);
      if (g.has("size"))
        if (const auto size = g.integers("size", 2, 1, 65536); size.size() == 2) gives.width_px = size[0], gives.height_px = size[1];
    }
    const cost::Specification& s = shot_.specification;
    const auto fail = [&](const std::string& why) { a.unmet += (a.unmet.empty() ? "" : "; ") + why; };
    if (gives.width_px < s.width_px || gives.height_px < s.height_px)
      fail(fmt::format("{} x {} pixels instead of {} x {}", gives.width_px, gives.height_px, s.width_px, s.height_px));
    if (gives.duration_s < s.duration_s) fail(fmt::format("{:.3g} s instead of {:.3g} s", gives.duration_s, s.duration_s));
    a.generated_s = gives.duration_s;
  }

  Alternative alternative(TableReader& t, std::size_t index) {
    Alternative a;
    a.name = names_[index];
    for (const char* key : {"title", "kind"}) t.require(key);
    a.title = t.text("title");
    a.condition = t.text("condition");
    using Kind = Alternative::Kind;
    a.kind = std::map<std::string, Kind>{{"shoot", Kind::shoot}, {"licence", Kind::licence}, {"vfx", Kind::vfx}, {"generated", Kind::generated}}
        [t.choice("kind", "shoot", {"shoot", "licence", "vfx", "generated"})];
    const bool generated = a.kind == Kind::generated;
    unmet(t, a);
    for (const std::string& id : t.has("surcharges") ? t.texts("surcharges", {}) : std::vector<std::string>{})
      surcharge(t, "surcharges", id, 1, a);
    if (t.has("credit")) surcharge(t, "credit", t.text("credit"), -1, a);
    if (t.has("part_of")) part(t, a);
    a.energy = lines(t, "energy", generated, "kWh");
    a.carbon = lines(t, "carbon", generated, "kgCO2e");
    if (t.has("energy_of")) {
      const auto other = by_name(t, "energy_of");
      if (other && *other >= index) t.error("energy_of", fmt::format("'{}' comes later", names_[*other]), "name an alternative above this one");
      if (other && *other < index) a.energy = read_[*other].energy, a.carbon = read_[*other].carbon;
    }
    if (!generated) {
      a.setup = lines(t, "line", false, "");
      if (a.setup.empty() && !a.part_of && missing_.empty()) t.error("line", "no [[alternative.line]] and no part_of", "say what it costs");
    } else {
      if (index >= first_shared_) a.setup = setup_, a.attempt = attempt_, a.post = post_;
      append(a.setup, lines(t, "setup", true, ""));
      append(a.attempt, lines(t, "attempt", true, ""));
      append(a.post, lines(t, "post", true, ""));
      if (acceptance_.empty())
        for (const char* key : {"acceptance", "cap", "fallback"}) t.require(key);
      a.cap = t.integer("cap", cap_, 1, 1'000'000);
      a.fallback = by_name(t, "fallback", fallback_);
      acceptance(t, a);
      if (a.attempt.empty() && missing_.empty()) t.error("attempt", "no [[alternative.attempt]]", "say what one take costs");
    }
    return a;
  }

  void surcharge(TableReader& t, const std::string& key, const std::string& id, double sign, Alternative& a) {
    const auto j = share(t, key, id);
    if (!j) return;
    const auto row = rate_of_.find(id);
    a.surcharges.push_back({row == rate_of_.end() ? "" : row->second->account, shot_.numbers[*j].item, *j, sign});
  }

  void acceptance(TableReader& t, Alternative& a) {
    const std::vector<std::string> ids = t.texts("acceptance", acceptance_);
    const std::string before = missing_;
    for (const std::string& id : ids)
      if (const auto j = share(t, "acceptance", id)) {
        a.acceptance = *j;
        missing_ = before;  // an earlier one may be missing
        return;
      }
  }

  // Drops what cannot be had, and what needs it.
  void keep(std::vector<std::string>& reasons, std::vector<TableReader>& tables) {
    std::vector<Alternative>& read = read_;
    for (bool changed = true; changed;) {
      changed = false;
      for (std::size_t i = 0; i < read.size(); ++i) {
        if (!reasons[i].empty()) continue;
        for (const auto& needed : {read[i].fallback, read[i].part_of ? std::optional(read[i].part_of->alternative) : std::nullopt})
          if (needed && !reasons[*needed].empty() && reasons[i].empty()) {
            reasons[i] = fmt::format("needs '{}', which is not there", names_[*needed]);
            changed = true;
          }
      }
    }
    std::vector<std::size_t> place(read.size());
    for (std::size_t i = 0; i < read.size(); ++i) {
      place[i] = shot_.alternatives.size();
      if (reasons[i].empty())
        shot_.alternatives.push_back(std::move(read[i]));
      else
        shot_.dropped.push_back(fmt::format("{}: {}", names_[i], reasons[i]));
    }
    for (Alternative& a : shot_.alternatives) {
      if (a.fallback) a.fallback = place[*a.fallback];
      if (a.part_of) a.part_of->alternative = place[a.part_of->alternative];
    }
    try {
      cost::order_of(shot_);
    } catch (const Error& e) {
      if (!tables.empty()) tables.front().error("name", e.what(), e.hint());
    }
  }

  TableReader root_;
  std::filesystem::path file_, ways_file_;
  std::unique_ptr<TomlDocument> ways_;  // alternatives that shots share
  std::size_t first_shared_ = std::numeric_limits<std::size_t>::max();  // alternatives from here on are of `ways_`
  std::vector<Line> setup_, attempt_, post_;                            // what all of them have
  std::vector<std::string> acceptance_;
  std::int64_t cap_ = 1;
  std::string fallback_;
  const cost::RateBook& rates_;
  const Measured& measured_;
  const ShotOptions& options_;
  cost::Shot shot_;
  std::vector<std::string> names_;
  std::vector<Alternative> read_;
  std::string missing_;  // what the alternative that is being read needs and no result tells
  std::map<std::string, std::size_t> shot_index_;
  std::map<std::string, const cost::Rate*> rate_of_;
};

}  // namespace

cost::Shot read_shot(const std::filesystem::path& file, const cost::RateBook& rates, const Measured& measured, const ShotOptions& options) {
  TomlDocument document(read_experiment_text(file), file.string());
  cost::Shot shot = ShotReader(document, file, rates, measured, options).read();
  document.finish();
  return shot;
}

}  // namespace reel::study
