// Tensors, shapes, digests and errors.
#include "core/tensor.hpp"

#include <gtest/gtest.h>

#include "core/digest.hpp"

namespace reel {
namespace {

constexpr std::int64_t huge = std::int64_t{1} << 62;

TEST(Tensor, KnowsItsShape) {
  Tensor t(Shape{2, 3, 4});
  EXPECT_EQ(t.size(), 24);
  EXPECT_EQ(t.dim(1), 3);
  EXPECT_EQ(t.row(1), t.data() + 12);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(t.data()) % 64, 0u);
  EXPECT_EQ(to_string(t.shape()), "[2, 3, 4]");
  EXPECT_EQ(to_string(Shape{}), "[]");
  EXPECT_THROW(t.dim(3), Error);
}

TEST(Tensor, ZerosAreZeros) {
  const Tensor t = Tensor::zeros(Shape{5, 7});
  for (const float x : t) EXPECT_EQ(x, 0.0f);
}

TEST(Tensor, EmptyShapesAndScalars) {
  EXPECT_TRUE(Tensor().empty());
  EXPECT_EQ(Tensor(Shape{}).size(), 1);
  const Tensor none(Shape{0, 4});
  EXPECT_EQ(none.size(), 0);
  EXPECT_EQ(none.row(0), none.data());
  EXPECT_EQ(num_elements(Shape{0, huge, 8}), 0);
}

TEST(Tensor, ReshapeKeepsTheElements) {
  Tensor t = Tensor::zeros(Shape{2, 6});
  t[7] = 3;
  const float* data = t.data();
  const Tensor r = std::move(t).reshaped(Shape{3, 4});
  EXPECT_EQ(r.data(), data);
  EXPECT_EQ(r.row(1)[3], 3.0f);
  EXPECT_THROW(Tensor(Shape{4}).reshaped(Shape{5}), Error);
}

TEST(Tensor, ImpossibleShapesAreErrors) {
  for (const Shape& shape : {Shape{-1}, Shape{4, -2}, Shape{-2, -2}, Shape{huge, 4}, Shape{1 << 30, 1 << 30, 16},
                             Shape{huge, 2, 0}, Shape{-huge, 2, 1}}) {
    EXPECT_THROW(num_elements(shape), Error) << to_string(shape);
    EXPECT_THROW(Tensor{shape}, Error) << to_string(shape);
    EXPECT_THROW(Tensor::zeros(shape), Error) << to_string(shape);
    EXPECT_THROW(Tensor(Shape{4}).reshaped(shape), Error) << to_string(shape);
  }
  EXPECT_EQ(num_elements(Shape{huge, 1}), huge);
}

TEST(Film, FramesFollowEachOther) {
  Film film{.num_frames = 2, .height_px = 3, .width_px = 5, .fps = 16, .rgb = std::vector<std::uint8_t>(90)};
  EXPECT_EQ(film.frame_bytes(), 45);
  EXPECT_EQ(film.frame(1), film.rgb.data() + 45);
}

// FIPS 180-4 and the examples of NIST.
TEST(Sha256, KnownVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1'000'000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, OnlyTheConcatenationCounts) {
  const std::string text(1000, 'x');
  for (std::size_t piece = 1; piece <= 130; ++piece) {
    Sha256 hash;
    for (std::size_t at = 0; at < text.size(); at += piece) hash.update(std::string_view(text).substr(at, piece));
    hash.update(nullptr, 0);
    ASSERT_EQ(hash.hex(), sha256_hex(text)) << piece;
  }
}

TEST(Sha256, EndsOnce) {
  Sha256 hash;
  hash.update("abc");
  Sha256 moved = std::move(hash);
  EXPECT_EQ(moved.hex(), sha256_hex("abc"));
  EXPECT_THROW(moved.hex(), Error);
  EXPECT_THROW(moved.update("d"), Error);
  EXPECT_THROW(hash.update("d"), Error);  // NOLINT: used after the move on purpose
}

TEST(Check, ABrokenPromiseSaysWhatAndWhere) {
  const int rows = 3;
  try {
    REEL_CHECK(rows == 4, "{} rows", rows);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.exit(), Exit::bug);
    EXPECT_STREQ(e.what(), "broken promise: rows == 4: 3 rows");
    EXPECT_NE(e.where().find("tensor_test.cpp"), std::string::npos);
    EXPECT_FALSE(e.hint().empty());
  }
}

}  // namespace
}  // namespace reel
