#pragma once
// Dense row-major f32 arrays that own their memory. Shapes use the legend of the model: B batch, C channels,
// T H W latent frames/height/width, F frames, N tokens, D inner width, S context length.
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <new>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace reel {

/// Large arrays lie in huge pages where the system gives them on request: a product reads more small ones than address caches
/// hold.
inline constexpr std::size_t huge_page = std::size_t{2} << 20;
constexpr std::size_t alignment_of(std::size_t bytes) { return bytes < 2 * huge_page ? 64 : huge_page; }
inline void prefer_huge_pages(void* p, std::size_t bytes) noexcept {
  if (alignment_of(bytes) == huge_page) (void)madvise(p, bytes, MADV_HUGEPAGE);
}

/// Allocator for cache-line aligned storage that leaves floats uninitialised on resize.
template <class T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <class U>
  AlignedAllocator(const AlignedAllocator<U>&) noexcept {}
  T* allocate(std::size_t n) {
    void* const p = ::operator new(n * sizeof(T), std::align_val_t{alignment_of(n * sizeof(T))});
    prefer_huge_pages(p, n * sizeof(T));
    return static_cast<T*>(p);
  }
  void deallocate(T* p, std::size_t n) noexcept { ::operator delete(p, std::align_val_t{alignment_of(n * sizeof(T))}); }
  template <class U>
  void construct(U* p) noexcept { ::new (static_cast<void*>(p)) U; }
  template <class U, class... Args>
  void construct(U* p, Args&&... args) { ::new (static_cast<void*>(p)) U(static_cast<Args&&>(args)...); }
  bool operator==(const AlignedAllocator&) const noexcept { return true; }
};

using FloatBuffer = std::vector<float, AlignedAllocator<float>>;
/// bf16 numbers: the upper halves of f32.
using HalfBuffer = std::vector<std::uint16_t, AlignedAllocator<std::uint16_t>>;
using Shape = std::vector<std::int64_t>;

/// "[16, 9, 8, 8]"
inline std::string to_string(const Shape& shape) {
  std::string s = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + "]";
}

/// Product of the sizes, 1 for no axes. Throws Error (bug) for a negative size or a product above 2^63 - 1.
inline std::int64_t num_elements(const Shape& shape) {
  std::int64_t product = 1;
  for (const std::int64_t size : shape) {
    const bool fits = size >= 0 && !__builtin_mul_overflow(product, size, &product);
    REEL_CHECK(fits, "no array has the shape {}", to_string(shape));
  }
  return product;
}

/// Owning row-major tensor of f32. Elements are uninitialised unless `zeros` made it.
class Tensor {
 public:
  Tensor() = default;
  explicit Tensor(Shape shape)
      : shape_(std::move(shape)), data_(static_cast<std::size_t>(num_elements(shape_))) {}
  static Tensor zeros(Shape shape) {
    Tensor t;
    t.shape_ = std::move(shape);
    t.data_.assign(static_cast<std::size_t>(num_elements(t.shape_)), 0.0f);
    return t;
  }

  const Shape& shape() const noexcept { return shape_; }
  std::int64_t dim(std::size_t axis) const {
    REEL_CHECK(axis < shape_.size(), "axis {} of {}", axis, to_string(shape_));
    return shape_[axis];
  }
  std::int64_t size() const noexcept { return static_cast<std::int64_t>(data_.size()); }
  bool empty() const noexcept { return data_.empty(); }
  float* data() noexcept { return data_.data(); }
  const float* data() const noexcept { return data_.data(); }
  float* row(std::int64_t i) noexcept { return data_.data() + i * row_size(); }
  const float* row(std::int64_t i) const noexcept { return data_.data() + i * row_size(); }
  float& operator[](std::int64_t i) noexcept { return data_[static_cast<std::size_t>(i)]; }
  float operator[](std::int64_t i) const noexcept { return data_[static_cast<std::size_t>(i)]; }
  auto begin() noexcept { return data_.begin(); }
  auto end() noexcept { return data_.end(); }
  auto begin() const noexcept { return data_.begin(); }
  auto end() const noexcept { return data_.end(); }

  /// Same elements, another shape of the same size.
  Tensor reshaped(Shape shape) && {
    REEL_CHECK(num_elements(shape) == size(), "{} -> {}", to_string(shape_), to_string(shape));
    shape_ = std::move(shape);
    return std::move(*this);
  }

 private:
  std::int64_t row_size() const noexcept { return shape_.empty() || shape_[0] == 0 ? 0 : size() / shape_[0]; }
  Shape shape_;
  FloatBuffer data_;
};

/// 8-bit RGB film: F frames of H x W pixels, `rgb` in [F, H, W, 3] order.
struct Film {
  std::int64_t num_frames = 0, height_px = 0, width_px = 0;
  double fps = 0;  ///< frames per second
  std::vector<std::uint8_t> rgb;

  std::int64_t frame_bytes() const noexcept { return height_px * width_px * 3; }
  const std::uint8_t* frame(std::int64_t f) const noexcept { return rgb.data() + f * frame_bytes(); }
  std::uint8_t* frame(std::int64_t f) noexcept { return rgb.data() + f * frame_bytes(); }
};

}  // namespace reel
