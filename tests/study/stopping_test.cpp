// When a run stops: who says so, and who is asked first.
#include "study/stopping.hpp"

#include <csignal>
#include <ctime>
#include <limits>
#include <thread>

#include "../io/temp_dir.hpp"
#include "core/stop.hpp"

namespace reel::study {
namespace {

using test::error_of;
using test::expect_contains;

// A variable of the environment for as long as it lives; nullptr: not set.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    set(value);
  }
  ~Environment() { set(before_ ? before_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) {
    if (value)
      ::setenv(name_, value, 1);
    else
      ::unsetenv(name_);
    ::tzset();
  }
  const char* name_;
  std::optional<std::string> before_;
};

class Stops : public test::TempDir {
 protected:
  void TearDown() override {
    stop_signal = 0;
    test::TempDir::TearDown();
  }
  // A squeue that says `text` and notes that it was asked.
  std::string fake_squeue(const std::string& text) {
    const auto path = put("squeue", "#!/bin/sh\necho \"$@\" >> \"" + (dir / "asked").string() + "\"\necho '" + text + "'\n");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    const char* before = std::getenv("PATH");
    return dir.string() + ":" + (before ? before : "");
  }
  static std::string reason_of(Stopping::Options options, double save_s = 0) { return Stopping(std::move(options), true, unix_now_s()).reason(save_s); }

  const Environment reel_{"REEL_END_TIME", nullptr}, slurm_{"SLURM_JOB_END_TIME", nullptr}, job_{"SLURM_JOB_ID", nullptr};
};

double utc(int year, int month, int day, int hour, int minute) {
  std::tm t{};
  t.tm_year = year - 1900, t.tm_mon = month - 1, t.tm_mday = day, t.tm_hour = hour, t.tm_min = minute;
  return static_cast<double>(timegm(&t));
}

TEST_F(Stops, ReadLocalTimes) {
  {
    const Environment zone("TZ", "UTC0");
    EXPECT_EQ(parse_local_time("2026-11-26T02:10:00"), utc(2026, 11, 26, 2, 10));
    EXPECT_EQ(parse_local_time("2000-02-29T23:59:00"), utc(2000, 2, 29, 23, 59));
  }
  const Environment zone("TZ", "CET-1CEST,M3.5.0,M10.5.0/3");
  EXPECT_EQ(parse_local_time("2026-11-26T02:10:00"), utc(2026, 11, 26, 1, 10));
  EXPECT_EQ(parse_local_time("2026-07-01T12:00:00"), utc(2026, 7, 1, 10, 0));
  for (const char* text : {"", "N/A", "NONE", "Unknown", "2026-11-26", "2026-11-26 02:10:00", "2026-11-26T02:10", "2026-11-26T02:10:00Z",
                           "2026-13-26T02:10:00", "2026-11-26T25:10:00", "T", "1901-01-01T00:00:00", "2026-11-26T02:10:00\n"})
    EXPECT_FALSE(parse_local_time(text)) << text;
}

TEST_F(Stops, ReadDurations) {
  EXPECT_EQ(parse_duration_s("2 h", "x"), 7200);
  EXPECT_EQ(parse_duration_s("90 min", "x"), 5400);
  EXPECT_EQ(parse_duration_s("90min", "x"), 5400);
  EXPECT_EQ(parse_duration_s("5 s", "x"), 5);
  EXPECT_EQ(parse_duration_s("0.5 s", "x"), 0.5);
  EXPECT_DOUBLE_EQ(parse_duration_s("20 ms", "x"), 0.02);
  for (const char* text : {"", "5", "2 days", "-1 h", "0 s", "nan s", "inf h", "h", "1e999 s", "2  h", "2 h ", "2 H"}) {
    const Error e = error_of([&] { parse_duration_s(text, "--walltime"); });
    EXPECT_EQ(e.exit(), Exit::usage) << text;
    EXPECT_EQ(e.where(), "--walltime");
    expect_contains(e.what(), std::string("'") + text + "'");
  }
}

TEST_F(Stops, AskInOrder) {
  EXPECT_FALSE(end_time({}, 1000));
  const Environment path("PATH", fake_squeue("2026-11-26T02:10:00").c_str()), zone("TZ", "UTC0");
  EXPECT_FALSE(end_time({}, 1000)) << "not in a job";
  EXPECT_FALSE(std::filesystem::exists(dir / "asked"));
  const Environment job("SLURM_JOB_ID", "4711");
  auto end = end_time({}, 1000);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->source, "squeue");
  EXPECT_EQ(end->unix_s, utc(2026, 11, 26, 2, 10));
  expect_contains(get(dir / "asked"), "-j 4711");
  std::filesystem::remove(dir / "asked");
  const Environment slurm("SLURM_JOB_END_TIME", "1800000000");
  end = end_time({}, 1000);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->source, "SLURM_JOB_END_TIME");
  EXPECT_EQ(end->unix_s, 1.8e9);
  const Environment mine("REEL_END_TIME", "1700000000.5");
  end = end_time({}, 1000);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->source, "REEL_END_TIME");
  EXPECT_EQ(end->unix_s, 1700000000.5);
  end = end_time(60, 1000);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->source, "--walltime");
  EXPECT_EQ(end->unix_s, 1060);
  EXPECT_FALSE(std::filesystem::exists(dir / "asked")) << "squeue is asked only when nobody else knows";
}

TEST_F(Stops, SqueueMayNotKnow) {
  const Environment job("SLURM_JOB_ID", "4711");
  for (const char* answer : {"N/A", "", "slurm_load_jobs error: Invalid job id specified", "Unknown"}) {
    const Environment path("PATH", fake_squeue(answer).c_str());
    EXPECT_FALSE(end_time({}, 1000)) << answer;
  }
  const Environment path("PATH", dir.c_str());  // no shell tools, no squeue
  std::filesystem::remove(dir / "squeue");
  EXPECT_FALSE(end_time({}, 1000));
}

TEST_F(Stops, AJobIdThatIsNoNumberReachesNoShell) {
  const Environment path("PATH", fake_squeue("2026-11-26T02:10:00").c_str());
  for (const char* id : {"1; touch asked", "$(touch asked)", "", "abc", "-1", "0"}) {
    const Environment job("SLURM_JOB_ID", id);
    EXPECT_FALSE(end_time({}, 1000)) << id;
    EXPECT_FALSE(std::filesystem::exists(dir / "asked")) << id;
  }
}

TEST_F(Stops, NonsenseInTheEnvironment) {
  for (const char* text : {"soon", "", "-5", "0", "nan", "inf", "12x", "1e999", "2026-11-26T02:10:00"}) {
    const Environment mine("REEL_END_TIME", text);
    const Error e = error_of([] { end_time({}, 1000); });
    EXPECT_EQ(e.exit(), Exit::usage) << text;
    EXPECT_EQ(e.where(), "REEL_END_TIME");
    EXPECT_EQ(error_of([] { Stopping({}, true, 1000); }).exit(), Exit::usage);
    EXPECT_NO_THROW(Stopping({}, false, 1000)) << "ranks that do not look do not ask";
    EXPECT_NO_THROW(end_time(60, 1000)) << "not asked";
  }
  const Environment slurm("SLURM_JOB_END_TIME", "soon");  // not ours to complain about
  EXPECT_FALSE(end_time({}, 1000));
}

TEST_F(Stops, AfterSteps) {
  Stopping three({.walltime_s = {}, .after_steps = 3, .stop_file = {}}, true, unix_now_s());
  EXPECT_EQ(three.reason(0), "");
  EXPECT_EQ(three.reason(0), "");
  expect_contains(three.reason(0), "3 step(s) done, as --stop-after asks");
  Stopping never({}, true, unix_now_s()), blind({.walltime_s = 1, .after_steps = 1, .stop_file = dir}, false, unix_now_s());
  for (int k = 0; k < 100; ++k) {
    EXPECT_EQ(never.reason(0), "");
    EXPECT_EQ(blind.reason(0), "") << "looks at neither clock nor file";
  }
}

TEST_F(Stops, StopFileAppears) {
  Stopping stopping({.walltime_s = {}, .after_steps = 0, .stop_file = dir / "STOP"}, true, unix_now_s());
  EXPECT_EQ(stopping.reason(0), "");
  put("STOP", "");
  expect_contains(stopping.reason(0), (dir / "STOP").string() + "' is there");
  std::filesystem::remove(dir / "STOP");
  EXPECT_EQ(stopping.reason(0), "");
}

TEST_F(Stops, TimeIsUp) {
  EXPECT_EQ(reason_of({.walltime_s = 1e6, .after_steps = 0, .stop_file = {}}), "");
  expect_contains(reason_of({.walltime_s = 1, .after_steps = 0, .stop_file = {}}), "s are left (--walltime)");
  expect_contains(Stopping({.walltime_s = 1, .after_steps = 0, .stop_file = {}}, true, unix_now_s() - 1000).reason(0), "0 s are left");
  // Saving twice must still fit.
  EXPECT_EQ(reason_of({.walltime_s = 1000, .after_steps = 0, .stop_file = {}}, 400), "");
  expect_contains(reason_of({.walltime_s = 1000, .after_steps = 0, .stop_file = {}}, 500), "s are left");
  const Environment mine("REEL_END_TIME", std::to_string(static_cast<long>(unix_now_s()) + 3).c_str());
  expect_contains(reason_of({}), "s are left (REEL_END_TIME)");
}

TEST_F(Stops, TheLongestStepMustFitAgain) {
  const double start = unix_now_s();
  Stopping slow({.walltime_s = 7, .after_steps = 0, .stop_file = {}}, true, start);
  std::this_thread::sleep_for(std::chrono::milliseconds(1000));
  expect_contains(slow.reason(0), "s are left");  // 1 + 1.5 + 5 > 7; without the step 1 + 5 < 7
  Stopping far({.walltime_s = 1000, .after_steps = 0, .stop_file = {}}, true, start - 500);
  EXPECT_EQ(far.reason(0), "");  // what was before it was made is no step
}

TEST_F(Stops, Signals) {
  Stopping looks({}, true, unix_now_s()), blind({}, false, unix_now_s());
  EXPECT_EQ(looks.reason(0), "");
  stop_signal = SIGUSR1;
  expect_contains(looks.reason(0), "signal 10 (");
  expect_contains(blind.reason(0), "signal 10 (");
  stop_signal = SIGTERM;
  expect_contains(blind.reason(0), "signal 15 (Terminated)");
  stop_signal = 0;
  EXPECT_EQ(looks.reason(0), "");
  EXPECT_EQ(blind.reason(0), "");
}

TEST(HearStop, HearsWhileItLives) {
  EXPECT_EQ(stop_is_heard, 0);
  {
    const HearStop hear;
    EXPECT_EQ(stop_is_heard, 1);
  }
  EXPECT_EQ(stop_is_heard, 0);
}

}  // namespace
}  // namespace reel::study
