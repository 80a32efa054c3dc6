#include <map>
#include <vector>

#include "core/error.hpp"
#include "model/weights.hpp"
#include "peers/peer.hpp"
#include "step.hpp"

namespace reel::bench {
namespace {

// One run in each turn: it is long, and whoever wants more asks again. The peak memory is that of the process so far.
// Repeated layouts of a profile must give the same bits.
void add(const std::string& name, Options o, const std::vector<std::int64_t>& shape, Measured (*measure)(const Comm&, const Options&)) {
  std::string profile = o.profile;
  std::replace(profile.begin(), profile.end(), '-', '_');
  const std::string key = fmt::format("{}/{}/{}", name, profile, fmt::join(shape, "x"));
  o.repeats = 1;
  o.out = stderr;
  for (const int threads : peers::thread_counts()) {
    o.threads = threads;
    benchmark::RegisterBenchmark(fmt::format("{}/threads:{}", key, threads).c_str(),
                                 [=](benchmark::State& state) {
                                   static std::map<std::string, std::string> digests;
                                   Measured m;
                                   for (auto _ : state) {
                                     m = measure(Comm::solo(), o);
                                     state.SetIterationTime(m.seconds);
                                   }
                                   if (digests.emplace(key, m.digest).first->second != m.digest)
                                     return state.SkipWithError("bits differ from those of other threads");
                                   state.counters["GFLOP/s"] = m.gflops;
                                   state.counters["of_peak"] = m.of_peak;
                                   state.SetLabel(fmt::format("peak memory so far {:.2f} GB; digest {:.16}", m.memory_gb, m.digest));
                                 })
        ->Iterations(1)
        ->UseManualTime()
        ->Unit(benchmark::kSecond);
  }
}

}  // namespace

int run_as_benchmark(int argc, char** argv) {
  for (const char* profile : {"f32", "bf16", "bf16-amx"}) {
    Options o;
    o.profile = profile;
    // 1,560 tokens: one latent frame of 60 x 104; 8,190: 21 of 30 x 52.
    o.frames = 1;
    add("wan_1.3b_step", o, {1560}, measure_transformer);
    o.frames = 81, o.width = 416, o.height = 240;
    add("wan_1.3b_step", o, {8190}, measure_transformer);
    o.frames = 9, o.width = 832, o.height = 480;
    add("vae_decode", o, {o.frames, o.height, o.width}, measure_vae);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace reel::bench
