#include "bench.hpp"
#include "model/vae_stream.hpp"
#include "model/weights.hpp"

namespace reel::bench {
namespace {

using namespace model;

// A 3x3x3 convolution of one frame as a residual block of the decoder calls it, padding and rounding of its input included;
// the two frames before it are there. A small frame is compared with the scalar reference, some rows of the whole width with
// one thread and with what is cut out of them.
void convolution(benchmark::State& state, const std::string& name, Numerics numerics, int64_t in, int64_t out, int64_t rows, int64_t columns,
                 int threads) {
  set_num_threads(threads);
  const Comm solo = Comm::solo();
  const auto source = synthetic_weights(1, "bench");
  SharedFloats store;
  const Conv conv = load_weights(*source, numerics, solo, store, [&](Binder& b) { return b.conv("conv", {out, in, 3, 3, 3}); });
  const auto band = [&](int64_t r, int64_t c) {
    Band x(1, r, c, in);
    x.data = random_floats(r * c * in, "x");
    return x;
  };
  const Band x = band(rows, columns);
  // The third of equal frames, so that all of the kernel is at work.
  const auto third = [&](const Band& frame) {
    VaeStream stream(solo, frame.rows);
    for (int i = 0; i < 2; ++i) stream.convolve(conv, frame);
    return stream.convolve(conv, frame);
  };
  const bool right = checked(name, [&] {
    const Band small = band(2, 19), want = by_scalar([&] { return third(small); }), got = third(small);
    if (!same_bits(want.data.data(), got.data.data(), static_cast<int64_t>(want.data.size()))) return false;
    const Band some = band(8, columns), together = third(some);
    // Twenty columns in the middle, cut out: the same sums, cut into other tasks.
    const int64_t first = columns / 2 - 10;
    Band middle(1, some.rows, 20, in);
    for (int64_t y = 0; y < some.rows; ++y)
      std::copy_n(some.data.data() + (y * columns + first) * in, 20 * in, middle.data.data() + y * 20 * in);
    const Band cut = third(middle);
    for (int64_t y = 0; y < some.rows; ++y)
      if (!same_bits(cut.data.data() + (y * 20 + 1) * out, together.data.data() + (y * columns + first + 1) * out, 18 * out)) return false;
    if (threads == 1) return true;
    set_num_threads(1);
    const Band alone = third(some);
    set_num_threads(threads);
    return same_bits(together.data.data(), alone.data.data(), static_cast<int64_t>(together.data.size()));
  });
  if (!right) return state.SkipWithError("bits differ from the scalar reference or from one thread");
  VaeStream stream(solo, rows);
  Band y(1, rows, columns, out);  // a decoder keeps its bands as well
  for (int i = 0; i < 2; ++i) stream.convolve(conv, x, 1, y);
  time_flops(state, 2.0 * 27 * static_cast<double>(in * out) * static_cast<double>(rows * columns), numerics, threads,
             [&] { stream.convolve(conv, x, 1, y); });
}

}  // namespace

void add_convolutions() {
  // The decoder's residual blocks at 480 x 832: channels, rows, columns.
  constexpr int64_t windows[][3] = {{384, 120, 208}, {192, 240, 416}, {96, 480, 832}};
  for (const auto& [profile, numerics] : profiles)
    for (const auto& [c, rows, columns] : windows)
      peers::add("conv3d", profile, {c, c, 1, rows, columns},
                 [profile = std::string(profile), numerics = numerics, c = c, rows = rows, columns = columns](benchmark::State& state, int threads) {
                   convolution(state, fmt::format("{} {} {}", profile, c, threads), numerics, c, c, rows, columns, threads);
                 });
}

}  // namespace reel::bench
