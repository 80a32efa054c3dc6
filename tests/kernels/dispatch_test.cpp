// Which table runs, with which rounding, and that the comparison of bits can fail.
#include <immintrin.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <map>
#include <set>
#include <string>
#include <thread>

#include "core/parallel.hpp"
#include "tests/kernels/support.hpp"

namespace reel::test {
namespace {

TEST(Dispatch, AForcedIsaIsTheOneThatRuns) {
  const auto tables = kernels::available();
  ASSERT_FALSE(tables.empty());
  EXPECT_EQ(tables.back()->name, "scalar");
  std::string names;
  for (const Table* t : tables) {
    EXPECT_EQ(kernels::choose(t->name), t);
    kernels::use(*t);
    EXPECT_EQ(&kernels::table(), t);
    names += std::string(t->name) + " ";
  }
  std::printf("this CPU runs: %s\n", names.c_str());
  EXPECT_EQ(kernels::choose({}), tables.front());
  for (const char* unknown : {"sse2", "AVX2", "avx", "avx2 ", "auto"})
    EXPECT_EQ(kernels::choose(unknown), nullptr) << unknown;
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
  EXPECT_EQ(kernels::choose("avx512") != nullptr, has_avx512);
  kernels::use(*tables.front());
}

TEST(Dispatch, TablesAreDistinctCode) {
  std::set<std::array<const void*, 3>> code;
  for (const Table* t : kernels::available())
    code.insert({reinterpret_cast<const void*>(t->multiply_panel), reinterpret_cast<const void*>(t->multiply_pairs),
                 reinterpret_cast<const void*>(t->multiply_blocks)});
  EXPECT_EQ(code.size(), kernels::available().size());
}

// Products of 1e-20 and 1e-20 are subnormal: flushing them, or any other rounding, changes these bits.
Floats subnormal_work(const Table& t) {
  Draws draws(1);
  const Floats a = draws.uniforms(6 * 40, 1e-20f), b = draws.uniforms(40 * 64, 1e-20f);
  Floats c(6 * 64), y(64);
  t.multiply_panel(a.data(), 40, 6, 40, b.data(), 64, c.data(), 64, false, {});
  t.layer_norm(draws.uniforms(64).data(), 64, 1e-6f, nullptr, nullptr, y.data());
  c.insert(c.end(), y.begin(), y.end());
  return c;
}

TEST(Dispatch, WorkersRoundLikeTheMainThread) {
  constexpr unsigned flags = 0x3f;       // sticky exceptions: no mode
  constexpr unsigned defaults = 0x1f80;  // all masked, round to nearest, no FTZ, no DAZ
  ASSERT_EQ(_mm_getcsr() & ~flags, defaults);
  set_num_threads(4);
  const bool can_share = num_cores() > 1;  // on one core TBB has no workers
  for (const Table* t : kernels::available()) {
    const Floats want = subnormal_work(*t);
    int subnormals = 0;
    for (const float x : want) subnormals += std::fpclassify(x) == FP_SUBNORMAL;
    EXPECT_GT(subnormals, 300) << "the work must be able to show a flush";
    std::atomic<int> wrong = 0, wrong_mode = 0, workers = 0;
    int waits = 0;
    const auto main_thread = std::this_thread::get_id();
    parallel_for(400, [&](int64_t) {
      // The main thread waits for the others, at most 2 s, so that they get some of the work.
      const bool is_main = std::this_thread::get_id() == main_thread;
      for (; is_main && can_share && workers == 0 && waits < 2000; ++waits)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if ((_mm_getcsr() & ~flags) != defaults) ++wrong_mode;
      if (!same_bits(subnormal_work(*t), want)) ++wrong;
      if (!is_main) ++workers;
    });
    EXPECT_EQ(wrong, 0) << t->name;
    EXPECT_EQ(wrong_mode, 0) << t->name;
    EXPECT_TRUE(workers > 0 || !can_share) << "no worker took part";
  }
  set_num_threads(1);
}

// Negative control of the test above: with flush-to-zero the bits do change.
TEST(Dispatch, FlushToZeroWouldChangeTheBits) {
  for (const Table* t : kernels::available()) {
    const Floats want = subnormal_work(*t);
    const unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    const Floats flushed = subnormal_work(*t);
    _mm_setcsr(before);
    EXPECT_FALSE(same_bits(flushed, want)) << t->name;
  }
}

// Digests by "isa kernel", as the program prints them.
std::map<std::string, std::string> digests(const char* program) {
  std::map<std::string, std::string> lines;
  FILE* out = popen(program, "r");
  if (!out) return lines;
  std::array<char, 200> isa, kernel, digest;
  while (std::fscanf(out, "%199s %199s %199s", isa.data(), kernel.data(), digest.data()) == 3)
    lines[std::string(isa.data()) + " " + kernel.data()] = digest.data();
  EXPECT_EQ(pclose(out), 0) << program;
  return lines;
}

// These bits are the promise: same on every ISA, compiler and machine. A change here changes every film ever made.
const std::map<std::string, std::string> golden = {
    {"multiply_panel", "233cce74c57ac7e0"},  {"finish_panel", "7634c4e69357e70a"},
    {"attention_block", "52acb5e9fd8f2bfb"}, {"layer_norm", "718765310067fba1"},
    {"rms_norm", "4ce871cc07424332"},        {"l2_norm", "9223170aaeafad7b"},
    {"rotate", "60df047c7263789f"},          {"gated_add", "2730650ad37e7330"},
    {"activate", "20d70edf48d10e61"},        {"divide", "0e014d3e959fe342"}};

TEST(Digest, EveryKernelOnEveryIsaGivesTheGoldenBits) {
  const auto real = digests(REEL_KERNEL_DIGEST);
  EXPECT_EQ(real.size(), golden.size() * kernels::available().size());
  for (const auto& [key, digest] : real) EXPECT_EQ(digest, golden.at(key.substr(key.find(' ') + 1))) << key;
}

// The same sources with one clause of the promise broken: the digest must notice, or it proves nothing.
TEST(Digest, BrokenKernelsAreNoticed) {
  const auto changed = [](const char* program) {
    std::set<std::string> kernels;
    for (const auto& [key, digest] : digests(program))
      if (digest != golden.at(key.substr(key.find(' ') + 1))) kernels.insert(key.substr(key.find(' ') + 1));
    return kernels;
  };
  EXPECT_EQ(changed(REEL_KERNEL_DIGEST_K_SPLIT), (std::set<std::string>{"attention_block", "multiply_panel"}));
  EXPECT_EQ(changed(REEL_KERNEL_DIGEST_LIBM),
            (std::set<std::string>{"activate", "attention_block", "finish_panel", "l2_norm"}));
}

}  // namespace
}  // namespace reel::test
