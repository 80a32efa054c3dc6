// Encoding a prompt with a text encoder of a published shape and synthetic weights.
#include <chrono>

#include "core/digest.hpp"
#include "model/text_encoder.hpp"
#include "step.hpp"

namespace reel::bench {

using namespace model;
using std::int64_t;

Measured measure_text(const Comm& world, const Options& o) {
  const Stage stage(world, o);
  const Numerics numerics = stage.numerics;
  std::vector<int64_t> ids;  // as long as prompts get
  for (int64_t i = 0; i < context_length; ++i) ids.push_back(i % stage.pipeline.text_encoder().vocab_size);
  world.barrier();
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<Tensor> features = encode_text(stage.pipeline.text_encoder(), *stage.pipeline.weights(Pipeline::Part::text_encoder), stage.team.node, {ids}, numerics);
  world.barrier();
  Measured m;
  m.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  m.gflops = text_encoder_flops(stage.pipeline.text_encoder(), context_length) / m.seconds * 1e-9;
  m.digest = sha256_hex(features[0].data(), static_cast<std::size_t>(features[0].size()) * sizeof(float));
  m.memory_gb = memory_gb(world);
  if (world.rank() != 0) return m;
  std::fprintf(o.out, "%s %s, encoding %lld tokens, %d rank(s) x %d thread(s)\n", o.model.c_str(), o.profile.c_str(),
               static_cast<long long>(context_length), world.size(), stage.threads);
  std::fprintf(o.out, "seconds  %.3f, most of it for making and packing weights\n", m.seconds);
  std::fprintf(o.out, "memory   %.2f GB of all ranks, shared pages counted for each\n", m.memory_gb);
  std::fprintf(o.out, "digest   %s\n", m.digest.c_str());
  return m;
}

}  // namespace reel::bench
