#include "study/energy.hpp"

#include <cstdlib>
#include <limits>
#include <memory>
#include <thread>

#include "../io/temp_dir.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using test::expect_contains;
using Domains = std::vector<std::string>;

constexpr double range_uj = 262143328850;  // as the kernel tells it for a package

/// A made-up "/" and a machine without Slurm.
class EnergyTest : public test::TempDir {
 protected:
  void SetUp() override {
    TempDir::SetUp();
    path_ = std::getenv("PATH");
    unsetenv("SLURM_JOB_ID");
  }
  void TearDown() override {
    setenv("PATH", path_.c_str(), 1);
    for (const char* name : {"SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_STEP_NUM_NODES"}) unsetenv(name);
    TempDir::TearDown();
  }

  fs::path write(const std::string& name, const std::string& text) const {
    fs::create_directories((dir / name).parent_path());
    return put(name, text + "\n");
  }
  void node(double j) const { write("sys/cray/pm_counters/energy", fmt::format("{} J 1718031600123456 us", j)); }
  void count(const std::string& zone, double uj) const {
    write("sys/class/powercap/" + zone + "/energy_uj", fmt::format("{:.0f}", uj));
  }
  void zone(const std::string& zone, const std::string& name, double uj, double range = range_uj) const {
    write("sys/class/powercap/" + zone + "/name", name);
    write("sys/class/powercap/" + zone + "/max_energy_range_uj", fmt::format("{:.0f}", range));
    count(zone, uj);
  }
  /// The "power" unit with one CPU in one package.
  void perf(const std::string& type, const std::string& scale) const {
    const std::string pmu = "sys/bus/event_source/devices/power/";
    write(pmu + "type", type);
    write(pmu + "cpumask", "0");
    write(pmu + "events/energy-pkg", "event=0x00");
    write(pmu + "events/energy-pkg.scale", scale);
    write("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0");
  }
  /// A program in front of PATH.
  void program(const std::string& name, const std::string& script) const {
    fs::permissions(write("bin/" + name, "#!/bin/sh\n" + script), fs::perms::owner_all);
    setenv("PATH", ((dir / "bin").string() + ":" + path_).c_str(), 1);
  }

 private:
  std::string path_;
};

void expect_nothing(const Energy& energy) {
  EXPECT_EQ(energy.method, "");
  EXPECT_FALSE(energy.total_j().has_value());
  EXPECT_EQ(energy.coverage, 0);
  EXPECT_TRUE(energy.domains.empty() && energy.joules.empty());
}

TEST_F(EnergyTest, TwoPackagesWithMemory) {
  zone("intel-rapl:0", "package-0", 1e6);
  zone("intel-rapl:0:0", "core", 5e6);
  zone("intel-rapl:0:1", "dram", 7e6);
  zone("intel-rapl:1", "package-1", 2e6);
  zone("intel-rapl:1:0", "dram", 3e6);
  zone("intel-rapl:2", "psys", 9e6);
  zone("intel-rapl-mmio:0", "package-0", 1e6);  // the same package once more
  EnergyMeter meter(dir);
  meter.start();
  count("intel-rapl:0", 11e6);
  count("intel-rapl:0:0", 13e6);
  count("intel-rapl:0:1", 8.5e6);
  count("intel-rapl:1", 22e6);
  count("intel-rapl:1:0", 5e6);
  count("intel-rapl:2", 99e6);
  const Energy energy = meter.stop();
  EXPECT_EQ(energy.method, "powercap");
  EXPECT_EQ(energy.domains,
            (Domains{"package-0", "package-0/core", "package-0/dram", "package-1", "package-1/dram", "psys"}));
  const std::vector<double> expected{10, 8, 1.5, 20, 2, 90};
  ASSERT_EQ(energy.joules.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(energy.joules[i], expected[i], 1e-9);
  EXPECT_NEAR(energy.total_j().value(), 10 + 1.5 + 20 + 2, 1e-9);
  EXPECT_EQ(energy.coverage, 1);
  EXPECT_GT(energy.wall_s, 0);
  expect_contains(energy.unavailable, "node-meter: ");
  expect_contains(energy.unavailable, "No such file");
}

TEST_F(EnergyTest, WrapOnceAndWhileSampling) {
  zone("intel-rapl:0", "package-0", range_uj - 3e6);
  EnergyMeter meter(dir);
  meter.start();
  count("intel-rapl:0", 4e6);
  EXPECT_NEAR(meter.stop().total_j().value(), 7, 1e-9);

  // Once round and on: the ends alone would tell 10 J.
  constexpr double short_uj = 4e9;
  zone("intel-rapl:0", "package-0", 5e6, short_uj);
  meter.start();
  for (double uj = 100e6; uj < short_uj; uj += 150e6) {
    count("intel-rapl:0", uj);
    meter.sample();
  }
  count("intel-rapl:0", 2e6);
  meter.sample();
  count("intel-rapl:0", 15e6);
  const Energy energy = meter.stop();
  EXPECT_NEAR(energy.total_j().value(), 1e-6 * short_uj + 10, 1e-6);
  EXPECT_EQ(energy.coverage, 1);
}

// 2 J are gone in 1 ms at 2 kW: how often it went round cannot be told.
TEST_F(EnergyTest, WrapsUnseenAreNotGuessed) {
  zone("intel-rapl:0", "package-0", 1e6, 2e6);
  EnergyMeter meter(dir);
  meter.start();
  count("intel-rapl:0", 1.5e6);
  const Energy energy = meter.stop();
  expect_nothing(energy);
  expect_contains(energy.unavailable, "powercap: package-0 may have wrapped unseen");
}

// A counter that was set back looks like a wrap, but for the power it would take.
TEST_F(EnergyTest, JumpsAreLeftOut) {
  zone("intel-rapl:0", "package-0", 100e9);
  node(5000);
  EnergyMeter meter(dir);
  meter.start();
  count("intel-rapl:0", 100.002e9);
  node(5003);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  meter.sample();
  count("intel-rapl:0", 1e6);
  node(1);
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  meter.sample();
  count("intel-rapl:0", 3e6);
  node(4);
  const Energy energy = meter.stop();
  EXPECT_EQ(energy.method, "node-meter");
  EXPECT_EQ(energy.domains, (Domains{"node", "powercap:package-0"}));
  EXPECT_EQ(energy.joules[0], 6);
  EXPECT_NEAR(energy.joules[1], 4, 1e-6);
  EXPECT_GT(energy.coverage, 0);
  EXPECT_LT(energy.coverage, 1);
  expect_contains(energy.unavailable, "node-meter: node jumped");
  expect_contains(energy.unavailable, "powercap: package-0 jumped");
}

TEST_F(EnergyTest, UnreadableAtTheStartIsNotAvailable) {
  zone("intel-rapl:0", "package-0", 1e6);
  zone("intel-rapl:1", "package-1", 1e6);
  write("sys/cray/pm_counters/energy", "12 kWh");
  const auto measure = [&] {
    EnergyMeter meter(dir);
    meter.start();
    count("intel-rapl:0", 2e6);
    if (fs::exists(dir / "sys/class/powercap/intel-rapl:1/energy_uj")) count("intel-rapl:1", 2e6);
    Energy energy = meter.stop();
    count("intel-rapl:0", 1e6);
    return energy;
  };
  EXPECT_NEAR(measure().total_j().value(), 2, 1e-9);
  for (const char* text : {"garbage", "", "-5", "12 34", "nan", "1e400"}) {
    write("sys/class/powercap/intel-rapl:1/energy_uj", text);
    const Energy energy = measure();
    expect_nothing(energy);  // no half sum
    expect_contains(energy.unavailable, "intel-rapl:1/energy_uj: ");
    expect_contains(energy.unavailable, "node-meter: ");
  }
  fs::remove(dir / "sys/class/powercap/intel-rapl:1/energy_uj");
  expect_nothing(measure());
  zone("intel-rapl:1", "package-1", 1e6);
  fs::remove(dir / "sys/class/powercap/intel-rapl:1/max_energy_range_uj");
  expect_nothing(measure());
  zone("intel-rapl:1", "package-0", 1e6);
  expect_contains(measure().unavailable, "package-0 is listed twice");
}

TEST_F(EnergyTest, UnreadableMidwayLowersCoverage) {
  zone("intel-rapl:0", "package-0", 1e6);
  zone("intel-rapl:1", "package-1", 1e6);
  EnergyMeter meter(dir);
  meter.start();
  count("intel-rapl:0", 3e6);
  count("intel-rapl:1", 4e6);
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  meter.sample();
  count("intel-rapl:0", 9e6);
  fs::remove(dir / "sys/class/powercap/intel-rapl:1/energy_uj");
  std::this_thread::sleep_for(std::chrono::milliseconds(3));
  const Energy energy = meter.stop();
  EXPECT_NEAR(energy.total_j().value(), 5, 1e-9);  // both packages until the sample, none after it
  EXPECT_GT(energy.coverage, 0.05);
  EXPECT_LT(energy.coverage, 0.95);

  // Away for a while only: what was counted meanwhile is not lost.
  count("intel-rapl:1", 4e6);
  meter.start();
  fs::remove(dir / "sys/class/powercap/intel-rapl:1/energy_uj");
  meter.sample();
  count("intel-rapl:0", 10e6);
  count("intel-rapl:1", 6e6);
  const Energy whole = meter.stop();
  EXPECT_NEAR(whole.total_j().value(), 3, 1e-9);
  EXPECT_EQ(whole.coverage, 1);

  // Never again: nothing, unless the owner stated a power.
  for (const double declared_w : {0., 100.}) {
    count("intel-rapl:1", 6e6);
    EnergyMeter other(dir, declared_w);
    other.start();
    fs::remove(dir / "sys/class/powercap/intel-rapl:1/energy_uj");
    const Energy rest = other.stop();
    expect_contains(rest.unavailable, "intel-rapl:1/energy_uj");
    EXPECT_EQ(rest.method, declared_w > 0 ? "declared" : "");
    EXPECT_EQ(rest.total_j().has_value(), declared_w > 0);
  }
}

TEST_F(EnergyTest, CountersThatStandStillAreNotZero) {
  zone("intel-rapl:0", "package-0", 1e6);
  zone("intel-rapl:0:0", "dram", 0);
  EnergyMeter meter(dir);
  meter.start();
  count("intel-rapl:0:0", 1e6);
  const Energy energy = meter.stop();
  expect_nothing(energy);
  expect_contains(energy.unavailable, "package-0 stood still");

  meter.start();
  count("intel-rapl:0", 2e6);  // its memory is not counted
  EXPECT_EQ(meter.stop().domains, Domains{"package-0"});
}

TEST_F(EnergyTest, NodeMeterIsPreferredAndCrossChecked) {
  node(1000);
  zone("intel-rapl:0", "package-0", 1e6);
  EnergyMeter meter(dir, 300);
  meter.start();
  node(1450);
  count("intel-rapl:0", 101e6);
  const Energy energy = meter.stop();
  EXPECT_EQ(energy.method, "node-meter");
  EXPECT_EQ(energy.domains, (Domains{"node", "powercap:package-0"}));
  EXPECT_EQ(energy.total_j(), 450);
  EXPECT_NEAR(energy.joules[1], 100, 1e-9);
  EXPECT_EQ(energy.coverage, 1);

  // The node meter goes away: what covers more is told, and nothing beside it that is of another time.
  meter.start();
  node(1500);
  count("intel-rapl:0", 102e6);
  meter.sample();
  fs::remove(dir / "sys/cray/pm_counters/energy");
  count("intel-rapl:0", 103e6);
  EXPECT_EQ(meter.stop().domains, Domains{"package-0"});
}

TEST_F(EnergyTest, DeclaredPower) {
  EnergyMeter meter(dir, 250);
  meter.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(2));
  const Energy energy = meter.stop();
  EXPECT_EQ(energy.method, "declared");
  EXPECT_EQ(energy.domains, Domains{"node"});
  EXPECT_GE(energy.wall_s, 0.002);
  EXPECT_EQ(energy.total_j(), 250 * energy.wall_s);
  for (const double w : {-1., std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity()}) {
    EXPECT_EQ(test::error_of([&] { EnergyMeter(dir, w); }).exit(), Exit::usage);
  }
}

TEST_F(EnergyTest, NothingAtAll) {
  EnergyMeter meter(dir);
  EXPECT_EQ(test::error_of([&] { meter.stop(); }).exit(), Exit::bug);
  meter.start();
  const Energy energy = meter.stop();
  expect_nothing(energy);
  for (const char* part : {"node-meter: ", "perf: ", "powercap: ", "slurm: not in a job"})
    expect_contains(energy.unavailable, part);
  EXPECT_EQ(test::error_of([&] { meter.stop(); }).exit(), Exit::bug);
}

TEST_F(EnergyTest, RefusedPerfFallsThrough) {
  perf("4294967295", "2.3283064365386962890625e-10");  // a unit that no kernel has
  zone("intel-rapl:0", "package-0", 1e6);
  EnergyMeter meter(dir);
  meter.start();
  count("intel-rapl:0", 2e6);
  const Energy energy = meter.stop();
  EXPECT_EQ(energy.method, "powercap");
  expect_contains(energy.unavailable, "perf: perf_event_open of energy-pkg: ");
}

// The kernel's clock of CPU 0 [ns] stands in for an energy counter of 1 W.
TEST_F(EnergyTest, PerfCounts) {
  perf("1", "1e-9");
  EnergyMeter meter(dir);
  meter.start();
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const Energy energy = meter.stop();
  if (energy.method.empty()) GTEST_SKIP() << energy.unavailable;
  EXPECT_EQ(energy.method, "perf");
  EXPECT_EQ(energy.domains, Domains{"package-0"});
  EXPECT_GT(energy.total_j().value(), 0.5 * energy.wall_s);
  EXPECT_LT(energy.total_j().value(), 2 * energy.wall_s);

  write("sys/bus/event_source/devices/power/cpumask", "0-0,0");  // two in one package: dies
  meter.start();
  expect_contains(meter.stop().unavailable, "perf: package-0 is listed twice");
  for (const char* text : {"", "0,", "a", "0-", "-1"}) {
    write("sys/bus/event_source/devices/power/cpumask", text);
    meter.start();
    expect_nothing(meter.stop());
  }
}

TEST_F(EnergyTest, DiesCountOnIntelOnly) {
  zone("intel-rapl:0", "package-0-die-0", 1e6);
  zone("intel-rapl:1", "package-0-die-1", 1e6);
  for (const char* vendor : {"GenuineIntel", "AuthenticAMD"}) {
    write("proc/cpuinfo", fmt::format("processor\t: 0\nvendor_id\t: {}", vendor));
    count("intel-rapl:0", 1e6);
    EnergyMeter meter(dir);
    meter.start();
    count("intel-rapl:0", 3e6);
    count("intel-rapl:1", 4e6);
    const Energy energy = meter.stop();
    EXPECT_NEAR(energy.total_j().value_or(0), vendor == std::string("GenuineIntel") ? 5 : 0, 1e-9);
  }
}

TEST_F(EnergyTest, SlurmCountsAnEqualShare) {
  program("sstat", fmt::format("[ \"$2\" = 77.3 ] && cat {}", (dir / "counter").string()));
  put("counter", "1000\n");
  setenv("SLURM_JOB_ID", "77", 1);
  setenv("SLURM_STEP_ID", "3", 1);
  setenv("SLURM_STEP_NUM_NODES", "4", 1);
  EnergyMeter meter(dir);
  meter.start();
  put("counter", "3000\n");
  const Energy energy = meter.stop();
  EXPECT_EQ(energy.method, "slurm");
  EXPECT_EQ(energy.total_j(), 500);

  for (const char* text : {"1000", "", "18446744073709551614", "3K", "1\n2"}) {  // stands still, or is none
    put("counter", "1000\n");
    meter.start();
    put("counter", text);
    expect_nothing(meter.stop());
  }
  setenv("SLURM_JOB_ID", "77; echo 5 #", 1);
  meter.start();
  expect_contains(meter.stop().unavailable, "slurm: SLURM_JOB_ID: not a number");
}

TEST_F(EnergyTest, SlurmMissingFailingOrSlow) {
  setenv("SLURM_JOB_ID", "77", 1);
  const auto expect_refused = [&] {
    EnergyMeter meter(dir);
    meter.start();
    expect_contains(meter.stop().unavailable, "slurm: sstat: missing, failed or not done within 2 s");
  };
  program("sstat", "echo 5; exit 1");
  expect_refused();
  program("sstat", "echo 5; exec sleep 60");
  program("timeout", "[ \"$1 $2 $3\" = '-s KILL 2' ] && shift 3 && exec /usr/bin/timeout -s KILL 0.02 \"$@\"");
  expect_refused();
  program("timeout", "exec /usr/bin/timeout 1 no-such-program-anywhere");
  expect_refused();
}

// The sampler must not outlive its meter, stopped or not.
TEST_F(EnergyTest, EndsWithoutStop) {
  zone("intel-rapl:0", "package-0", 1e6);
  const auto begin = std::chrono::steady_clock::now();
  auto meter = std::make_unique<EnergyMeter>(dir);
  for (int i = 0; i < 2; ++i) meter->start();
  meter.reset();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

}  // namespace
}  // namespace reel::study
