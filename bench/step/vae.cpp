// Decoding a film of a published shape with synthetic weights.
#include "model/vae.hpp"

#include <algorithm>
#include <chrono>

#include "core/digest.hpp"
#include "model/noise.hpp"
#include "model/peak.hpp"
#include "model/rehearsal.hpp"
#include "step.hpp"

namespace reel::bench {

using namespace model;
using std::int64_t;

Measured measure_vae(const Comm& world, const Options& o) {
  const Stage stage(world, o);
  const Numerics numerics = stage.numerics;
  const VaeConfig& v = stage.pipeline.vae();
  const Vae vae(v, *stage.pipeline.weights(Pipeline::Part::vae), stage.team.node, numerics);
  Tensor z({v.z_dim, 1 + (o.frames - 1) / v.scale_factor_temporal, o.height / v.scale_factor_spatial, o.width / v.scale_factor_spatial});
  philox_normal(1, "latents", 0, z.size(), z.data());
  const double flops = vae_decode_flops(v, z.dim(1), z.dim(2), z.dim(3)).total();
  Repeats repeats;
  Measured m;
  for (int64_t i = 0; i < o.repeats; ++i) {
    const double before = measured_peak_flops(numerics);
    repeats.predicted_s.push_back(world.slowest(rehearse_decode(v, numerics, z.dim(1), z.dim(2), z.dim(3), world.size())));
    std::string digests;
    world.barrier();
    const auto begin = std::chrono::steady_clock::now();
    vae.decode(world, z, [&](int64_t, const Tensor& frames) {
      digests += sha256_hex(frames.data(), static_cast<std::size_t>(frames.size()) * sizeof(float));
    });
    world.barrier();
    repeats.seconds.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    repeats.of_peak.push_back(flops / repeats.seconds.back() / (std::max(before, measured_peak_flops(numerics)) * stage.threads * world.size()));
    m.digest = sha256_hex(digests);
  }
  m.memory_gb = memory_gb(world);
  m.seconds = Repeats::median(repeats.seconds);
  m.of_peak = Repeats::median(repeats.of_peak);
  m.gflops = flops / m.seconds * 1e-9;
  if (world.rank() != 0) return m;
  std::fprintf(o.out, "%s %s, decoding %s latents, %d rank(s) x %d thread(s)\n", o.model.c_str(), o.profile.c_str(),
               to_string(z.shape()).c_str(), world.size(), stage.threads);
  repeats.print(o.out);
  std::fprintf(o.out, "memory   %.2f GB of all ranks, shared pages counted for each\n", m.memory_gb);
  std::fprintf(o.out, "digest   %s\n", m.digest.c_str());
  return m;
}

}  // namespace reel::bench
