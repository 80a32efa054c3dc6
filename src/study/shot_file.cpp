#include "study/shot_file.hpp"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "study/experiment.hpp"
#include "study/shot_numbers.hpp"

namespace reel::study {
namespace {

using cost::Alternative;
using cost::Line;
using cost::Number;
using cost::Unit;

class ShotReader {
 public:
  ShotReader(TomlDocument& document, const std::filesystem::path& file, const cost::RateBook& rates, const Measured& measured, const ShotOptions& options)
      : root_(document.root()), file_(file), rates_(rates), measured_(measured), options_(options), numbers_(shot_, rates, measured) {}

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
    if (!cost::is_currency(shot_.currency.code))
      root_.error("currency", fmt::format("unknown currency '{}'", plain(shot_.currency.code, 80)), "three capital letters of ISO 4217");
    own_year_ = shot_.currency.year;
    override_with_options();
    shot_.specification = specification(root_.table("specification"));
    for (TableReader row : root_.tables("number")) numbers_.read(row, file_, own_year_);
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
        for (TableReader row : root.tables("number")) numbers_.read(row, ways_file_, own_year_);
        for (TableReader* from : {&root, &generate}) {
          append(setup_, lines(*from, "setup", true, ""));
          append(attempt_, lines(*from, "attempt", true, ""));
          append(post_, lines(*from, "post", true, ""));
        }
        shared_missing_ = numbers_.missing;
        first_shared_ = tables.size();
        for (const TableReader& t : root.tables("alternative")) tables.push_back(t);
      }
    }
    if (tables.empty()) root_.error("alternative", "no [[alternative]] in this file", "a shot needs at least one way to get it");
    // Names first: an alternative may refer to a later one.
    for (TableReader& t : tables) {
      t.require("name");
      const std::string name = t.text("name");
      if (t.has("name") && name.empty()) t.error("name", "the name is empty", "a word by which others refer to it");
      if (std::find(names_.begin(), names_.end(), name) != names_.end())
        t.error("name", fmt::format("alternative '{}' is there twice", name), "give each its own name");
      names_.push_back(name);
    }
    std::vector<std::string> reasons(names_.size());
    for (std::size_t i = 0; i < tables.size(); ++i) {
      read_.emplace_back();
      if (std::find(options_.without.begin(), options_.without.end(), names_[i]) != options_.without.end())
        reasons[i] = "left out as asked";
      numbers_.missing.clear();
      read_.back() = alternative(tables[i], i);
      if (!numbers_.missing.empty() && reasons[i].empty()) reasons[i] = fmt::format("needs {}, which no result here tells", numbers_.missing);
    }
    for (const std::string& name : options_.without)
      if (std::find(names_.begin(), names_.end(), name) == names_.end())
        throw Error(Exit::usage, fmt::format("the shot has no alternative '{}'", name), "cost.without",
                    fmt::format("it has: {}", fmt::join(names_, ", ")));
    keep(reasons, tables);
    return std::move(shot_);
  }

  /// Tells the findings in the file of ways; after those in the shot's own, from which they may follow.
  void finish_ways() {
    if (ways_) ways_->finish();
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

  void override_with_options() {
    if (!options_.currency.empty() && !cost::is_currency(options_.currency))
      throw Error(Exit::usage, fmt::format("unknown currency '{}'", plain(options_.currency, 80)), "cost.currency", "three capital letters of ISO 4217");
    if (!options_.date.empty() && !cost::is_date(options_.date))
      throw Error(Exit::usage, fmt::format("'{}' is not a date", plain(options_.date, 80)), "cost.date", "write for example 2026-11-22");
    if (!options_.currency.empty()) shot_.currency.code = options_.currency;
    if (options_.year != 0) shot_.currency.year = options_.year;
    if (!options_.date.empty()) shot_.date = options_.date;
    if (!options_.region.empty()) shot_.region = options_.region;
  }

  // "6 h": the unit, and 6 in `value`.
  Unit amount(TableReader& t, const std::string& text, double& value) {
    const std::size_t space = text.find(' ');
    const auto [end, failure] = std::from_chars(text.data(), text.data() + space, value);
    if (failure != std::errc() || end != text.data() + space || !(value >= 0 && value <= 1e12)) {
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

  // `wanted`: what the line must come to, "" for money.
  Line line(TableReader& t, bool generated, const std::string& wanted) {
    Line l;
    t.require("rate", "id of a card's row or of a [[number]]");
    const std::string id = t.text("rate");
    if (!id.empty())
      if (const auto rate = numbers_.find(t, "rate", id)) l.times.push_back(*rate);
    const bool found = !l.times.empty();
    const cost::Rate* row = numbers_.row_of(id);
    l.item = t.text("item", row ? row->item : found ? shot_.numbers[l.times.front()].item : id);
    l.account = t.text("account", row ? row->account : "");
    check_account(t, "account", l.account);
    l.effect = std::map<std::string, cost::Effect>{{"displaced", cost::Effect::displaced}, {"left", cost::Effect::left}, {"added", cost::Effect::added}}
        [t.choice("effect", generated ? "added" : "displaced", {"displaced", "left", "added"})];
    l.generation = t.flag("generation", false);
    const std::string fringe = t.text("fringe", row ? row->fringe : "");
    if (!fringe.empty() && fringe != "none") l.fringe = numbers_.share(t, "fringe", fringe);
    Unit unit = found ? shot_.numbers[l.times.front()].unit : Unit();
    double bare = 1;
    if (const std::string quantity = t.is_text("quantity") ? t.text("quantity") : ""; quantity.find(' ') != std::string::npos) {
      unit = unit * amount(t, quantity, bare);
    } else if (!quantity.empty()) {
      if (const auto j = numbers_.find(t, "quantity", quantity)) {
        l.times.push_back(*j);
        unit = unit * shot_.numbers[*j].unit;
      }
    } else if (t.has("quantity")) {
      bare = t.number("quantity", 1, 0, 1e12);
    }
    for (std::size_t j : numbers_.find_all(t, "times")) l.times.push_back(j), unit = unit * shot_.numbers[j].unit;
    for (std::size_t j : numbers_.find_divisors(t)) l.over.push_back(j), unit = unit / shot_.numbers[j].unit;
    if (!found || !numbers_.missing.empty()) return l;
    // Money in it is of the year of whatever gives it.
    const std::string currency = unit.currency();
    int year = own_year_;
    for (std::size_t j : l.times)
      if (const cost::Rate* priced = numbers_.row_of(shot_.numbers[j].id); priced && !shot_.numbers[j].unit.currency().empty()) year = priced->year;
    // A bare quantity is a number of whatever the rate is paid for; hours and kilowatt-hours are said.
    const Unit rest = unit / Unit::parse(wanted.empty() ? currency.empty() ? shot_.currency.code : currency : wanted);
    if (!rest.per_things())
      t.error(t.has("quantity") ? "quantity" : "rate", fmt::format("the line comes to {}, not to {}", unit.text(), wanted.empty() ? "money" : wanted),
              "check the units of rate, quantity, times and over; a quantity of time is written as \"6 h\"");
    l.factor = bare * rest.factor();
    if (wanted.empty() && !currency.empty()) {
      try {
        l.exchange = rates_.prices.factor({currency, year}, shot_.currency);
        l.factor *= l.exchange;
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
    part.times = numbers_.find_all(t, "times");
    part.over = numbers_.find_divisors(t);
    if (t.has("days")) {
      TableReader days = t.table("days");
      const auto one = [&](const std::string& key) {
        days.require(key);
        const auto j = numbers_.find(days, key, days.text(key));
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
          numbers_.missing = "a rendered take";
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

  // What the kind of an alternative has no use for would otherwise be passed over in silence.
  static void refuse_strangers(TableReader& t, bool generated, bool is_part) {
    const auto refuse = [&](std::initializer_list<const char*> keys, const char* why, const char* note) {
      for (const char* key : keys)
        if (t.has(key)) t.error(key, fmt::format("'{}' {}", t.name(key), why), note);
    };
    if (generated)
      refuse({"line", "part_of"}, "belongs to what is not generated", "a generated one has setup, attempt and post");
    else
      refuse({"setup", "attempt", "post", "acceptance", "cap", "fallback"}, "belongs to what is generated", "kind = \"generated\", or [[alternative.line]]");
    if (!is_part) refuse({"times", "over", "days"}, "belongs to a part of another alternative", "name that one: part_of");
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
    const bool generated = a.generated();
    if (t.has("kind")) refuse_strangers(t, generated, t.has("part_of"));
    unmet(t, a);
    for (const std::string& id : t.has("surcharges") ? t.texts("surcharges", {}) : std::vector<std::string>{})
      surcharge(t, "surcharges", id, 1, a);
    if (t.has("credit")) surcharge(t, "credit", t.text("credit"), -1, a);
    if (t.has("part_of")) part(t, a);
    const std::string before = std::exchange(numbers_.missing, "");
    a.energy = lines(t, "energy", generated, "kWh");
    a.carbon = lines(t, "carbon", generated, "kgCO2e");
    energy_missing_.push_back(numbers_.missing);
    if (t.has("energy_of")) {
      const auto other = by_name(t, "energy_of");
      if (other && *other >= index) t.error("energy_of", fmt::format("'{}' comes later", names_[*other]), "name an alternative above this one");
      if (other && *other < index) a.energy = read_[*other].energy, a.carbon = read_[*other].carbon, energy_missing_.back() = energy_missing_[*other];
    }
    numbers_.missing = before.empty() ? energy_missing_.back() : before;
    if (!generated) {
      a.setup = lines(t, "line", false, "");
      if (a.setup.empty() && !t.has("part_of") && numbers_.missing.empty()) t.error("line", "no [[alternative.line]] and no part_of", "say what it costs");
    } else {
      if (index >= first_shared_) {
        a.setup = setup_, a.attempt = attempt_, a.post = post_;
        screen(t, a.attempt);
        if (numbers_.missing.empty()) numbers_.missing = shared_missing_;
      }
      append(a.setup, lines(t, "setup", true, ""));
      append(a.attempt, lines(t, "attempt", true, ""));
      append(a.post, lines(t, "post", true, ""));
      if (acceptance_.empty())
        for (const char* key : {"acceptance", "cap", "fallback"}) t.require(key);
      a.cap = t.integer("cap", cap_, 1, 1'000'000);
      a.fallback = by_name(t, "fallback", fallback_);
      acceptance(t, a);
      if (a.attempt.empty() && numbers_.missing.empty()) t.error("attempt", "no [[alternative.attempt]]", "say what one take costs");
    }
    return a;
  }

  void surcharge(TableReader& t, const std::string& key, const std::string& id, double sign, Alternative& a) {
    const auto j = numbers_.share(t, key, id);
    if (!j) return;
    const cost::Rate* row = numbers_.row_of(id);
    a.surcharges.push_back({row ? row->account : "", shot_.numbers[*j].item, *j, sign});
  }

  // People see what gates let through. Without gates they see every take, so what no result tells is left out.
  void screen(TableReader& t, std::vector<Line>& seen) {
    if (!t.has("screened")) return;
    const std::string before = std::exchange(numbers_.missing, "");
    const std::vector<std::size_t> shares = numbers_.find_all(t, "screened");
    if (std::exchange(numbers_.missing, before).empty())
      for (Line& l : seen) l.times.insert(l.times.end(), shares.begin(), shares.end());
  }

  void acceptance(TableReader& t, Alternative& a) {
    const std::vector<std::string> ids = t.texts("acceptance", acceptance_);
    const std::string before = numbers_.missing;
    for (const std::string& id : ids)
      if (const auto j = numbers_.share(t, "acceptance", id)) {
        a.acceptance = *j;
        numbers_.missing = before;  // an earlier one may be missing
        const Number& n = shot_.numbers[*j];
        try {
          if (!n.beta) cost::beta_from_quantiles(n.spread.low, n.spread.high);
        } catch (const Error& e) {
          t.error("acceptance", fmt::format("'{}' is no uncertain probability: {}", id, e.what()), "low above 0, high above low and below 1");
        }
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
  std::string fallback_, shared_missing_;
  int own_year_ = 0;  // price year of the file's own numbers, whatever year is asked for
  const cost::RateBook& rates_;
  const Measured& measured_;
  const ShotOptions& options_;
  cost::Shot shot_;
  std::vector<std::string> names_;
  std::vector<Alternative> read_;
  ShotNumbers numbers_;
  std::vector<std::string> energy_missing_;  // what is missing for the energy of each alternative so far
};

}  // namespace

cost::Shot read_shot(const std::filesystem::path& file, const cost::RateBook& rates, const Measured& measured, const ShotOptions& options) {
  TomlDocument document(read_experiment_text(file), file.string());
  ShotReader reader(document, file, rates, measured, options);
  cost::Shot shot = reader.read();
  document.finish();
  reader.finish_ways();
  return shot;
}

}  // namespace reel::study
