// Files appear whole or not at all: whatever byte is hit, whenever the writer dies.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/atomic_file.hpp"
#include "io/results.hpp"
#include "io/safetensors.hpp"
#include "temp_dir.hpp"

namespace reel::io {
namespace {

using test::error_of;
using test::expect_contains;

struct AtomicTest : test::TempDir {};

TEST_F(AtomicTest, AppearsOnCommitOnly) {
  {
    AtomicFile file(dir / "a");
    file.write("hello", 5);
    EXPECT_FALSE(std::filesystem::exists(dir / "a"));
    EXPECT_EQ(file.temporary().parent_path(), dir);
    file.commit();
    EXPECT_EQ(get(dir / "a"), "hello");
  }
  EXPECT_EQ(num_files(), 1u);
  { AtomicFile(dir / "a").write("thrown away", 11); }
  EXPECT_EQ(get(dir / "a"), "hello");
  EXPECT_EQ(num_files(), 1u);
}

TEST_F(AtomicTest, TwoWritersOfOneFileDoNotMeet) {
  AtomicFile one(dir / "a"), two(dir / "a");
  one.write("one", 3);
  two.write("two", 3);
  one.commit();
  two.commit();
  EXPECT_EQ(get(dir / "a"), "two");
  EXPECT_EQ(num_files(), 1u);
}

TEST_F(AtomicTest, ErrorsSayWhatToDo) {
  const Error missing = error_of([&] { AtomicFile file(dir / "none" / "a"); });
  EXPECT_EQ(missing.exit(), Exit::write);
  EXPECT_EQ(missing.where(), (dir / "none" / "a").string());
  expect_contains(missing.hint(), "make the folder");
  const Error full = error_of([&] { throw_write_error(dir / "a", ENOSPC, 123); });
  expect_contains(full.what(), "needed 123 bytes; free ");
  expect_contains(full.hint(), "free some space");
  expect_contains(error_of([&] { throw_write_error(dir / "a", EDQUOT); }).what(), "free ");
  expect_contains(error_of([&] { throw_write_error(dir / "a", EROFS); }).hint(), "may write");
}

/// A record of which every value is `value`.
Record constant(std::uint8_t value) {
  Record record;
  record.datasets = {{"/result/pixels",
                      "1",
                      "film",
                      {2, 64, 64, 3},
                      {"frame", "y", "x", "band"},
                      std::vector<std::uint8_t>(2 * 64 * 64 * 3, value),
                      {}}};
  return record;
}

TEST_F(AtomicTest, KilledWriterLeavesTheOldOrTheNewFile) {
  const auto path = dir / "r.h5";
  write_record(path, constant(0));
  const std::string digests[2] = {result_digest(constant(0)), result_digest(constant(1))};
  for (int round = 0; round < 40; ++round) {
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      try {
        for (std::uint8_t i = 0;; i ^= 1) write_record(path, constant(i));
      } catch (...) {
        _exit(1);
      }
    }
    usleep(static_cast<useconds_t>(2000 + 1371 * round));
    EXPECT_EQ(kill(child, SIGKILL), 0);
    waitpid(child, nullptr, 0);
    const Verification found = verify(path);
    ASSERT_TRUE(found.good()) << round;
    EXPECT_TRUE(found.computed == digests[0] || found.computed == digests[1]);
  }
}

TEST_F(AtomicTest, EveryFlippedBitOfAWeightsFileIsRefusedOrHarmless) {
  const std::vector<float> values{1, 2, 3, 4};
  const auto bytes_of_values = std::as_bytes(std::span(values));
  write_safetensors(dir / "w", {{"a", {2, 2}, Dtype::f32, bytes_of_values}, {"b", {4}, Dtype::f32, bytes_of_values}},
                    {{"k", "v"}});
  const std::string whole = get(dir / "w");
  const std::size_t header_bytes = whole.size() - 32;
  for (std::size_t bit = 0; bit < 8 * header_bytes; ++bit) {
    std::string bytes = whole;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    const auto path = put("bad", bytes);
    try {
      const auto file = Safetensors::open(path);
      for (const auto& [name, tensor] : file.tensors())
        EXPECT_EQ(tensor_digest(tensor).size(), 64u);  // reads every byte
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::input) << bit;
    }
  }
}

}  // namespace
}  // namespace reel::io
