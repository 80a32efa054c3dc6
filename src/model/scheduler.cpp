#include "model/scheduler.hpp"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "kernels/exact_math.hpp"

namespace reel::model {
namespace {

using nlohmann::json;
using Kind = SchedulerConfig::Kind;

// ---- scheduler_config.json

/// Refuses every value of `key` but `wanted`; a missing key has the value `otherwise`.
void require(const json& config, const std::string& file, const char* key, const json& otherwise, const json& wanted) {
  const json found = config.contains(key) ? config[key] : otherwise;
  if (found == wanted) return;
  throw Error(Exit::input, fmt::format("{} is {}, Reel renders only {}", key, found.dump(), wanted.dump()), file,
              "use the scheduler_config.json that comes with a Wan folder");
}

double number(const json& config, const std::string& file, const char* key, double otherwise) {
  if (!config.contains(key) || config[key].is_null()) return otherwise;
  if (config[key].is_number()) return config[key].get<double>();
  throw Error(Exit::input, fmt::format("{} is {}, not a number", key, config[key].dump()), file);
}

// ---- noise levels

double shifted(double shift, double g) { return shift * g / (1.0 + (shift - 1.0) * g); }

/// Levels of UniPC in double, n of them, from (nearly) 1 downwards.
std::vector<double> unipc_levels(const SchedulerConfig& config, int n) {
  const double lowest = 1.0 / config.num_train_timesteps, step = (lowest - 1.0) / n;
  std::vector<double> sigma(static_cast<std::size_t>(n));
  const bool old_grid = config.grid == SchedulerConfig::Grid::diffusers_0_36;
  for (int i = 0; i < n; ++i) {
    // Old grid: numpy walks from 1 to 1/T, subtracts from 1 and reverses; its first point is stop itself.
    const double walked = i == 0 ? lowest : (n - i) * step + 1.0;
    const double g = old_grid ? 1.0 - walked : i * step + 1.0;
    sigma[static_cast<std::size_t>(i)] = shifted(config.shift, g);
  }
  // Level 1 would put log(1 - sigma) at minus infinity.
  if (!old_grid && std::fabs(sigma[0] - 1.0) < 1e-6) sigma[0] -= 1e-6;
  return sigma;
}

/// Levels of Euler in double: n points between the shifted ends of training, shifted once more (as diffusers does).
std::vector<double> euler_levels(const SchedulerConfig& config, int n) {
  const auto training_end = [&](float g) -> double {  // in f32, like the constructor of diffusers
    const float s = static_cast<float>(config.shift), s1 = static_cast<float>(config.shift - 1.0);
    return s * g / (1.0f + s1 * g);
  };
  const double T = config.num_train_timesteps;
  const double start = training_end(1.0f) * T, stop = training_end(1.0f / static_cast<float>(T)) * T;
  std::vector<double> sigma(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    const double t = i == 0 ? start : i == n - 1 ? stop : i * ((stop - start) / (n - 1)) + start;
    sigma[static_cast<std::size_t>(i)] = shifted(config.shift, t / T);
  }
  if (config.shift_terminal != 0) {
    const double scale = (1.0 - sigma.back()) / (1.0 - config.shift_terminal);
    for (double& s : sigma) s = 1.0 - (1.0 - s) / scale;
  }
  return sigma;
}

// ---- one interval of UniPC

/// lambda = ln(1 - sigma) - ln(sigma), each logarithm rounded to f32.
float log_signal_to_noise(float sigma) {
  const float alpha = 1.0f - sigma;
  return static_cast<float>(exact::log(alpha)) - static_cast<float>(exact::log(sigma));
}

/// Coefficients of x_t = ratio x_s - weight (m_s + rho_0 D + rho_1 (m_t - m_s)), D = (m_r - m_s) / r, from level
/// sigma_s to sigma_t > 0, with the level sigma_r before sigma_s if there is one.
/// h = lambda_t - lambda_s, q = -h, phi = e^q - 1, weight = (1 - sigma_t) phi, r = (lambda_r - lambda_s) / h;
/// rho_0 + rho_1 = b_0 = (phi/q - 1)/phi, r rho_0 + rho_1 = b_1 = 2 ((phi/q - 1)/q - 1/2)/phi.
struct Interval {
  float ratio, weight, r = 0, rho_0 = 0, rho_1 = 0;

  Interval(std::optional<float> sigma_r, float sigma_s, float sigma_t) {
    const float lambda_s = log_signal_to_noise(sigma_s);
    const float h = log_signal_to_noise(sigma_t) - lambda_s, q = -h;
    const float phi = static_cast<float>(exact::expm1(q));
    ratio = sigma_t / sigma_s;
    weight = (1.0f - sigma_t) * phi;
    if (!sigma_r) return;
    r = (log_signal_to_noise(*sigma_r) - lambda_s) / h;
    const float k1 = phi / q - 1.0f, b_0 = k1 / phi;
    const float k2 = k1 / q - 0.5f, b_1 = k2 * 2.0f / phi;
    rho_1 = (b_1 - r * b_0) / (1.0f - r);  // r < 0
    rho_0 = b_0 - rho_1;
  }
};

}  // namespace

SchedulerConfig parse_scheduler(const std::string& json_text, const std::string& file) {
  const json config = json::parse(json_text, nullptr, false);
  if (!config.is_object()) throw Error(Exit::input, "not a JSON object", file, "the file is damaged: fetch it again");
  const json name = config.value("_class_name", json());
  SchedulerConfig out;
  if (name == "UniPCMultistepScheduler") {
    out.kind = Kind::unipc;
    require(config, file, "prediction_type", "epsilon", "flow_prediction");
    require(config, file, "use_flow_sigmas", false, true);
    require(config, file, "solver_order", 2, 2);
    require(config, file, "solver_type", "bh2", "bh2");
    require(config, file, "predict_x0", true, true);
    require(config, file, "lower_order_final", true, true);
    require(config, file, "final_sigmas_type", "zero", "zero");
    require(config, file, "disable_corrector", json::array(), json::array());
    require(config, file, "thresholding", false, false);
    require(config, file, "solver_p", nullptr, nullptr);
    require(config, file, "shift_terminal", nullptr, nullptr);
    out.shift = number(config, file, "flow_shift", 1.0);
  } else if (name == "FlowMatchEulerDiscreteScheduler") {
    out.kind = Kind::euler;
    require(config, file, "invert_sigmas", false, false);
    require(config, file, "stochastic_sampling", false, false);
    out.shift = number(config, file, "shift", 1.0);
    out.shift_terminal = number(config, file, "shift_terminal", 0.0);
  } else {
    throw Error(Exit::input, fmt::format("scheduler class {} is unknown", name.dump()), file,
                "accepted: UniPCMultistepScheduler, FlowMatchEulerDiscreteScheduler");
  }
  for (const char* key : {"use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_dynamic_shifting"})
    if (!config.value(key, json()).is_null()) require(config, file, key, false, false);

  const double T = number(config, file, "num_train_timesteps", 1000);
  if (!(T >= 2 && T <= 1e6 && T == std::floor(T)))
    throw Error(Exit::input, fmt::format("num_train_timesteps is {}, not a whole number from 2 to 1000000", T), file);
  out.num_train_timesteps = static_cast<int>(T);
  if (!(out.shift >= 1e-3 && out.shift <= 1e3))
    throw Error(Exit::input, fmt::format("shift is {}, not between 0.001 and 1000", out.shift), file);
  if (!(out.shift_terminal >= 0 && out.shift_terminal < 1))
    throw Error(Exit::input, fmt::format("shift_terminal is {}, not between 0 and 1", out.shift_terminal), file);
  return out;
}

Scheduler::Scheduler(const SchedulerConfig& config, int num_steps) : config_(config) {
  if (num_steps < 1)
    throw Error(Exit::usage, fmt::format("{} steps asked for", num_steps), "num_steps", "ask for at least 1");
  const bool unipc = config.kind == Kind::unipc;
  for (const double level : unipc ? unipc_levels(config, num_steps) : euler_levels(config, num_steps)) {
    const float sigma = static_cast<float>(level), T = static_cast<float>(config.num_train_timesteps);
    if (!(sigma > 0 && (sigmas_.empty() || sigma < sigmas_.back())))
      throw Error(Exit::usage, fmt::format("the noise levels of {} steps do not fall to 0", num_steps), "num_steps",
                  "ask for another number of steps");
    sigmas_.push_back(sigma);
    timesteps_.push_back(unipc ? static_cast<float>(std::trunc(level * config.num_train_timesteps)) : sigma * T);
  }
  sigmas_.push_back(0.0f);
}

void Scheduler::step(int k, const Tensor& velocity, Tensor& sample) {
  REEL_CHECK(k == state_.step && k < num_steps(), "step {} after {} of {}", k, state_.step, num_steps());
  REEL_CHECK(velocity.shape() == sample.shape(), "{} and {}", to_string(velocity.shape()), to_string(sample.shape()));
  for (const Tensor& t : state_.history)
    REEL_CHECK(t.shape() == sample.shape(), "{} and {}", to_string(t.shape()), to_string(sample.shape()));
  if (config_.kind == Kind::unipc) {
    step_unipc(k, velocity, sample);
  } else {
    const auto i = static_cast<std::size_t>(k);
    const float dt = sigmas_[i + 1] - sigmas_[i];
    for (std::int64_t e = 0; e < sample.size(); ++e) sample[e] += dt * velocity[e];
  }
  ++state_.step;
}

void Scheduler::step_unipc(int k, const Tensor& velocity, Tensor& sample) {
  const std::size_t i = static_cast<std::size_t>(k);
  const auto level_before = [&](std::size_t j) { return j > 0 ? std::optional(sigmas_[j - 1]) : std::nullopt; };
  const std::int64_t size = sample.size();
  std::vector<Tensor>& history = state_.history;  // {x_k-1, m_k-1, m_k-2}

  Tensor clean(sample.shape());  // m_k, from the sample as it came in
  for (std::int64_t e = 0; e < size; ++e) clean[e] = sample[e] - sigmas_[i] * velocity[e];

  if (k >= 1) {  // correct x_k, now that m_k is known; the order is that of the prediction it replaces
    const Interval v(level_before(i - 1), sigmas_[i - 1], sigmas_[i]);
    const Tensor &x = history[0], &m = history[1];
    if (k == 1) {
      for (std::int64_t e = 0; e < size; ++e)
        sample[e] = (v.ratio * x[e] - v.weight * m[e]) - v.weight * (0.5f * (clean[e] - m[e]));
    } else {
      const Tensor& before = history[2];
      for (std::int64_t e = 0; e < size; ++e) {
        const float d = (before[e] - m[e]) / v.r;
        sample[e] = (v.ratio * x[e] - v.weight * m[e]) - v.weight * (v.rho_0 * d + v.rho_1 * (clean[e] - m[e]));
      }
    }
  }
  if (k + 1 == num_steps()) {  // sigma_t = 0: h is infinite, phi = -1, and the step gives m_k
    sample = std::move(clean);
    history.clear();
    return;
  }

  Tensor corrected = sample;
  const Interval v(level_before(i), sigmas_[i], sigmas_[i + 1]);
  if (k == 0) {
    for (std::int64_t e = 0; e < size; ++e) sample[e] = v.ratio * corrected[e] - v.weight * clean[e];
    history.resize(2);
  } else {
    const Tensor& before = history[1];
    for (std::int64_t e = 0; e < size; ++e) {
      const float d = (before[e] - clean[e]) / v.r;
      sample[e] = (v.ratio * corrected[e] - v.weight * clean[e]) - v.weight * (0.5f * d);
    }
    history.resize(3);
    history[2] = std::move(history[1]);
  }
  history[0] = std::move(corrected);
  history[1] = std::move(clean);
}

void Scheduler::set_state(State state) {
  const int k = state.step;
  const bool empty = config_.kind == Kind::euler || k == 0 || k == num_steps();
  bool good = k >= 0 && k <= num_steps() && state.history.size() == (empty ? 0u : k == 1 ? 2u : 3u);
  for (const Tensor& t : state.history) good = good && t.shape() == state.history[0].shape();
  if (!good)
    throw Error(Exit::input,
                fmt::format("scheduler state of step {} with {} tensors fits no run of {} steps", k,
                            state.history.size(), num_steps()),
                "checkpoint", "the checkpoint belongs to another experiment");
  state_ = std::move(state);
}

}  // namespace reel::model
