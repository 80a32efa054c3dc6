#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "io/safetensors.hpp"
#include "model/scheduler.hpp"
#include "tests/io/temp_dir.hpp"

namespace reel::model {
namespace {

using Kind = SchedulerConfig::Kind;
using Grid = SchedulerConfig::Grid;

const std::string fixtures = REEL_SOURCE_DIR "/tests/oracle/fixtures/";
const std::string unipc_json = R"({"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction",
                                   "use_flow_sigmas": true, "flow_shift": 5.0, "a_key_of_tomorrow": 1})";

std::vector<float> read(const io::Safetensors& file, const std::string& name) {
  const io::TensorInfo& tensor = file.at(name);
  std::vector<float> out(static_cast<std::size_t>(num_elements(tensor.shape)));
  io::read_f32(tensor, 0, num_elements(tensor.shape), out.data());
  return out;
}

/// max|a - b| / max|b|
double relative(const float* a, const float* b, std::size_t n) {
  double delta = 0, largest = 0;
  for (std::size_t i = 0; i < n; ++i) {
    delta = std::max(delta, std::fabs(double{a[i]} - b[i]));
    largest = std::max(largest, std::fabs(double{b[i]}));
  }
  return delta / largest;
}

Tensor tensor(const std::vector<float>& values) {
  Tensor t(Shape{static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), t.begin());
  return t;
}

Error parse_error(const std::string& json) {
  const Error error = test::error_of([&] { parse_scheduler(json, "scheduler_config.json"); });
  EXPECT_EQ(error.exit(), Exit::input) << json;
  EXPECT_EQ(error.where(), "scheduler_config.json");
  return error;
}

TEST(SchedulerConfig, ReadsThePublishedShapes) {
  const SchedulerConfig unipc = parse_scheduler(unipc_json, "f");
  EXPECT_EQ(unipc.kind, Kind::unipc);
  EXPECT_EQ(unipc.shift, 5.0);
  EXPECT_EQ(unipc.num_train_timesteps, 1000);
  EXPECT_EQ(unipc.grid, Grid::diffusers_0_37);
  const SchedulerConfig euler =
      parse_scheduler(R"({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3, "shift_terminal": null})", "f");
  EXPECT_EQ(euler.kind, Kind::euler);
  EXPECT_EQ(euler.shift, 3.0);
}

TEST(SchedulerConfig, RefusesWhatItWouldHaveToApproximate) {
  test::expect_contains(parse_error(R"({"_class_name": "DDIMScheduler"})").hint(),
                        "UniPCMultistepScheduler, FlowMatchEulerDiscreteScheduler");
  const std::string unipc = unipc_json.substr(0, unipc_json.rfind('}'));
  for (const char* setting :
       {R"("solver_order": 3)", R"("solver_type": "bh1")", R"("predict_x0": false)", R"("lower_order_final": false)",
        R"("final_sigmas_type": "sigma_min")", R"("disable_corrector": [0])", R"("thresholding": true)",
        R"("use_karras_sigmas": true)", R"("use_exponential_sigmas": true)", R"("use_beta_sigmas": true)",
        R"("use_dynamic_shifting": true)", R"("prediction_type": "epsilon")", R"("use_flow_sigmas": false)",
        R"("flow_shift": "3")", R"("flow_shift": -1)", R"("num_train_timesteps": 0.5)"})
    parse_error(unipc + ", " + setting + "}");
  for (const char* setting : {R"("use_dynamic_shifting": true)", R"("stochastic_sampling": true)",
                              R"("invert_sigmas": true)", R"("shift": 0)", R"("shift_terminal": 1)"})
    parse_error(std::string(R"({"_class_name": "FlowMatchEulerDiscreteScheduler", )") + setting + "}");
  for (const char* text :
       {"", "[]", "{", "null", R"({"_class_name": 3})", "\xff", R"({"_class_name": "UniPCMultistepScheduler"})"})
    parse_error(text);
}

void expect_schedule(SchedulerConfig config, int steps, const std::vector<float>& t, const std::vector<float>& sigma) {
  const Scheduler scheduler(config, steps);
  ASSERT_EQ(scheduler.timesteps().size(), t.size());
  ASSERT_EQ(scheduler.sigmas().size(), sigma.size());
  EXPECT_LE(relative(scheduler.timesteps().data(), t.data(), t.size()), 1e-7);
  for (std::size_t i = 0; i < sigma.size(); ++i) EXPECT_FLOAT_EQ(scheduler.sigmas()[i], sigma[i]) << i;
}

TEST(Scheduler, NoiseLevelsKnownByHeart) {
  SchedulerConfig config{.kind = Kind::unipc, .shift = 3};
  expect_schedule(config, 4, {999, 900, 750, 500}, {0.999998987f, 0.90011996f, 0.750374794f, 0.500998974f, 0});
  config.grid = Grid::diffusers_0_36;
  expect_schedule(config, 4, {999, 899, 749, 499}, {0.999666452f, 0.899639785f, 0.749624789f, 0.499666542f, 0});
  config.shift = 5;
  expect_schedule(config, 5, {999, 952, 882, 768, 555},
                  {0.999799848f, 0.95215404f, 0.882093251f, 0.768934727f, 0.55524677f, 0});
  config.grid = Grid::diffusers_0_37;
  expect_schedule(config, 5, {999, 952, 882, 769, 556},
                  {0.999998987f, 0.952437639f, 0.882525861f, 0.769674122f, 0.556787908f, 0});
  config = {.kind = Kind::euler, .shift = 3};
  expect_schedule(config, 4, {1000, 857.6923f, 602.1506f, 8.9285717f},
                  {1, 0.857692301f, 0.602150559f, 0.00892857183f, 0});
  config.shift_terminal = 0.1;
  expect_schedule(config, 4, {1000, 870.76923f, 638.70966f, 100}, {1, 0.8707692f, 0.63870966f, 0.1f, 0});
}

/// Steps above the boundary between the two experts of Wan 2.2.
TEST(Scheduler, BoundaryOfTwoExperts) {
  const auto above = [](double shift, Grid grid, float boundary) {
    const Scheduler scheduler(SchedulerConfig{.kind = Kind::unipc, .shift = shift, .grid = grid}, 40);
    return std::count_if(scheduler.timesteps().begin(), scheduler.timesteps().end(),
                         [&](float t) { return t >= boundary; });
  };
  EXPECT_EQ(above(3, Grid::diffusers_0_37, 875), 13);
  EXPECT_EQ(above(3, Grid::diffusers_0_36, 875), 12);
  EXPECT_EQ(above(12, Grid::diffusers_0_37, 875), 26);
  EXPECT_EQ(above(12, Grid::diffusers_0_36, 875), 26);
  EXPECT_EQ(above(5, Grid::diffusers_0_37, 900), 15);
}

TEST(Scheduler, SchedulesOfDiffusers) {
  const io::Safetensors file = io::Safetensors::open(fixtures + "schedules.out.safetensors");
  double worst = 0;
  for (const char* kind : {"unipc", "euler"})
    for (const int steps : {1, 2, 4, 5, 20, 50})
      for (const int shift : {1, 3, 5, 12}) {
        const std::string name = fmt::format("{}.steps{}.shift{}.", kind, steps, shift);
        const Scheduler scheduler({.kind = kind[0] == 'u' ? Kind::unipc : Kind::euler, .shift = double(shift)}, steps);
        const auto t = read(file, name + "timesteps"), sigma = read(file, name + "sigmas");
        ASSERT_EQ(scheduler.timesteps().size(), t.size());
        ASSERT_EQ(scheduler.sigmas().size(), sigma.size());
        if (kind[0] == 'u') {
          EXPECT_EQ(scheduler.timesteps(), t) << name;
        }
        for (std::size_t i = 0; i < t.size(); ++i) {
          worst = std::max(worst, std::fabs(double{scheduler.timesteps()[i]} / t[i] - 1));
          worst = std::max(worst, std::fabs(double{scheduler.sigmas()[i]} / sigma[i] - 1));
        }
        EXPECT_EQ(scheduler.sigmas().back(), 0.0f);
      }
  EXPECT_LE(worst, 1e-6);
  RecordProperty("worst", fmt::format("{:.2e}", worst));
}

TEST(Scheduler, StepsOfDiffusers) {
  for (const char* kind : {"unipc", "euler"})
    for (const auto& [steps, shift] : {std::pair{1, 3}, {4, 3}, {7, 5}, {20, 12}}) {
      const std::string name = fmt::format("scheduler_{}_{}", kind, steps);
      const io::Safetensors in = io::Safetensors::open(fixtures + name + ".in.safetensors");
      const io::Safetensors out = io::Safetensors::open(fixtures + name + ".out.safetensors");
      Scheduler scheduler({.kind = kind[0] == 'u' ? Kind::unipc : Kind::euler, .shift = double(shift)}, steps);
      Tensor sample = tensor(read(in, "noise"));
      const auto velocities = read(in, "velocities"), samples = read(out, "samples");
      const std::size_t n = static_cast<std::size_t>(sample.size());
      double worst = 0;
      for (int k = 0; k < steps; ++k) {
        const auto first = static_cast<std::ptrdiff_t>(static_cast<std::size_t>(k) * n);
        Tensor velocity(sample.shape());
        std::copy_n(velocities.begin() + first, n, velocity.begin());
        scheduler.step(k, velocity, sample);
        worst = std::max(worst, relative(sample.data(), samples.data() + first, n));
      }
      EXPECT_LE(worst, 1e-5) << name;
      RecordProperty(name, fmt::format("{:.2e}", worst));
    }
}

/// Data N(mu, tau^2) and noise N(0, 1): the sample at level s is (1-s) mu + sqrt(v) z with v = (1-s)^2 tau^2 + s^2, z
/// constant along the flow; its velocity is E[noise - data | x] = (s - (1-s) tau^2) (x - (1-s) mu) / v - mu. The flow
/// ends at mu + tau z.
double gaussian_flow_error(const SchedulerConfig& config, int steps) {
  const double mu = 0.7, tau = 0.5;
  const std::vector<float> z{-1.5f, -0.4f, 0.3f, 1.1f, 2.0f};
  Scheduler scheduler(config, steps);
  Tensor sample = tensor(z), velocity(sample.shape());
  const double first = scheduler.sigmas()[0], root = std::hypot((1 - first) * tau, first);
  for (float& x : sample) x = static_cast<float>((1 - first) * mu + root * x);
  for (int k = 0; k < steps; ++k) {
    const double s = scheduler.sigmas()[static_cast<std::size_t>(k)], a = 1 - s, v = a * a * tau * tau + s * s;
    for (std::int64_t e = 0; e < sample.size(); ++e)
      velocity[e] = static_cast<float>((s - a * tau * tau) * (double{sample[e]} - a * mu) / v - mu);
    scheduler.step(k, velocity, sample);
  }
  double worst = 0;
  for (std::int64_t e = 0; e < sample.size(); ++e)
    worst = std::max(worst, std::fabs(double{sample[e]} - (mu + tau * z[static_cast<std::size_t>(e)])));
  return worst;
}

TEST(Scheduler, GaussianFlowEndsWhereItMust) {
  for (const Grid grid : {Grid::diffusers_0_37, Grid::diffusers_0_36}) {
    const SchedulerConfig config{.kind = Kind::unipc, .shift = 1, .grid = grid};
    std::vector<double> error;
    for (const int steps : {32, 64, 128, 256}) error.push_back(gaussian_flow_error(config, steps));
    for (std::size_t i = 0; i + 1 < error.size(); ++i) {
      const double order = std::log2(error[i] / error[i + 1]);
      EXPECT_GT(order, 2.0) << i << ": " << error[i] << " -> " << error[i + 1];
    }
    EXPECT_LT(error.back(), 5e-5);
  }
  const double coarse = gaussian_flow_error({.kind = Kind::euler, .shift = 3}, 50);
  const double fine = gaussian_flow_error({.kind = Kind::euler, .shift = 3}, 100);
  EXPECT_NEAR(std::log2(coarse / fine), 1.0, 0.2) << coarse << " -> " << fine;
}

Tensor random_tensor(std::uint32_t seed) {
  std::mt19937 engine(seed);
  Tensor t(Shape{3, 7});
  for (float& x : t) x = static_cast<float>(engine()) * 0x1p-31f - 1;
  return t;
}

TEST(Scheduler, ContinuesFromACheckpointWithTheSameBits) {
  for (const Kind kind : {Kind::unipc, Kind::euler}) {
    const SchedulerConfig config{.kind = kind, .shift = 3};
    Scheduler whole(config, 6);
    Tensor sample = random_tensor(99);
    for (int k = 0; k < 6; ++k) {
      Scheduler resumed(config, 6), copy = whole;
      resumed.set_state(whole.state());
      Tensor a = sample, b = sample;
      whole.step(k, random_tensor(static_cast<std::uint32_t>(k)), sample);
      resumed.step(k, random_tensor(static_cast<std::uint32_t>(k)), a);
      copy.step(k, random_tensor(static_cast<std::uint32_t>(k)), b);
      EXPECT_TRUE(std::equal(sample.begin(), sample.end(), a.begin()));
      EXPECT_TRUE(std::equal(sample.begin(), sample.end(), b.begin()));
      EXPECT_EQ(resumed.state().step, k + 1);
    }
    EXPECT_TRUE(whole.state().history.empty());
  }
}

/// A slice of a sample gets the bits of the whole.
TEST(Scheduler, WorksElementByElement) {
  Scheduler whole({.kind = Kind::unipc, .shift = 3}, 4), part = whole;
  Tensor sample = random_tensor(99), slice(Shape{5});
  std::copy_n(sample.begin() + 9, 5, slice.begin());
  for (int k = 0; k < 4; ++k) {
    const Tensor velocity = random_tensor(static_cast<std::uint32_t>(k));
    Tensor velocity_slice(Shape{5});
    std::copy_n(velocity.begin() + 9, 5, velocity_slice.begin());
    whole.step(k, velocity, sample);
    part.step(k, velocity_slice, slice);
    EXPECT_TRUE(std::equal(slice.begin(), slice.end(), sample.begin() + 9)) << k;
  }
}

TEST(Scheduler, RefusesWrongCalls) {
  const SchedulerConfig config{.kind = Kind::unipc, .shift = 3};
  for (const int steps : {0, -1, 2000000})
    EXPECT_EQ(test::error_of([&] { Scheduler(config, steps); }).exit(), Exit::usage) << steps;
  EXPECT_EQ(test::error_of([&] { Scheduler({.kind = Kind::euler, .shift_terminal = 0.1}, 1); }).exit(), Exit::usage);
  Scheduler scheduler(config, 3);
  Tensor sample = random_tensor(1), other(Shape{4});
  EXPECT_EQ(test::error_of([&] { scheduler.step(1, random_tensor(2), sample); }).exit(), Exit::bug);
  EXPECT_EQ(test::error_of([&] { scheduler.step(0, other, sample); }).exit(), Exit::bug);
  scheduler.step(0, random_tensor(2), sample);
  EXPECT_EQ(test::error_of([&] { scheduler.step(1, other, other); }).exit(), Exit::bug);
  for (const int step : {-1, 0, 2, 3, 4}) {
    Scheduler::State state = scheduler.state();
    state.step = step;
    EXPECT_EQ(test::error_of([&] { scheduler.set_state(state); }).exit(), Exit::input) << step;
  }
  Scheduler::State state = scheduler.state();
  state.history[1] = other;
  EXPECT_EQ(test::error_of([&] { scheduler.set_state(state); }).exit(), Exit::input);
}

}  // namespace
}  // namespace reel::model
