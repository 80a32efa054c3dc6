#pragma once
// What the peer programs share: shapes of Wan, names, inputs, and a check of results before any number is printed.
//
// Names are those of reel_bench, so that run.py can put two programs side by side:
//   product/PROFILE/MxKxN/threads:T              y[M, N] = x[M, K] W[N, K]^T
//   attention/PROFILE/HEADSxQUERIESxKEYS/threads:T    heads 128 wide
//   conv3d/PROFILE/INxOUTxFRAMESxROWSxCOLUMNS/threads:T    3x3x3, causal: FRAMES + 2 frames are read
//   OP/f32/ROWSxWIDTH/threads:T                  layer_norm (with modulation), rms_norm_rotate, gated_add, gelu, l2_norm_silu
//   wan_1.3b_step/PROFILE/TOKENS/threads:T       one forward of the transformer
//   vae_decode/PROFILE/FRAMESxROWSxCOLUMNS/threads:T   a film out of its latents
// PROFILE says what is multiplied, and by what: f32, bf16 (no AMX), bf16_amx. Sums and results of ours are f32 in all
// three.
#include <benchmark/benchmark.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <new>
#include <set>
#include <string>
#include <thread>

namespace peers {

using std::int64_t;
using Bf16 = std::uint16_t;

/// A product y[m, n] = x[m, k] W[n, k]^T.
struct Product {
  int64_t m, k, n;
};
/// Linear layers of the 1.3B (inner width 1536) and the 14B (5120) for one latent frame of 60 x 104, 21 of 30 x 52, 21
/// of 60 x 104.
inline constexpr int64_t tokens[] = {1560, 8190, 32760};
inline constexpr int64_t layers[][2] = {{1536, 1536}, {1536, 8960}, {8960, 1536}, {5120, 5120}, {5120, 13824}};  // K, N

/// One, two and all hardware threads.
inline std::set<int> thread_counts() {
  const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  return {1, std::min(2, all), all};
}

/// An array on huge pages where the system gives them.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t size) : size_(size) {
    constexpr std::size_t page = std::size_t{2} << 20;
    const std::size_t bytes = (static_cast<std::size_t>(size) * sizeof(T) + page - 1) / page * page;
    data_ = static_cast<T*>(std::aligned_alloc(page, bytes));
    if (!data_) throw std::bad_alloc();
    madvise(data_, bytes, MADV_HUGEPAGE);
    std::memset(static_cast<void*>(data_), 0, bytes);  // no page is touched first while the clock runs
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }
  T* data() const { return data_; }
  T& operator[](int64_t i) const { return data_[i]; }
  int64_t size() const { return size_; }

 private:
  int64_t size_;
  T* data_;
};

inline float to_float(float x) { return x; }
inline float to_float(Bf16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x) << 16;
  float out;
  std::memcpy(&out, &bits, sizeof out);
  return out;
}
inline void put(float& out, float x) { out = x; }
inline void put(Bf16& out, float x) {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  out = static_cast<Bf16>(bits >> 16);
}

/// Uniform numbers in [-0.5, 0.5).
template <class T>
void fill(Buffer<T>& x, std::uint32_t seed) {
  std::uint32_t state = seed;
  for (int64_t i = 0; i < x.size(); ++i) {
    state = state * 1664525u + 1013904223u;
    put(x[i], static_cast<float>(state >> 8) * 0x1p-24f - 0.5f);
  }
}

/// True if `got` is a sum of `terms` products of which `want` and `magnitude` (of absolute values) are known in double.
inline bool is_sum(float got, double want, double magnitude, int64_t terms) {
  return std::abs(got - want) <= static_cast<double>(terms) * 0x1p-24 * magnitude;
}

/// Looks at 16 outputs of a product.
template <class T>
bool is_product(const Product& p, const Buffer<T>& x, const Buffer<T>& w, const Buffer<float>& y) {
  for (int64_t s = 0; s < 16; ++s) {
    const int64_t i = s * (p.m - 1) / 15, j = (s * 7919 + p.n - 1) % p.n;
    double want = 0, magnitude = 0;
    for (int64_t l = 0; l < p.k; ++l) {
      const double term = double{to_float(x[i * p.k + l])} * double{to_float(w[j * p.k + l])};
      want += term;
      magnitude += std::abs(term);
    }
    if (!is_sum(y[i * p.n + j], want, magnitude, p.k)) return false;
  }
  return true;
}

inline void set_rate(benchmark::State& state, double flops) {
  state.counters["GFLOP/s"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
}

/// Registers op/PROFILE/shape/threads:T for all thread counts.
template <class Body>
void add(const std::string& op, const std::string& profile, std::initializer_list<int64_t> shape, Body body) {
  std::string name = op + "/" + profile;
  char before = '/';
  for (const int64_t n : shape) {
    name += before + std::to_string(n);
    before = 'x';
  }
  for (const int threads : thread_counts())
    benchmark::RegisterBenchmark((name + "/threads:" + std::to_string(threads)).c_str(),
                                 [body, threads](benchmark::State& state) { body(state, threads); })
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
}

/// Registers all products; body(state, product, threads).
template <class Body>
void add_products(const std::string& profile, Body body) {
  for (const auto& [k, n] : layers)
    for (const int64_t m : tokens)
      add("product", profile, {m, k, n},
          [body, p = Product{m, k, n}](benchmark::State& state, int threads) { body(state, p, threads); });
}

/// A product of a BLAS: multiply(product, x, w, y). Packing of W is inside the timed call, because BLAS has no other
/// way.
template <class T, class Multiply>
void run_product(benchmark::State& state, const Product& p, Multiply multiply) {
  Buffer<T> x(p.m * p.k), w(p.n * p.k);
  Buffer<float> y(p.m * p.n);
  fill(x, 1);
  fill(w, 2);
  multiply(p, x.data(), w.data(), y.data());
  if (!is_product(p, x, w, y)) return state.SkipWithError("the product is wrong");
  for (auto _ : state) multiply(p, x.data(), w.data(), y.data());
  set_rate(state, 2.0 * static_cast<double>(p.m) * static_cast<double>(p.k) * static_cast<double>(p.n));
}

/// Runs what was registered; `peer` (name and version) goes into the JSON's context.
inline int run(int argc, char** argv, const std::string& peer) {
  benchmark::AddCustomContext("peer", peer);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace peers
