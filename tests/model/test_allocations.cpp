// No allocation inside a step: what a forward asks of operator new does not depend on the number of layers.
#include <atomic>
#include <cstdlib>
#include <new>

#include "core/comm.hpp"
#include "model/transformer.hpp"
#include "tests/model/golden.hpp"

namespace {
std::atomic<std::int64_t> allocations{0};

// GCC, when it sees through these, complains about new that ends in free.
[[maybe_unused]] __attribute__((noinline)) void give_back(void* p) { std::free(p); }

[[maybe_unused]] __attribute__((noinline)) void* take(std::size_t bytes, std::size_t alignment) {
  ++allocations;
  void* p = nullptr;
  if (posix_memalign(&p, alignment, bytes + (bytes == 0)) != 0) throw std::bad_alloc();
  return p;
}
}  // namespace

#if !defined(__SANITIZE_ADDRESS__)  // which has its own, and tells new from malloc
void* operator new(std::size_t bytes) { return take(bytes, 16); }
void* operator new(std::size_t bytes, std::align_val_t alignment) { return take(bytes, static_cast<std::size_t>(alignment)); }
void operator delete(void* p) noexcept { give_back(p); }
void operator delete(void* p, std::size_t) noexcept { give_back(p); }
void operator delete(void* p, std::align_val_t) noexcept { give_back(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { give_back(p); }
#endif

namespace reel::model {
namespace {

// Of the second forward of a model with that many layers.
std::int64_t allocations_of_a_forward(std::int64_t num_layers, Numerics numerics) {
  const std::string folder = golden::fixtures + "pipeline_tiny/transformer";
  TransformerConfig config = parse_transformer(golden::read_text(folder + "/config.json"), folder);
  config.num_layers = num_layers;
  const Transformer model(config, *synthetic_weights(1, "transformer"), Comm::solo(), numerics);
  const Tensor latents = Tensor::zeros({config.in_channels, config.patch_t * 3, config.patch_h * 12, config.patch_w * 12}),
               text = Tensor::zeros({40, config.text_dim});
  const Context context = model.encode_context(text);
  const float timestep = 500;
  std::int64_t before = 0;
  for (int i = 0; i < 2; ++i) {
    before = allocations;
    model.forward(Comm::solo(), Partition::heads, latents, {&timestep, 1}, context);
  }
  return allocations - before;
}

TEST(Allocations, OfAForwardDoNotDependOnTheNumberOfLayers) {
#if defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "the sanitizer's operator new is not counted";
#endif
  for (const Numerics numerics : {Numerics::f32, Numerics::bf16, Numerics::bf16_amx}) {
    const std::int64_t few = allocations_of_a_forward(1, numerics), many = allocations_of_a_forward(6, numerics);
    std::printf("profile %d: %ld allocations in a forward\n", static_cast<int>(numerics), static_cast<long>(few));
    EXPECT_GT(few, 0) << "operator new is not counted";
    EXPECT_EQ(few, many);
  }
}

}  // namespace
}  // namespace reel::model
