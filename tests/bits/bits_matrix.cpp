// The promise as a program: one shot of a tiny pipeline on every layout this launch allows. Started by CTest with 1, 2, 3,
// 5 and 8 ranks; inside, every instruction set x threads x partition x guidance group renders the same shot, and every
// digest must equal the golden one.
//   bits_matrix MODEL GOLDEN [--differ|--long|--bf16|--bf16-amx] [--shard-weights]
// --differ (negative controls): every digest must be another one. --long: 10 seconds in segments of 9 frames. --bf16, --bf16-amx:
// that numerics profile, with the instructions made for it too. --shard-weights: blocks shared out over nodes, which
// REEL_RANKS_PER_NODE makes of this machine.
#include <cstdio>
#include <fstream>
#include <string>
#include <string_view>

#include "core/digest.hpp"
#include "core/parallel.hpp"
#include "kernels/kernels.hpp"
#include "model/generate.hpp"

namespace {

using namespace reel;
using namespace reel::model;

std::string render_digest(const Pipeline& pipeline, const Comm& world, Partition partition, int groups, bool long_shot, bool shard_weights) {
  const Team team = Team::make(world, partition, groups, shard_weights);
  Shot shot;
  shot.prompts = {"A red ball rolls down a wooden ramp.", "blurry"};
  shot.num_frames = long_shot ? 161 : 9;
  // 3 x 4 x 3 = 36 tokens: not a multiple of 5 or 8 ranks; 8 latent rows.
  shot.height_px = 64;
  shot.width_px = 48;
  shot.seed = 7;
  // The first latent frame is given, so encoding is part of the matrix too.
  shot.first_frames = Tensor({3, 1, 64, 48});
  for (std::int64_t i = 0; i < shot.first_frames.size(); ++i)
    shot.first_frames[i] = static_cast<float>(i % 97) / 48.0f - 1.0f;
  Sampling sampling;
  sampling.num_steps = 3;
  Observer silent;
  const Rendered r = render(pipeline, team, shot, sampling, 16, silent);
  Sha256 sha;
  sha.update(r.latents.data(), static_cast<std::size_t>(r.latents.size()) * sizeof(float));
  sha.update(r.film.rgb.data(), r.film.rgb.size());
  return sha.hex();
}

int run(int argc, char** argv) {
  if (argc < 3) throw Error(Exit::usage, "bits_matrix MODEL GOLDEN [--differ|--long|--bf16|--bf16-amx] [--shard-weights]");
  const std::string_view option = argc > 3 ? argv[3] : "";
  const bool differ = option == "--differ", long_shot = option == "--long", bf16 = option.starts_with("--bf16");
  const bool shard_weights = std::string_view(argv[argc - 1]) == "--shard-weights";
  std::string golden;
  std::ifstream(argv[2]) >> golden;
  const Comm world = Comm::world();
  const Pipeline pipeline = Pipeline::open(argv[1], bf16 ? parse_numerics(option.substr(2)) : Numerics::f32);
  int wrong = 0, runs = 0;
  for (const std::string_view isa : {"amx", "avx512bf16", "avx512", "avx2", "scalar"}) {
    if (!bf16 && (isa == "amx" || isa == "avx512bf16")) continue;  // in f32 they are avx512
    if (long_shot && runs > 0) break;  // segments do not depend on the instruction set: the best one will do
    const kernels::Table* table = kernels::choose(isa);
    if (!table) {
      if (world.rank() == 0) std::printf("SKIPPED %s: this CPU does not have it\n", isa.data());
      continue;
    }
    kernels::use(*table);
    if (kernels::table().name != isa) throw Error(Exit::bug, "another instruction set is running");
    for (int threads : {1, 2})
      for (Partition partition : {Partition::heads, Partition::stream})
        for (int groups = 1; groups <= std::min(2, world.size()); ++groups) {
          if (long_shot && threads > 1) continue;
          set_num_threads(threads);
          const std::string digest = render_digest(pipeline, world, partition, groups, long_shot, shard_weights);
          ++runs;
          if (world.rank() != 0) continue;
          const bool ok = (digest == golden) != differ;
          std::printf("%s  %s ranks %d threads %d %-6s groups %d %s\n", digest.c_str(), isa.data(), world.size(), threads,
                      partition == Partition::heads ? "heads" : "stream", groups, ok ? "" : "WRONG");
          wrong += ok ? 0 : 1;
        }
  }
  if (world.rank() == 0) std::printf("%d runs, %d wrong\n", runs, wrong);
  return world.rank() == 0 && (wrong > 0 || runs == 0) ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  int code = 70;
  try {
    code = run(argc, argv);
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s (%s)\n", e.what(), e.where().c_str());
    Comm::abort(static_cast<int>(e.exit()));
  }
  Comm::finish();
  return code;
}
