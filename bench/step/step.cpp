// One forward of a published shape with synthetic weights: seconds, share of peak, memory and bytes against their formulas,
// and a digest, which must be the same on all layouts of one profile.
//   mpirun -n 2 build/release/bench/step --profile bf16 --frames 17 --size 832x480 --repeats 3
//   build/release/bench/step --part vae --frames 9 --size 832x480 --repeats 1
//   build/release/bench/step --part text --profile bf16
// With Google Benchmark's arguments it is a program for bench/run.py, and prints its JSON with --benchmark_format=json.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <string>
#include <string_view>

#include "core/digest.hpp"
#include "core/parallel.hpp"
#include "model/generate.hpp"
#include "model/noise.hpp"
#include "model/peak.hpp"
#include "model/rehearsal.hpp"
#include "model/transformer.hpp"
#include "step.hpp"
#include "study/recorder.hpp"
#include "study/scaling.hpp"

namespace {

using namespace reel;
using namespace reel::model;
using bench::Measured;
using bench::Options;
using std::int64_t;

Options parse(int argc, char** argv) {
  Options o;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string value = i + 1 < argc ? argv[i + 1] : throw Error(Exit::usage, "a value is missing", argv[i], "see bench/step/step.cpp");
    const auto x = value.find('x');
    try {
      if (name == "--model") o.model = value;
      else if (name == "--part") o.part = value;
      else if (name == "--profile") o.profile = value;
      else if (name == "--partition") o.partition = value;
      else if (name == "--frames") o.frames = std::stoll(value);
      else if (name == "--repeats") o.repeats = std::stoll(value);
      else if (name == "--layers") o.layers = std::stoll(value);
      else if (name == "--threads") o.threads = std::stoi(value);
      else if (name == "--shard-weights") o.shard_weights = std::stoi(value) != 0;
      else if (name == "--size" && x != std::string::npos) o.width = std::stoll(value.substr(0, x)), o.height = std::stoll(value.substr(x + 1));
      else throw Error(Exit::usage, "unknown option", argv[i], "see bench/step/step.cpp");
    } catch (const std::logic_error&) {
      throw Error(Exit::usage, "no number: " + value, argv[i], "see bench/step/step.cpp");
    }
  }
  if (o.frames < 1 || o.repeats < 1 || o.frames % 4 != 1) throw Error(Exit::usage, "frames are 4k + 1, repeats at least 1", "bench/step");
  if (o.part != "transformer" && o.part != "vae" && o.part != "text") throw Error(Exit::usage, "no such part: " + o.part, "--part", "use transformer, vae or text");
  return o;
}

// What lies in memory during a step, in bytes: weights, text keys and values of all layers, and the arrays of a block.
struct MemoryFormula {
  double weights, activations;
  MemoryFormula(const TransformerConfig& c, Numerics numerics, double n, double num_tokens, double ranks, double nodes, bool shard_weights) {
    const bool half = numerics != Numerics::f32;
    const double d = static_cast<double>(c.width()), f = static_cast<double>(c.ffn_dim), layers = static_cast<double>(c.num_layers);
    const double block = 8 * d * d + 2 * d * f, ends = static_cast<double>(num_parameters(c)) - layers * block;
    const double blocks = shard_weights ? layers + nodes * std::min(2.0, nodes - 1) : nodes * layers;
    weights = 4 * nodes * ends + (half ? 2 : 4) * blocks * block;
    const double element = half ? 2 : 4, heads = std::ceil(static_cast<double>(c.num_heads) / ranks) + (ranks > 1 ? 1 : 0);
    const double context = layers * 2 * static_cast<double>(context_length) * d * element;
    const double packed = std::min(heads * 2 * num_tokens * static_cast<double>(c.head_dim) * element, 268435456.0);
    // x, u, q, k, v, y; the rounded operand; hidden rows of the feed-forward; with ranks: q, k, v at home and where they are worked on.
    activations = ranks * (context + 4 * 6 * n * d + (half ? 2 * n * std::max(d, f) : 0) + 4 * std::min(n, 1536.0) * f + packed +
                           (ranks > 1 ? 6 * element * n * d : 0));
  }
};

}  // namespace

reel::bench::Stage::Stage(const Comm& world, const Options& o)
    : threads(o.threads > 0 ? o.threads : std::max(1, num_cores() / world.size())), numerics(parse_numerics(o.profile)),
      partition(o.partition == "stream" ? Partition::stream : Partition::heads), team(Team::make(world, partition, 1, o.shard_weights)),
      pipeline(Pipeline::synthetic(o.model, 1, numerics)) {
  set_num_threads(threads);
}

double reel::bench::memory_gb(const Comm& world) {
  double bytes = 0;
  for (const int64_t of_rank : world.all_gather(study::peak_memory_bytes())) bytes += static_cast<double>(of_rank);
  return bytes * 1e-9;
}

Measured reel::bench::measure_transformer(const Comm& world, const Options& o) {
  const Stage stage(world, o);
  const Numerics numerics = stage.numerics;
  TransformerConfig c = stage.pipeline.transformer();
  if (o.layers > 0) c.num_layers = o.layers;
  const Transformer transformer(c, *stage.pipeline.weights(Pipeline::Part::transformer), stage.team.node, numerics, stage.team.nodes);
  const VaeConfig& v = stage.pipeline.vae();
  Tensor latents({c.in_channels, 1 + (o.frames - 1) / v.scale_factor_temporal, o.height / v.scale_factor_spatial, o.width / v.scale_factor_spatial});
  philox_normal(1, "latents", 0, latents.size(), latents.data());
  Tensor text({context_length, c.text_dim});
  philox_normal(1, "text", 0, text.size(), text.data());
  const Context context = transformer.encode_context(text);
  const int64_t tokens = transformer.num_tokens(latents.shape());
  const float timestep = 700;
  Repeats repeats;
  std::vector<double> comm_shares;
  std::string digest;
  std::uint64_t sent = 0;
  for (int64_t i = 0; i < o.repeats; ++i) {
    const double peak = measured_peak_flops(numerics) * stage.threads * world.size();  // beside each run: machines change their mind
    repeats.predicted_s.push_back(world.slowest(rehearse_forward(c, numerics, tokens, world.size())));
    world.barrier();
    const std::uint64_t before = Comm::bytes_sent();
    const double comm_before = Comm::seconds();
    const auto begin = std::chrono::steady_clock::now();
    const Tensor velocity = transformer.forward(world, stage.partition, latents, {&timestep, 1}, context);
    world.barrier();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    repeats.seconds.push_back(seconds);
    comm_shares.push_back(0);
    for (const int64_t ppm : world.all_gather(std::llround((Comm::seconds() - comm_before) / seconds * 1e6)))
      comm_shares.back() += static_cast<double>(ppm) * 1e-6 / world.size();
    sent = Comm::bytes_sent() - before;
    repeats.of_peak.push_back(transformer_flops(c, tokens, context_length).total() / seconds / peak);
    digest = sha256_hex(velocity.data(), static_cast<std::size_t>(velocity.size()) * sizeof(float));
  }
  std::sort(comm_shares.begin(), comm_shares.end());
  const int64_t n = slice(tokens, world.size(), world.rank()).size();
  const std::uint64_t formula = static_cast<std::uint64_t>(c.num_layers) * study::attention_bytes(stage.partition, numerics, tokens, c.num_heads, c.head_dim, world.size(), world.rank()) +
                                static_cast<std::uint64_t>(4 * n * c.out_channels * c.patch_size() * (world.size() - 1) + transformer.weight_bytes_sent());
  for (const int64_t off : world.all_gather(static_cast<int64_t>(sent) - static_cast<int64_t>(formula)))
    if (off != 0) throw Error(Exit::bug, fmt::format("a rank sent {} bytes more than the formula says", off), "bench/step");
  const auto num_nodes = static_cast<double>(Nodes::of(world, stage.team.node).count);
  const double memory = memory_gb(world);
  if (world.rank() != 0) return {};
  const MemoryFormula expected(c, numerics, static_cast<double>(n), static_cast<double>(tokens), world.size(), num_nodes, o.shard_weights);
  std::fprintf(o.out, "%s %s, %lld tokens, %d rank(s) x %d thread(s), %s%s\n", o.model.c_str(), o.profile.c_str(), static_cast<long long>(tokens), world.size(), stage.threads,
              o.partition.c_str(), o.shard_weights ? fmt::format(", blocks shared out over {} node(s)", num_nodes).c_str() : "");
  repeats.print(o.out);
  std::fprintf(o.out, "of comm  %.4f (time in MPI calls, waiting for slower ranks included, mean of the ranks: median; %.4f to %.4f)\n",
              comm_shares[comm_shares.size() / 2], comm_shares.front(), comm_shares.back());
  std::fprintf(o.out, "memory   %.2f GB of all ranks, shared pages counted for each; by formula %.2f of weights and %.2f of activations\n", memory,
              expected.weights * 1e-9, expected.activations * 1e-9);
  std::fprintf(o.out, "bytes    %llu sent by rank 0 in a step, as the formula says\n", static_cast<unsigned long long>(sent));
  std::fprintf(o.out, "digest   %s\n", digest.c_str());
  const double took = Repeats::median(repeats.seconds);
  return {took, Repeats::median(repeats.of_peak), transformer_flops(c, tokens, context_length).total() / took * 1e-9, memory, digest};
}

int main(int argc, char** argv) {
  int code = 70;
  try {
    if (argc > 1 && std::string_view(argv[1]).starts_with("--benchmark_")) {
      code = bench::run_as_benchmark(argc, argv);
    } else {
      const Options o = parse(argc, argv);
      const Comm world = Comm::world();
      const auto measure = o.part == "vae" ? bench::measure_vae : o.part == "text" ? bench::measure_text : bench::measure_transformer;
      measure(world, o);
      code = 0;
    }
  } catch (const Error& e) {
    std::fprintf(stderr, "error: %s (%s); %s\n", e.what(), e.where().c_str(), e.hint().c_str());
    Comm::abort(static_cast<int>(e.exit()));
  }
  Comm::finish();
  return code;
}
