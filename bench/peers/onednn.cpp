// Products and causal convolutions of oneDNN, at its best: weights and, for convolutions, activations in the layouts it
// prefers, brought there outside the timed part. Its attention is measured through torch (torch_peers.py).
// ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 forbids AMX: the bf16 benchmarks are then named bf16, else bf16_amx where AMX is
// there.
#include <omp.h>

#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "peer.hpp"

namespace {

using dnnl::memory;
using peers::Buffer;
using peers::int64_t;
using Tag = memory::format_tag;

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

template <class T>
constexpr memory::data_type type_of = sizeof(T) == 4 ? memory::data_type::f32 : memory::data_type::bf16;

// `from` in the layout `desc`; itself if it has that already.
memory in_layout(memory from, const memory::desc& desc) {
  if (from.get_desc() == desc) return from;
  memory to(desc, cpu());
  dnnl::stream stream(cpu());
  dnnl::reorder(from, to).execute(stream, from, to);
  stream.wait();
  return to;
}

template <class T>
void product(benchmark::State& state, const peers::Product& p, int threads) {
  omp_set_num_threads(threads);
  Buffer<T> x(p.m * p.k), w(p.n * p.k);
  Buffer<float> y(p.m * p.n);
  peers::fill(x, 1);
  peers::fill(w, 2);
  const memory::desc xd({p.m, p.k}, type_of<T>, Tag::ab), wd({p.k, p.n}, type_of<T>, Tag::ba),
      yd({p.m, p.n}, type_of<float>, Tag::ab);
  const memory::desc any({p.k, p.n}, type_of<T>, Tag::any);
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::matmul::primitive_desc how(cpu(), xd, any, yd);
#else
  const dnnl::matmul::primitive_desc how(dnnl::matmul::desc(xd, any, yd), cpu());
#endif
  const memory packed = in_layout(memory(wd, cpu(), w.data()), how.weights_desc());
  const std::unordered_map<int, memory> args{{DNNL_ARG_SRC, memory(xd, cpu(), x.data())},
                                             {DNNL_ARG_WEIGHTS, packed},
                                             {DNNL_ARG_DST, memory(yd, cpu(), y.data())}};
  const dnnl::matmul multiply(how);
  dnnl::stream stream(cpu());
  const auto once = [&] {
    multiply.execute(stream, args);
    stream.wait();
  };
  once();
  if (!peers::is_product(p, x, w, y)) return state.SkipWithError("the product is wrong");
  for (auto _ : state) once();
  peers::set_rate(state, 2.0 * static_cast<double>(p.m) * static_cast<double>(p.k) * static_cast<double>(p.n));
  state.SetLabel(how.impl_info_str());
}

// A 3x3x3 convolution of `frames` output frames: two frames more are read, rows and columns are padded with one zero.
struct Window {
  int64_t in, out, frames, rows, columns;
};

// Looks at 16 outputs; x [in, frames + 2, rows, columns], w [out, in, 3, 3, 3], y [out, frames, rows, columns].
template <class T>
bool is_convolution(const Window& c, const Buffer<T>& x, const Buffer<T>& w, const float* y) {
  for (int64_t s = 0; s < 16; ++s) {
    const int64_t o = s * 7919 % c.out, t = s % c.frames, i = s * (c.rows - 1) / 15,
                  j = (s * 5) % 16 * (c.columns - 1) / 15;
    double want = 0, magnitude = 0;
    for (int64_t q = 0; q < c.in; ++q)
      for (int64_t tap = 0; tap < 27; ++tap) {
        const int64_t u = t + tap / 9, a = i + tap / 3 % 3 - 1, b = j + tap % 3 - 1;
        if (a < 0 || a >= c.rows || b < 0 || b >= c.columns) continue;
        const double term = double{peers::to_float(x[((q * (c.frames + 2) + u) * c.rows + a) * c.columns + b])} *
                            double{peers::to_float(w[(o * c.in + q) * 27 + tap])};
        want += term;
        magnitude += std::abs(term);
      }
    if (!peers::is_sum(y[((o * c.frames + t) * c.rows + i) * c.columns + j], want, magnitude, 27 * c.in)) return false;
  }
  return true;
}

template <class T>
void convolution(benchmark::State& state, const Window& c, int threads) {
  omp_set_num_threads(threads);
  const memory::dims xs{1, c.in, c.frames + 2, c.rows, c.columns}, ws{c.out, c.in, 3, 3, 3},
      ys{1, c.out, c.frames, c.rows, c.columns};
  const memory::dims step{1, 1, 1}, pad{0, 1, 1};
  const memory::desc xa(xs, type_of<T>, Tag::any), wa(ws, type_of<T>, Tag::any), ya(ys, type_of<float>, Tag::any);
  Buffer<T> x(c.in * (c.frames + 2) * c.rows * c.columns), w(c.out * c.in * 27);
  peers::fill(x, 1);
  peers::fill(w, 2);
#if DNNL_VERSION_MAJOR >= 3
  const dnnl::convolution_forward::primitive_desc how(cpu(), dnnl::prop_kind::forward_inference,
                                                      dnnl::algorithm::convolution_direct, xa, wa, ya, step, pad, pad);
#else
  const dnnl::convolution_forward::primitive_desc how(
      dnnl::convolution_forward::desc(dnnl::prop_kind::forward_inference, dnnl::algorithm::convolution_direct, xa, wa,
                                      ya, step, pad, pad),
      cpu());
#endif
  const memory result(how.dst_desc(), cpu());
  const std::unordered_map<int, memory> args{
      {DNNL_ARG_SRC, in_layout(memory({xs, type_of<T>, Tag::ncdhw}, cpu(), x.data()), how.src_desc())},
      {DNNL_ARG_WEIGHTS, in_layout(memory({ws, type_of<T>, Tag::oidhw}, cpu(), w.data()), how.weights_desc())},
      {DNNL_ARG_DST, result}};
  const dnnl::convolution_forward convolve(how);
  dnnl::stream stream(cpu());
  const auto once = [&] {
    convolve.execute(stream, args);
    stream.wait();
  };
  once();
  if (!is_convolution(c, x, w,
                      static_cast<const float*>(in_layout(result, {ys, type_of<float>, Tag::ncdhw}).get_data_handle())))
    return state.SkipWithError("the convolution is wrong");
  for (auto _ : state) once();
  peers::set_rate(state,
                  2.0 * 27 * static_cast<double>(c.in * c.out) * static_cast<double>(c.frames * c.rows * c.columns));
  state.SetLabel(how.impl_info_str());
}

template <class T>
void add_all(const std::string& profile) {
  peers::add_products(profile, product<T>);
  // The decoder's residual blocks at 480 x 832.
  for (const Window& c : {Window{384, 384, 1, 120, 208}, {192, 192, 1, 240, 416}, {96, 96, 1, 480, 832}})
    peers::add("conv3d", profile, {c.in, c.out, c.frames, c.rows, c.columns},
               [c](benchmark::State& state, int threads) { convolution<T>(state, c, threads); });
}

}  // namespace

int main(int argc, char** argv) {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa()),
             amx = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_amx);
  const auto bf16 = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_bf16);
  add_all<float>("f32");
  if ((isa & bf16) == bf16) add_all<peers::Bf16>((isa & amx) == amx ? "bf16_amx" : "bf16");
  const dnnl_version_t* v = dnnl_version();
  return peers::run(
      argc, argv,
      "oneDNN " + std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch));
}
