// Products and attention of ggml on the CPU, of several ways the fastest. Weights, keys and values in the dtype of the profile (for
// bf16 also f16, where that is faster); what meets them is f32 and rounded in every call.
#include <ggml-cpu.h>
#include <ggml.h>

#include <memory>
#include <vector>

#include "peer.hpp"

namespace {

using peers::Product;

struct FreeContext {
  void operator()(ggml_context* c) const { ggml_free(c); }
};

// A graph of one result, its memory and its threads.
struct Work {
  std::unique_ptr<ggml_context, FreeContext> context;
  ggml_cgraph* graph = nullptr;
  ggml_tensor* out = nullptr;
  std::vector<std::uint8_t> room;
  ggml_cplan plan{};

  explicit Work(std::size_t bytes) : context(ggml_init({bytes + (std::size_t{64} << 20), nullptr, false})) {}
  ggml_context* get() const { return context.get(); }
  ggml_tensor* input(ggml_type type, std::initializer_list<int64_t> shape, std::uint32_t seed) {
    ggml_tensor* const t = ggml_new_tensor(get(), type, static_cast<int>(shape.size()), shape.begin());
    peers::Buffer<float> values(ggml_nelements(t));
    peers::fill(values, seed);
    for (int64_t i = 0; i < values.size(); ++i) values[i] = peers::to_float(rounded(values[i]));
    if (type == GGML_TYPE_F32) std::memcpy(t->data, values.data(), static_cast<std::size_t>(values.size()) * sizeof(float));
    if (type == GGML_TYPE_F16) ggml_fp32_to_fp16_row(values.data(), static_cast<ggml_fp16_t*>(t->data), values.size());
    if (type == GGML_TYPE_BF16) ggml_fp32_to_bf16_row(values.data(), static_cast<ggml_bf16_t*>(t->data), values.size());
    return t;
  }
  void compute_to(ggml_tensor* result, int threads) {
    out = result;
    graph = ggml_new_graph(get());
    ggml_build_forward_expand(graph, result);
    plan = ggml_graph_plan(graph, threads, nullptr);
    room.resize(plan.work_size);
    plan.work_data = room.data();
  }
  void run() { ggml_graph_compute(graph, &plan); }
  float at(int64_t i) const { return static_cast<const float*>(out->data)[i]; }

 private:
  // Inputs that every dtype holds exactly, so that one oracle does for all.
  static peers::Bf16 rounded(float x) {
    peers::Bf16 half;
    peers::put(half, x);
    return half;
  }
};

double seconds_of(Work& work) {
  const auto begin = ggml_time_us();
  work.run();
  return static_cast<double>(ggml_time_us() - begin) * 1e-6;
}

// The fastest of several ways at its second run.
template <class Make>
std::unique_ptr<Work> fastest(const std::vector<int>& ways, Make make, int& chosen) {
  std::unique_ptr<Work> best;
  double least = 1e30;
  for (const int way : ways) {
    std::unique_ptr<Work> work = make(way);
    work->run();
    const double seconds = seconds_of(*work);
    if (seconds < least) least = seconds, best = std::move(work), chosen = way;
  }
  return best;
}

float value(const ggml_tensor* t, int64_t i) {
  if (t->type == GGML_TYPE_F16) return ggml_fp16_to_fp32(static_cast<const ggml_fp16_t*>(t->data)[i]);
  if (t->type == GGML_TYPE_BF16) return ggml_bf16_to_fp32(static_cast<const ggml_bf16_t*>(t->data)[i]);
  return static_cast<const float*>(t->data)[i];
}

void product(benchmark::State& state, const Product& p, bool half, int threads) {
  int way = 0;
  const auto work = fastest(half ? std::vector<int>{GGML_TYPE_BF16, GGML_TYPE_F16} : std::vector<int>{GGML_TYPE_F32},
                            [&](int type) {
                              auto w = std::make_unique<Work>(static_cast<std::size_t>(4 * (p.m * p.k + p.n * p.k + p.m * p.n)));
                              ggml_tensor* const weights = w->input(static_cast<ggml_type>(type), {p.k, p.n}, 2);
                              w->compute_to(ggml_mul_mat(w->get(), weights, w->input(GGML_TYPE_F32, {p.k, p.m}, 1)), threads);
                              return w;
                            },
                            way);
  const ggml_tensor *w = work->out->src[0], *x = work->out->src[1];
  for (int64_t s = 0; s < 16; ++s) {
    const int64_t i = s * (p.m - 1) / 15, j = (s * 7919 + p.n - 1) % p.n;
    double want = 0, magnitude = 0;
    for (int64_t k = 0; k < p.k; ++k) {
      const double term = double{value(x, i * p.k + k)} * double{value(w, j * p.k + k)};
      want += term, magnitude += std::abs(term);
    }
    if (!peers::is_sum(work->at(i * p.n + j), want, magnitude, p.k)) return state.SkipWithError("the product is wrong");
  }
  for (auto _ : state) work->run();
  peers::set_rate(state, 2.0 * static_cast<double>(p.m) * static_cast<double>(p.k) * static_cast<double>(p.n));
  state.SetLabel(ggml_type_name(static_cast<ggml_type>(way)));
}

constexpr int64_t head_dim = 128;

void attention(benchmark::State& state, int64_t heads, int64_t queries, int64_t keys, bool half, int threads) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
  constexpr int products = 1000;  // a way of its own beside the dtypes of flash attention
  int way = 0;
  std::vector<int> ways = half ? std::vector<int>{GGML_TYPE_BF16, GGML_TYPE_F16} : std::vector<int>{GGML_TYPE_F32};
  if (!half && keys <= 8190) ways.push_back(products);  // its scores take heads * queries * keys numbers
  const auto work = fastest(ways,
                            [&](int chosen) {
                              const ggml_type type = chosen == products ? GGML_TYPE_F32 : static_cast<ggml_type>(chosen);
                              const int64_t scores = chosen == products ? 2 * heads * queries * keys : 0;
                              auto w = std::make_unique<Work>(static_cast<std::size_t>(4 * (3 * heads * head_dim * (queries + keys) + scores)));
                              ggml_tensor *q = w->input(GGML_TYPE_F32, {head_dim, queries, heads}, 1), *k = w->input(type, {head_dim, keys, heads}, 2);
                              if (chosen == products) {
                                ggml_tensor* v = w->input(type, {keys, head_dim, heads}, 3);
                                ggml_tensor* weights = ggml_soft_max_ext(w->get(), ggml_mul_mat(w->get(), k, q), nullptr, scale, 0);
                                w->compute_to(ggml_mul_mat(w->get(), v, weights), threads);
                              } else {
                                ggml_tensor* v = w->input(type, {head_dim, keys, heads}, 3);
                                w->compute_to(ggml_flash_attn_ext(w->get(), q, k, v, nullptr, scale, 0, 0), threads);
                              }
                              return w;
                            },
                            way);
  const bool flash = way != products;
  const ggml_tensor *v = flash ? work->out->src[2] : work->out->src[0];
  const ggml_tensor* scores = flash ? work->out : work->out->src[1]->src[0];
  const ggml_tensor *q = scores->src[flash ? 0 : 1], *k = scores->src[flash ? 1 : 0];
  for (const int64_t h : {int64_t{0}, heads - 1}) {
    const int64_t i = queries - 1;
    std::vector<double> weight;
    double total = 0, size = 0, error = 0;
    for (int64_t j = 0; j < keys; ++j) {
      double score = 0;
      for (int64_t c = 0; c < head_dim; ++c)
        score += double{value(q, (h * queries + i) * head_dim + c)} * double{value(k, (h * keys + j) * head_dim + c)};
      total += weight.emplace_back(std::exp(score * double{scale}));
    }
    for (int64_t c = 0; c < head_dim; ++c) {
      double want = 0;
      for (int64_t j = 0; j < keys; ++j)
        want += weight[static_cast<std::size_t>(j)] / total * double{value(v, flash ? (h * keys + j) * head_dim + c : (h * head_dim + c) * keys + j)};
      const double got = work->at(flash ? (i * heads + h) * head_dim + c : (h * queries + i) * head_dim + c);
      size = std::max(size, std::abs(want)), error = std::max(error, std::abs(got - want));
    }
    if (!(error <= (half ? 2e-2 : 1e-3) * size)) return state.SkipWithError("attention is wrong");
  }
  for (auto _ : state) work->run();
  peers::set_rate(state, 4.0 * static_cast<double>(heads * head_dim) * static_cast<double>(queries) * static_cast<double>(keys));
  state.SetLabel(flash ? std::string("flash, ") + ggml_type_name(static_cast<ggml_type>(way)) : "products");
}

}  // namespace

int main(int argc, char** argv) {
  ggml_cpu_init();
  for (const bool half : {false, true}) {
    const char* const profile = half ? "bf16" : "f32";
    peers::add_products(profile, [half](benchmark::State& state, const Product& p, int threads) { product(state, p, half, threads); });
    for (const int64_t queries : peers::tokens)
      for (const int64_t keys : {queries, int64_t{512}})
        peers::add("attention", profile, {12, queries, keys},
                   [=](benchmark::State& state, int threads) { attention(state, 12, queries, keys, half, threads); });
  }
  return peers::run(argc, argv, std::string("ggml ") + ggml_version());
}
