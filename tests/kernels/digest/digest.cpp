// Prints "isa kernel digest" for every kernel on every ISA of this CPU. Linked with the real kernels and with the two
// broken ones (REEL_NEGATIVE_*), so that dispatch_test.cpp can see the difference.
#include <cstdio>

#include "tests/kernels/support.hpp"

namespace {

using namespace reel::test;
namespace kernels = reel::kernels;

/// FNV-1a over the bits.
std::uint64_t digest(const Floats& v) {
  std::uint64_t h = 0xcbf29ce484222325ULL;
  for (const float x : v) {
    unsigned char bytes[4];
    std::memcpy(bytes, &x, 4);
    for (const unsigned char b : bytes) h = (h ^ b) * 0x100000001b3ULL;
  }
  return h;
}

void print(const Table& t, const char* kernel, const Floats& v) {
  std::printf("%s %s %016llx\n", t.name.data(), kernel, static_cast<unsigned long long>(digest(v)));
}

void run(const Table& t) {
  Draws draws(2024);
  const int64_t rows = 13, depth = 200, n = 67;
  Floats y(static_cast<std::size_t>(n));

  const Floats a = draws.spreads(rows * depth), b = draws.spreads(depth * 64);
  Floats c(static_cast<std::size_t>(rows * 64));
  t.multiply_panel(a.data(), depth, rows, depth, b.data(), 64, c.data(), 64, false, {});
  print(t, "multiply_panel", c);

  const Floats sums = draws.spreads(rows * 64), bias = draws.spreads(64);
  Floats finished;
  for (const Activation activation : all_activations) {
    Floats out(static_cast<std::size_t>(rows * 61));
    t.finish_panel(sums.data(), 64, rows, 61, bias.data(), activation, out.data(), 61);
    finished.insert(finished.end(), out.begin(), out.end());
  }
  print(t, "finish_panel", finished);

  const int64_t d = 20, padded = 256;
  const Floats q = draws.uniforms(rows * d, 2);
  Floats out(static_cast<std::size_t>(rows * 64), 0.0f);
  std::vector<kernels::SoftmaxState> state(static_cast<std::size_t>(rows), {-infinity, 0.0f});
  for (const int64_t keys : {int64_t{256}, int64_t{211}}) {
    const Floats k = draws.uniforms(padded * d), v = draws.uniforms(padded * 64);
    t.attention_block(q.data(), d, rows, d, k.data(), v.data(), 1, keys, nullptr, 0, state.data(), out.data(), 64);
  }
  for (const auto& s : state) out.push_back(s.max), out.push_back(s.sum);
  print(t, "attention_block", out);

  const Floats x = draws.uniforms(n, 3, 0.5f), mul = draws.uniforms(n), add = draws.uniforms(n);
  t.layer_norm(x.data(), n, 1e-6f, mul.data(), add.data(), y.data());
  print(t, "layer_norm", y);
  t.rms_norm(x.data(), n, 1e-6f, mul.data(), y.data());
  print(t, "rms_norm", y);
  t.l2_norm(x.data(), n, mul.data(), Activation::silu, y.data());
  print(t, "l2_norm", y);
  y = x;
  t.rotate(y.data(), 66, 22, mul.data(), add.data());
  print(t, "rotate", y);
  y = x;
  t.gated_add(mul.data(), add.data(), n, y.data());
  print(t, "gated_add", y);
  Floats wide = draws.spreads(2000), activated;
  for (const Activation activation : all_activations) {
    Floats z(wide.size());
    t.activate(wide.data(), 2000, activation, z.data());
    activated.insert(activated.end(), z.begin(), z.end());
  }
  print(t, "activate", activated);
  t.divide(x.data(), n, 3.7f, false, y.data());
  print(t, "divide", y);
}

}  // namespace

int main() {
  for (const Table* t : kernels::available()) run(*t);
}
