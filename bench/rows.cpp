// What stands between products: bytes/s, each activation counted once read and once written, against copies of arrays of the
// same size.
#include "bench.hpp"

namespace reel::bench {
namespace {

using namespace model;

constexpr int64_t num_rows = 8190, width = 1536, head_dim = 128;

struct Arrays {
  FloatBuffer x, y, z, mul, add, ones, cos, sin;
  // Weights of one and true rotations: a pass in place may be repeated without its rows fading away.
  Arrays()
      : x(random_floats(num_rows * width, "x")), y(random_floats(num_rows * width, "y")), z(x), mul(random_floats(width, "mul")),
        add(random_floats(width, "add")), ones(static_cast<std::size_t>(width), 1.0f), cos(static_cast<std::size_t>(num_rows * head_dim), 0.6f), sin(cos) {
    for (std::size_t i = 0; i < sin.size(); ++i) sin[i] = i % 2 == 0 ? -0.8f : 0.8f;
  }
};

Arrays& arrays() {
  static Arrays all;
  return all;
}

// A pass over rows: z[i] from x[i], y[i] or itself; `arrays` of them go through memory.
struct Pass {
  const char* name;
  int arrays;
  void (*row)(Arrays&, int64_t i);
};

void copy(Arrays& a, int64_t i) { std::copy_n(a.x.data() + i * width, width, a.z.data() + i * width); }
void triad(Arrays& a, int64_t i) {
  const float *x = a.x.data() + i * width, *y = a.y.data() + i * width;
  float* z = a.z.data() + i * width;
  for (int64_t j = 0; j < width; ++j) z[j] = x[j] + 0.5f * y[j];
}

// The model's own, in place where it is there; `layer_norm` is with modulation, `rms_norm_rotate` what queries and keys go through.
constexpr Pass passes[] = {
    {"layer_norm", 2,
     [](Arrays& a, int64_t i) {
       kernels::table().layer_norm(a.x.data() + i * width, width, 1e-6f, a.mul.data(), a.add.data(), a.z.data() + i * width);
     }},
    {"rms_norm_rotate", 2,
     [](Arrays& a, int64_t i) {
       float* z = a.z.data() + i * width;
       kernels::table().rms_norm(z, width, 1e-6f, a.ones.data(), z);
       kernels::table().rotate(z, width, head_dim, a.cos.data() + i * head_dim, a.sin.data() + i * head_dim);
     }},
    {"gated_add", 3, [](Arrays& a, int64_t i) { kernels::table().gated_add(a.y.data() + i * width, a.mul.data(), width, a.z.data() + i * width); }},
    {"gelu", 2,
     [](Arrays& a, int64_t i) { kernels::table().activate(a.x.data() + i * width, width, Activation::gelu_tanh, a.z.data() + i * width); }},
    // The decoder's pixels: 16 of 96 channels in a row.
    {"l2_norm_silu", 2,
     [](Arrays& a, int64_t i) {
       for (int64_t c = i * width; c < (i + 1) * width; c += 96)
         kernels::table().l2_norm(a.x.data() + c, 96, a.mul.data(), Activation::silu, a.z.data() + c);
     }},
};

double bytes_of(int arrays) { return static_cast<double>(arrays * num_rows * width) * sizeof(float); }

// The yardstick of a pass over so many arrays.
void copy_rows(int num_arrays) {
  for_rows(num_rows, [&](int64_t i) { num_arrays == 2 ? copy(arrays(), i) : triad(arrays(), i); });
}

double copy_bytes_per_s(int num_arrays) {
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    copy_rows(num_arrays);
    best = std::max(best, bytes_of(num_arrays) / std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

void run_pass(benchmark::State& state, const Pass& pass, int threads) {
  set_num_threads(threads);
  Arrays& a = arrays();
  const bool right = checked(pass.name, [&] {
    // In place of all rows some, first and last: the scalar reference is slow.
    for (const int64_t i : {int64_t{0}, num_rows - 1}) {
      const auto row_of = [&] {
        std::copy_n(a.y.data() + i * width, width, a.z.data() + i * width);
        pass.row(a, i);
        return FloatBuffer(a.z.data() + i * width, a.z.data() + (i + 1) * width);
      };
      const FloatBuffer want = by_scalar(row_of), got = row_of();
      if (!same_bits(want.data(), got.data(), width)) return false;
    }
    return true;
  });
  if (!right) return state.SkipWithError("bits differ from the scalar reference");
  const double before = copy_bytes_per_s(pass.arrays);
  for (auto _ : state) for_rows(num_rows, [&](int64_t i) { pass.row(a, i); });
  const double peak = std::max(before, copy_bytes_per_s(pass.arrays)), bytes = bytes_of(pass.arrays);
  state.counters["bytes_per_second"] = benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["of_peak"] = benchmark::Counter(bytes / peak, benchmark::Counter::kIsIterationInvariantRate);
}

void run_copy(benchmark::State& state, int num_arrays, int threads) {
  set_num_threads(threads);
  copy_rows(num_arrays);  // touches the memory
  for (auto _ : state) copy_rows(num_arrays);
  state.counters["bytes_per_second"] = benchmark::Counter(bytes_of(num_arrays), benchmark::Counter::kIsIterationInvariantRate);
}

}  // namespace

void add_rows() {
  peers::add("copy", "f32", {num_rows, width}, [](benchmark::State& state, int threads) { run_copy(state, 2, threads); });
  peers::add("triad", "f32", {num_rows, width}, [](benchmark::State& state, int threads) { run_copy(state, 3, threads); });
  for (const Pass& pass : passes)
    peers::add(pass.name, "f32", {num_rows, width}, [pass](benchmark::State& state, int threads) { run_pass(state, pass, threads); });
}

}  // namespace reel::bench
