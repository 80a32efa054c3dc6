#include "study/stopping.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "core/error.hpp"
#include "core/stop.hpp"
#include "study/toml_reader.hpp"

namespace reel::study {
namespace {

std::optional<double> number(const char* text) {
  if (text == nullptr || *text == '\0') return {};
  char* end = nullptr;
  const double value = std::strtod(text, &end);
  return *end == '\0' && std::isfinite(value) && value > 0 ? std::optional(value) : std::nullopt;
}

// Slurm before 23.02 tells the job's end only when asked.
std::optional<double> ask_squeue() {
  const char* job = std::getenv("SLURM_JOB_ID");
  if (!number(job)) return {};
  std::FILE* const pipe = popen(fmt::format("exec timeout -s KILL 10 squeue -h -j {} -o %e 2>/dev/null", job).c_str(), "re");
  if (pipe == nullptr) return {};
  std::array<char, 64> text{};
  const std::size_t size = std::fread(text.data(), 1, text.size() - 1, pipe);
  pclose(pipe);
  std::string line(text.data(), size);
  return parse_local_time(line.substr(0, line.find('\n')));
}

}  // namespace

double unix_now_s() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

double parse_duration_s(const std::string& text, const std::string& where) {
  if (const auto seconds = parse_seconds(text)) return *seconds;
  throw Error(Exit::usage, fmt::format("'{}' is no time", text), where, "write for example \"2 h\"   units: ms, s, min, h");
}

std::optional<double> parse_local_time(const std::string& text) {
  std::tm time{};
  const char* end = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &time);
  if (end == nullptr || *end != '\0') return {};
  time.tm_isdst = -1;
  const std::time_t seconds = std::mktime(&time);
  return seconds > 0 ? std::optional(static_cast<double>(seconds)) : std::nullopt;
}

std::optional<EndTime> end_time(std::optional<double> walltime_s, double start_unix_s) {
  if (walltime_s) return EndTime{start_unix_s + *walltime_s, "--walltime"};
  if (const char* text = std::getenv("REEL_END_TIME")) {
    const auto value = number(text);
    if (!value) throw Error(Exit::usage, fmt::format("'{}' is no time", text), "REEL_END_TIME", "give Unix seconds: $(date -d '+2 hours' +%s)");
    return EndTime{*value, "REEL_END_TIME"};
  }
  if (const auto value = number(std::getenv("SLURM_JOB_END_TIME"))) return EndTime{*value, "SLURM_JOB_END_TIME"};
  if (const auto value = ask_squeue()) return EndTime{*value, "squeue"};
  return {};
}

Stopping::Stopping(Options options, bool looks, double start_unix_s)
    : options_(std::move(options)), looks_(looks), end_(looks ? end_time(options_.walltime_s, start_unix_s) : std::nullopt), last_(unix_now_s()) {}

std::string Stopping::reason(double save_s) {
  const double now = unix_now_s();
  longest_s_ = std::max(longest_s_, now - last_);
  last_ = now;
  ++steps_;
  if (stop_signal != 0) return fmt::format("signal {} ({})", static_cast<int>(stop_signal), strsignal(stop_signal));
  if (!looks_) return {};
  if (options_.after_steps > 0 && steps_ >= options_.after_steps) return fmt::format("{} step(s) done, as --stop-after asks", steps_);
  std::error_code ignored;
  if (!options_.stop_file.empty() && std::filesystem::exists(options_.stop_file, ignored))
    return fmt::format("'{}' is there", options_.stop_file.string());
  // The next step may take half as long again as any before; then the state is saved, and the program ends.
  if (end_ && now + 1.5 * longest_s_ + 2 * save_s + 5 > end_->unix_s)
    return fmt::format("{:.0f} s are left ({})", std::max(0.0, end_->unix_s - now), end_->source);
  return {};
}

}  // namespace reel::study
