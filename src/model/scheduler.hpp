#pragma once
// Schedulers: the noise levels a film passes through, and the step from one to the next.
// A sample at noise level sigma is x = (1 - sigma) clean + sigma noise; the model predicts the velocity noise - clean.
#include <string>
#include <vector>

#include "core/tensor.hpp"

namespace reel::model {

/// What scheduler_config.json says, as far as Wan uses it. Defaults are those of diffusers.
struct SchedulerConfig {
  enum class Kind {
    unipc,  ///< UniPCMultistepScheduler: order 2, bh2, predicts the clean sample, flow sigmas
    euler,  ///< FlowMatchEulerDiscreteScheduler
  };
  /// Noise levels of UniPC: g_i = 1 + i ((1/T - 1)/n) since diffusers 0.37; g_i = (1 - 1/T)(1 - i/n) up to 0.36 and in
  /// Wan's own code. T = num_train_timesteps, n = steps. Euler has one grid only.
  enum class Grid { diffusers_0_37, diffusers_0_36 };

  Kind kind = Kind::unipc;
  double shift = 1.0;  ///< `flow_shift` of UniPC, `shift` of Euler: sigma = s g / (1 + (s - 1) g)
  int num_train_timesteps = 1000;
  double shift_terminal = 0;  ///< Euler: stretch the levels so that the last one is this; 0: leave them
  Grid grid = Grid::diffusers_0_37;
};

/// Reads the text of scheduler_config.json; `file` is its name for messages. Unknown keys are ignored.
/// Throws Error (input) on a class that is neither of the two, and on settings Reel would have to approximate (other
/// orders, predictions, thresholding, Karras/exponential/beta sigmas, dynamic shifting, ...).
SchedulerConfig parse_scheduler(const std::string& json_text, const std::string& file);

/// Walks a sample from noise to clean in `num_steps` steps. Copying it copies the whole state.
/// Scalars are f32, rounded where diffusers 0.37 rounds them; elements are updated with plain * and +, one by one, so a
/// slice of a sample gets the same bits as the whole. Always starts at step 0 (diffusers' image-to-video pipeline looks
/// its start up by timestep value and skips step 0 when that value occurs twice).
/// Source: diffusers scheduling_unipc_multistep.py (Zhao et al. 2023), scheduling_flow_match_euler_discrete.py.
class Scheduler {
 public:
  /// What a checkpoint must keep between steps. `history` is empty for Euler, before step 0 and after the last step.
  /// For UniPC it is {x_k-1, m_k-1} before step k = 1 and {x_k-1, m_k-1, m_k-2} later: x_k is the corrected sample and
  /// m_k the predicted clean sample of step k. All have the shape of the sample.
  struct State {
    int step = 0;  ///< number of steps taken
    std::vector<Tensor> history;
  };

  /// Throws Error (usage) when num_steps < 1, or when two noise levels coincide in f32 (tens of thousands of steps).
  Scheduler(const SchedulerConfig& config, int num_steps);

  int num_steps() const noexcept { return static_cast<int>(timesteps_.size()); }
  /// What the model is told at step k: trunc(T sigma_k) for UniPC, f32(T sigma_k) for Euler.
  const std::vector<float>& timesteps() const noexcept { return timesteps_; }
  /// num_steps + 1 falling noise levels; the last is 0.
  const std::vector<float>& sigmas() const noexcept { return sigmas_; }

  /// Moves `sample` from sigmas()[k] to sigmas()[k + 1], given the model's velocity there. Steps come in order,
  /// k = state().step. Any shape, the same for both tensors and in every step.
  void step(int k, const Tensor& velocity, Tensor& sample);

  const State& state() const noexcept { return state_; }
  /// Continues from a checkpoint. Throws Error (input) when `state` has the wrong number or shapes of tensors.
  void set_state(State state);

 private:
  void step_unipc(int k, const Tensor& velocity, Tensor& sample);
  SchedulerConfig config_;
  std::vector<float> timesteps_, sigmas_;
  State state_;
};

}  // namespace reel::model
