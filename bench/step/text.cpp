// Encoding a prompt with a text encoder of a published shape and synthetic weights.
#include <chrono>

#include "core/digest.hpp"
#include "core/parallel.hpp"
#include "model/generate.hpp"
#include "model/text_encoder.hpp"
#include "step.hpp"
#include "study/recorder.hpp"

namespace reel::bench {

using namespace model;
using std::int64_t;

Measured measure_text(const Comm& world, const Options& o) {
  const int threads = o.threads > 0 ? o.threads : std::max(1, num_cores() / world.size());
  set_num_threads(threads);
  const Numerics numerics = parse_numerics(o.profile);
  const Team team = Team::make(world, Partition::heads, 1);
  const Pipeline pipeline = Pipeline::synthetic(o.model, 1, numerics);
  std::vector<int64_t> ids;  // as long as prompts get
  for (int64_t i = 0; i < context_length; ++i) ids.push_back(i % pipeline.text_encoder().vocab_size);
  world.barrier();
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<Tensor> features = encode_text(pipeline.text_encoder(), *pipeline.weights(Pipeline::Part::text_encoder), team.node, {ids}, numerics);
  world.barrier();
  Measured m;
  m.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  m.gflops = text_encoder_flops(pipeline.text_encoder(), context_length) / m.seconds * 1e-9;
  m.digest = sha256_hex(features[0].data(), static_cast<std::size_t>(features[0].size()) * sizeof(float));
  for (const int64_t bytes : world.all_gather(study::peak_memory_bytes())) m.memory_gb += static_cast<double>(bytes) * 1e-9;
  if (world.rank() != 0) return m;
  std::fprintf(o.out, "%s %s, encoding %lld tokens, %d rank(s) x %d thread(s)\n", o.model.c_str(), o.profile.c_str(),
               static_cast<long long>(context_length), world.size(), threads);
  std::fprintf(o.out, "seconds  %.3f, most of it for making and packing weights\n", m.seconds);
  std::fprintf(o.out, "memory   %.2f GB of all ranks, shared pages counted for each\n", m.memory_gb);
  std::fprintf(o.out, "digest   %s\n", m.digest.c_str());
  return m;
}

}  // namespace reel::bench
