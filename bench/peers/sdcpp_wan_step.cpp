// One forward of Wan2.1-T2V-1.3B in stable-diffusion.cpp (ggml on the CPU), weights of noise. It needs the source and the build
// folder of stable-diffusion.cpp, whose headers are private, so no build knows of it:
//   g++ -O2 -std=c++17 -fopenmp -DGGML_MAX_NAME=128 -I bench/peers -I $SD/src -I $SD/include -I $SD/ggml/include -I $SD/thirdparty bench/peers/sdcpp_wan_step.cpp \
//       $SD/build/libstable-diffusion.a $SD/build/ggml/src/libggml.a $SD/build/ggml/src/libggml-cpu.a $SD/build/ggml/src/libggml-base.a \
//       -lbenchmark -lpthread -ldl -o build/release/bench/step_peer_sdcpp
// bench/run.py --step takes step_peer_* from there.
#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <vector>

#include "peer.hpp"
#include "wan.hpp"

namespace {

const char* const prefix = "model.diffusion_model";

std::map<std::string, ggml_tensor*> tensors_of(WAN::WanRunner& runner) {
  std::map<std::string, ggml_tensor*> tensors;
  runner.get_param_tensors(tensors, prefix);
  return tensors;
}

// The shape is told by the number of blocks among the names of a file; here by names alone.
std::unique_ptr<WAN::WanRunner> make_runner(ggml_backend_t backend, ggml_type type) {
  String2TensorStorage names;
  for (int layer = 0; layer < 30; ++layer) names[std::string(prefix) + ".blocks." + std::to_string(layer) + ".x"] = TensorStorage();
  WAN::WanRunner shape(backend, false, names, prefix, VERSION_WAN2);
  for (const auto& [name, tensor] : tensors_of(shape)) {
    TensorStorage storage;
    storage.type = ggml_n_dims(tensor) == 2 && name.find(".weight") != std::string::npos ? type : tensor->type;
    names[name] = storage;
  }
  auto runner = std::make_unique<WAN::WanRunner>(backend, false, names, prefix, VERSION_WAN2);
  runner->set_flash_attention_enabled(true);
  runner->alloc_params_buffer();
  std::mt19937 random(1);
  std::vector<float> values;
  for (const auto& [name, tensor] : tensors_of(*runner)) {
    std::normal_distribution<float> normal(0, ggml_n_dims(tensor) >= 2 ? 0.02f : 0.1f);
    values.resize(static_cast<std::size_t>(ggml_nelements(tensor)));
    for (float& v : values) v = normal(random);
    const auto n = static_cast<int64_t>(values.size());
    if (tensor->type == GGML_TYPE_F32) std::memcpy(tensor->data, values.data(), values.size() * sizeof(float));
    if (tensor->type == GGML_TYPE_F16) ggml_fp32_to_fp16_row(values.data(), static_cast<ggml_fp16_t*>(tensor->data), n);
    if (tensor->type == GGML_TYPE_BF16) ggml_fp32_to_bf16_row(values.data(), static_cast<ggml_bf16_t*>(tensor->data), n);
  }
  return runner;
}

sd::Tensor<float> noise(std::vector<int64_t> shape) {
  sd::Tensor<float> x(shape);
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < x.numel(); ++i) x.data()[i] = normal(random);
  return x;
}

void step(benchmark::State& state, ggml_type type, int64_t frames, int64_t rows, int64_t columns, int threads) {
  static const ggml_backend_t backend = ggml_backend_cpu_init();
  static std::unique_ptr<WAN::WanRunner> runner;
  static ggml_type of = GGML_TYPE_COUNT;
  if (of != type) runner.reset(), runner = make_runner(backend, type), of = type;
  const auto x = noise({columns, rows, frames, 16}), context = noise({4096, 512, 1});
  const auto when = sd::Tensor<float>::from_vector({500.f});
  sd::Tensor<float> out;
  for (auto _ : state) out = runner->compute(threads, x, when, context);
  bool finite = !out.empty();
  for (int64_t i = 0; i < out.numel(); ++i) finite = finite && std::isfinite(out.data()[i]);
  if (!finite) state.SkipWithError("the forward failed or is not finite");
}

}  // namespace

int main(int argc, char** argv) {
  for (const auto& [profile, type] : {std::pair{"f32", GGML_TYPE_F32}, {"bf16", GGML_TYPE_BF16}, {"f16", GGML_TYPE_F16}})
    for (const int threads : peers::thread_counts())
      for (const auto& [tokens, frames, rows, columns] : {std::array<int64_t, 4>{1560, 1, 60, 104}, {8190, 21, 30, 52}})
        benchmark::RegisterBenchmark(("wan_1.3b_step/" + std::string(profile) + "/" + std::to_string(tokens) + "/threads:" + std::to_string(threads)).c_str(),
                                     [=, type = type, frames = frames, rows = rows, columns = columns](benchmark::State& state) {
                                       step(state, type, frames, rows, columns, threads);
                                     })
            ->UseRealTime()
            ->Iterations(1)
            ->Unit(benchmark::kSecond);
  return peers::run(argc, argv, "stable-diffusion.cpp");
}
