#include "io/safetensors.hpp"

#include <bit>
#include <cmath>
#include <cstring>

#include "temp_dir.hpp"

namespace reel::io {
namespace {

using test::error_of;
using test::expect_contains;

std::string with_header(const std::string& header, const std::string& data) {
  const std::uint64_t n = header.size();
  return std::string(reinterpret_cast<const char*>(&n), 8) + header + data;
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

struct SafetensorsTest : test::TempDir {
  /// Opens a file with this header and data; expects Exit::input, the file's name and `part` in the message.
  void expect_lie(const std::string& header, const std::string& data, const std::string& part) {
    expect_bad(with_header(header, data), part);
  }
  void expect_bad(const std::string& bytes, const std::string& part) {
    const auto path = put("lie.safetensors", bytes);
    const Error error = error_of([&] { Safetensors::open(path); });
    EXPECT_EQ(error.exit(), Exit::input);
    EXPECT_EQ(error.where(), path.string());
    EXPECT_FALSE(error.hint().empty());
    expect_contains(error.what(), part);
  }
  void expect_bad_index(const std::string& json, const std::string& part) {
    put("m.safetensors.index.json", json);
    const Error error = error_of([&] { Safetensors::open(dir, "m"); });
    EXPECT_EQ(error.exit(), Exit::input);
    expect_contains(error.what(), part);
  }
};

TEST_F(SafetensorsTest, RoundTripOfEveryType) {
  const std::vector<double> f64{1.5, -0.0};
  const std::vector<float> f32{1, 2, 3, 4, 5, 6};
  const std::vector<std::uint16_t> half{0x3c00, 0xc000};
  const std::vector<std::int64_t> i64{std::int64_t{1} << 40};
  const std::vector<std::int32_t> i32{-7, 8};
  const std::vector<std::uint8_t> u8{255, 0, 1};
  write_safetensors(dir / "x.safetensors",
                    {{"f64", {2}, Dtype::f64, bytes_of(f64)},
                     {"f32", {2, 3}, Dtype::f32, bytes_of(f32)},
                     {"f16", {2}, Dtype::f16, bytes_of(half)},
                     {"bf16", {2, 1}, Dtype::bf16, bytes_of(half)},
                     {"i64", {}, Dtype::i64, bytes_of(i64)},
                     {"i32", {2}, Dtype::i32, bytes_of(i32)},
                     {"u8", {3}, Dtype::u8, bytes_of(u8)},
                     {"bool", {3}, Dtype::boolean, bytes_of(u8)},
                     {"empty", {3, 0}, Dtype::f32, {}}},
                    {{"format", "pt"}});
  const auto file = Safetensors::open(dir / "x.safetensors");
  EXPECT_EQ(file.names(), (std::vector<std::string>{"bf16", "bool", "empty", "f16", "f32", "f64", "i32", "i64", "u8"}));
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.find("f32")->shape, (Shape{2, 3}));
  EXPECT_EQ(file.find("i64")->shape, Shape{});
  EXPECT_EQ(file.find("nope"), nullptr);
  std::vector<float> out(6);
  read_f32(file.at("f32"), 1, 4, out.data());
  EXPECT_EQ(out[0], 2);
  EXPECT_EQ(out[3], 5);
  read_f32(file.at("f64"), 0, 2, out.data());
  EXPECT_EQ(out[0], 1.5f);
  EXPECT_TRUE(std::signbit(out[1]));
  read_f32(file.at("f16"), 0, 2, out.data());
  EXPECT_EQ(out[0], 1.0f);
  EXPECT_EQ(out[1], -2.0f);
  read_f32(file.at("bf16"), 0, 1, out.data());
  EXPECT_EQ(out[0], 0.0078125f);
  read_f32(file.at("empty"), 0, 0, out.data());
  std::int64_t whole[3];
  read_i64(file.at("i64"), 0, 1, whole);
  EXPECT_EQ(whole[0], std::int64_t{1} << 40);
  read_i64(file.at("i32"), 0, 2, whole);
  EXPECT_EQ(whole[0], -7);
  read_i64(file.at("bool"), 0, 3, whole);
  EXPECT_EQ(whole[0], 255);
  EXPECT_EQ(error_of([&] { read_f32(file.at("u8"), 0, 1, out.data()); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { read_i64(file.at("f32"), 0, 1, whole); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { read_f32(file.at("f32"), 3, 4, out.data()); }).exit(), Exit::bug);
  EXPECT_EQ(error_of([&] { read_f32(file.at("f32"), -1, 1, out.data()); }).exit(), Exit::bug);
  const Error missing = error_of([&] { file.at("f33"); });
  EXPECT_EQ(missing.exit(), Exit::input);
  expect_contains(missing.hint(), "'f32'");
}

TEST_F(SafetensorsTest, EveryHalfAndBfloatConvertsExactly) {
  std::vector<std::uint16_t> all(65536);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::uint16_t>(i);
  write_safetensors(dir / "x.safetensors",
                    {{"h", {65536}, Dtype::f16, bytes_of(all)}, {"b", {65536}, Dtype::bf16, bytes_of(all)}});
  const auto file = Safetensors::open(dir / "x.safetensors");
  std::vector<float> h(65536), b(65536);
  read_f32(file.at("h"), 0, 65536, h.data());
  read_f32(file.at("b"), 0, 65536, b.data());
  for (std::uint32_t i = 0; i < 65536; ++i) {
    EXPECT_EQ(std::bit_cast<std::uint32_t>(b[i]), i << 16);
    const int exponent = (i >> 10) & 31, fraction = i & 1023;
    const double sign = i & 0x8000 ? -1.0 : 1.0;
    if (exponent == 31) {
      EXPECT_EQ(std::isnan(h[i]), fraction != 0);
      EXPECT_EQ(std::signbit(h[i]), (i & 0x8000) != 0);
    } else {
      const double value = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
      EXPECT_EQ(static_cast<double>(h[i]), sign * value) << i;
      EXPECT_EQ(std::signbit(h[i]), (i & 0x8000) != 0);
    }
  }
}

TEST_F(SafetensorsTest, UnalignedDataAreRead) {
  const std::vector<float> values{1.25f, -3.5f};
  const std::string data(reinterpret_cast<const char*>(values.data()), 8);
  const std::string header = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  for (std::size_t pad = 0; pad < 8; ++pad) {
    const auto path = put("u.safetensors", with_header(header + std::string(pad, ' '), data));
    float out[2];
    read_f32(Safetensors::open(path).at("x"), 0, 2, out);
    EXPECT_EQ(out[0], 1.25f);
    EXPECT_EQ(out[1], -3.5f);
  }
}

TEST_F(SafetensorsTest, WriterIsDeterministicAndAligned) {
  const std::vector<float> v{1, 2};
  const std::vector<std::uint16_t> h{1};
  write_safetensors(
      dir / "a",
      {{"z", {2}, Dtype::f32, bytes_of(v)}, {"h", {1}, Dtype::f16, bytes_of(h)}, {"a", {2}, Dtype::f32, bytes_of(v)}});
  write_safetensors(
      dir / "b",
      {{"h", {1}, Dtype::f16, bytes_of(h)}, {"a", {2}, Dtype::f32, bytes_of(v)}, {"z", {2}, Dtype::f32, bytes_of(v)}});
  EXPECT_EQ(get(dir / "a"), get(dir / "b"));
  std::uint64_t n = 0;
  std::memcpy(&n, get(dir / "a").data(), 8);
  EXPECT_EQ(n % 8, 0u);
  EXPECT_EQ(num_files(), 2u);
}

// Hostile files: each lie is one test.
TEST_F(SafetensorsTest, RefusesEmptyAndTinyFiles) {
  expect_bad("", "too short");
  expect_bad("1234567", "too short");
  expect_bad(std::string(9, '\0'), "too short");
}
TEST_F(SafetensorsTest, RefusesHugeHeader) {
  std::string bytes = with_header("{}", "");
  bytes[7] = '\x7f';
  expect_bad(bytes, "header claims");
}
TEST_F(SafetensorsTest, RefusesHeaderAboveLimit) {
  const std::uint64_t n = 100'000'001;
  expect_bad(std::string(reinterpret_cast<const char*>(&n), 8) + "{}", "header claims 100000001");
}
TEST_F(SafetensorsTest, RefusesHeaderBeyondFile) {
  const std::uint64_t n = 3;
  expect_bad(std::string(reinterpret_cast<const char*>(&n), 8) + "{}", "cut off");
}
TEST_F(SafetensorsTest, RefusesHeaderWithoutBrace) { expect_lie(" {}", "", "does not start with '{'"); }
TEST_F(SafetensorsTest, RefusesBrokenJson) { expect_lie(R"({"x":)", "", "not valid JSON"); }
TEST_F(SafetensorsTest, RefusesTextAfterJson) { expect_lie("{} {}", "", "not valid JSON"); }
TEST_F(SafetensorsTest, RefusesBadUtf8) { expect_lie("{\"\xff\xfe\":1}", "", "not valid JSON"); }
TEST_F(SafetensorsTest, RefusesDeepJson) { expect_lie("{\"x\":" + std::string(200'000, '['), "", "not valid JSON"); }
TEST_F(SafetensorsTest, RefusesDuplicateNames) {
  const std::string entry = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_lie(R"({"x":)" + entry + R"(,"x":)" + entry + "}", "a", "'x' twice");
}
TEST_F(SafetensorsTest, RefusesDuplicateKeysInEntry) {
  expect_lie(R"({"x":{"dtype":"U8","dtype":"F32","shape":[1],"data_offsets":[0,1]}})", "a", "'dtype' twice");
}
TEST_F(SafetensorsTest, RefusesEntryThatIsNoObject) { expect_lie(R"({"x":[1]})", "", "'x'"); }
TEST_F(SafetensorsTest, RefusesMissingKeys) {
  expect_lie(R"({"x":{"shape":[1],"data_offsets":[0,1]}})", "a", "'dtype'");
  expect_lie(R"({"x":{"dtype":"U8","data_offsets":[0,1]}})", "a", "'shape'");
  expect_lie(R"({"x":{"dtype":"U8","shape":[1]}})", "a", "'data_offsets'");
}
TEST_F(SafetensorsTest, RefusesUnknownDtype) {
  expect_lie(R"({"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}})", "a", "'F8_E4M3' is not supported");
  expect_lie(R"({"x":{"dtype":7,"shape":[1],"data_offsets":[0,1]}})", "a", "dtype is not a string");
}
TEST_F(SafetensorsTest, RefusesBadShapes) {
  for (const char* shape : {"[-1]", "[1.0]", "[1e0]", "[\"1\"]", "[null]", "[[1]]", "[9223372036854775808]"}) {
    expect_lie(fmt::format(R"({{"x":{{"dtype":"U8","shape":{},"data_offsets":[0,1]}}}})", shape), "a", "not a size");
  }
  expect_lie(R"({"x":{"dtype":"U8","shape":1,"data_offsets":[0,1]}})", "a", "shape is not a list");
  expect_lie(R"({"x":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", "a",
             "at most 16");
}
TEST_F(SafetensorsTest, RefusesShapeThatOverflows) {
  expect_lie(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "", "overflows");
  expect_lie(R"({"x":{"dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0]}})", "", "overflows");
  expect_lie(R"({"x":{"dtype":"F32","shape":[4294967296,4294967296,0],"data_offsets":[0,0]}})", "", "overflows");
}
TEST_F(SafetensorsTest, RefusesBadOffsets) {
  for (const char* offsets : {"[0]", "[0,1,2]", "[-1,0]", "[0,1.0]", "{}", "[0,\"1\"]"}) {
    expect_lie(fmt::format(R"({{"x":{{"dtype":"U8","shape":[1],"data_offsets":{}}}}})", offsets), "a", "data_offsets");
  }
  expect_lie(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", "a", "backwards");
}
TEST_F(SafetensorsTest, RefusesSizeThatDisagreesWithShape) {
  expect_lie(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "abcd", "takes 8 bytes");
}
TEST_F(SafetensorsTest, RefusesHoles) {
  expect_lie(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "ab", "hole");
  expect_lie(
      R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
      "abc", "'y'");
}
TEST_F(SafetensorsTest, RefusesOverlap) {
  expect_lie(
      R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
      "abc", "overlapping");
}
TEST_F(SafetensorsTest, RefusesSharedData) {
  expect_lie(
      R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})",
      "ab", "overlapping");
}
TEST_F(SafetensorsTest, RefusesTruncatedData) {
  expect_lie(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", "abcd", "cut off");
}
TEST_F(SafetensorsTest, RefusesEveryTruncation) {
  const std::vector<float> v{1, 2, 3};
  write_safetensors(dir / "whole", {{"x", {3}, Dtype::f32, bytes_of(v)}});
  const std::string whole = get(dir / "whole");
  for (std::size_t n = 0; n < whole.size(); ++n) expect_bad(whole.substr(0, n), "");
}
TEST_F(SafetensorsTest, RefusesTrailingBytes) {
  expect_lie(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "ab", "1 bytes after its last tensor");
  expect_lie("{}", "a", "after its last tensor");
}
TEST_F(SafetensorsTest, RefusesMetadataThatIsNotText) {
  expect_lie(R"({"__metadata__":{"a":1}})", "", "'a' is not a string");
  expect_lie(R"({"__metadata__":[]})", "", "not an object");
}
TEST_F(SafetensorsTest, ControlBytesInNamesStayOffTheTerminal) {
  expect_lie(R"({"\u001b[2J":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}})", "a", "\\x1b[2J");
}
TEST_F(SafetensorsTest, RefusesFoldersDevicesAndMissingFiles) {
  EXPECT_EQ(error_of([&] { Safetensors::open(dir / "none.safetensors"); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { Safetensors::open("/dev/zero"); }).exit(), Exit::input);
  expect_contains(error_of([&] { Safetensors::open(dir, "model"); }).what(), "model.safetensors.index.json");
}
TEST_F(SafetensorsTest, AcceptsEmptyFileOfNoTensors) {
  EXPECT_TRUE(Safetensors::open(put("e.safetensors", with_header("{}", ""))).names().empty());
}

struct ShardsTest : SafetensorsTest {
  void SetUp() override {
    SafetensorsTest::SetUp();
    write_safetensors(dir / "one.safetensors", {{"a", {2}, Dtype::f32, bytes_of(values)}});
    write_safetensors(dir / "two.safetensors",
                      {{"b", {2}, Dtype::f32, bytes_of(values)}, {"c", {1, 2}, Dtype::f32, bytes_of(values)}});
  }
  const std::vector<float> values{1, 2};
};

TEST_F(ShardsTest, FolderIsReadThroughItsIndex) {
  const auto index = put(
      "m.safetensors.index.json",
      R"({"metadata":{"total_size":24},"weight_map":{"a":"one.safetensors","b":"two.safetensors","c":"two.safetensors"}})");
  for (const auto& file : {Safetensors::open(dir, "m"), Safetensors::open(index)}) {
    EXPECT_EQ(file.names(), (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_EQ(file.at("c").file, (dir / "two.safetensors").string());
    EXPECT_EQ(file.total_bytes(), 24u);
  }
}
TEST_F(ShardsTest, IndexGoesBeforeSingleFile) {
  put("one.safetensors.index.json", R"({"weight_map":{"b":"two.safetensors","c":"two.safetensors"}})");
  EXPECT_EQ(Safetensors::open(dir, "one").names(), (std::vector<std::string>{"b", "c"}));
}
TEST_F(ShardsTest, RefusesShardNamesThatLeaveTheFolder) {
  for (const char* shard : {"/etc/passwd", "../one.safetensors", "a/b", "..", "", "a\\\\b", "a\\u0000b"}) {
    expect_bad_index(fmt::format(R"({{"weight_map":{{"a":"{}"}}}})", shard), "leaves the folder");
  }
}
TEST_F(ShardsTest, RefusesIndexWithoutMap) {
  expect_bad_index("{}", "weight_map");
  expect_bad_index("[]", "not a JSON object");
  expect_bad_index(R"({"weight_map":[]})", "weight_map");
  expect_bad_index(R"({"weight_map":{"a":1}})", "not a string");
  expect_bad_index("{ not json", "not valid JSON");
}
TEST_F(ShardsTest, RefusesTensorListedTwice) {
  expect_bad_index(R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})", "'a' twice");
}
TEST_F(ShardsTest, RefusesTensorInTheWrongShard) {
  expect_bad_index(R"({"weight_map":{"a":"two.safetensors","b":"one.safetensors","c":"two.safetensors"}})",
                   "not in its shard");
}
TEST_F(ShardsTest, RefusesTensorMissingInShard) {
  expect_bad_index(R"({"weight_map":{"a":"one.safetensors","x":"one.safetensors"}})", "the index lists 2");
}
TEST_F(ShardsTest, RefusesTensorMissingInIndex) {
  expect_bad_index(R"({"weight_map":{"b":"two.safetensors"}})", "the index lists 1");
}
TEST_F(ShardsTest, RefusesMissingShard) {
  expect_bad_index(R"({"weight_map":{"a":"three.safetensors"}})", "cannot open");
}
TEST_F(ShardsTest, RefusesTensorInTwoShards) {
  write_safetensors(dir / "three.safetensors", {{"a", {2}, Dtype::f32, bytes_of(values)}});
  expect_bad_index(R"({"weight_map":{"a":"one.safetensors","z":"three.safetensors"}})", "another shard");
}

TEST_F(SafetensorsTest, DigestDependsOnNamesTypesShapesAndBytesOnly) {
  const std::vector<float> v{1, 2}, w{1, 3};
  const auto digest = [&](const std::string& name, Shape shape, Dtype dtype, const std::vector<float>& x) {
    write_safetensors(dir / "d", {{name, std::move(shape), dtype, bytes_of(x)}, {"y", {2}, Dtype::f32, bytes_of(v)}});
    return weights_digest(Safetensors::open(dir / "d"));
  };
  const std::string one = digest("x", {2}, Dtype::f32, v);
  EXPECT_EQ(one.size(), 64u);
  EXPECT_EQ(one, digest("x", {2}, Dtype::f32, v));
  EXPECT_NE(one, digest("x", {2}, Dtype::f32, w));
  EXPECT_NE(one, digest("x", {1, 2}, Dtype::f32, v));
  EXPECT_NE(one, digest("z", {2}, Dtype::f32, v));
  EXPECT_NE(one, digest("x", {1}, Dtype::f64, v));
  // Sharding, metadata and the order of work do not matter.
  write_safetensors(dir / "s1", {{"x", {2}, Dtype::f32, bytes_of(v)}}, {{"note", "hello"}});
  write_safetensors(dir / "s2", {{"y", {2}, Dtype::f32, bytes_of(v)}});
  const auto index = put("i.json", R"({"weight_map":{"x":"s1","y":"s2"}})");
  const auto sharded = Safetensors::open(index);
  EXPECT_EQ(one, weights_digest(sharded));
  EXPECT_EQ(one, weights_digest({{"y", tensor_digest(sharded.at("y"))}, {"x", tensor_digest(sharded.at("x"))}}));
}

TEST_F(SafetensorsTest, FailedWritesLeaveNothing) {
  const std::vector<float> v{1, 2};
  put("file", "x");
  EXPECT_EQ(error_of([&] { write_safetensors(dir / "file" / "x.safetensors", {}); }).exit(), Exit::write);
  EXPECT_EQ(error_of([&] { write_safetensors(dir / "none" / "x.safetensors", {}); }).exit(), Exit::write);
  EXPECT_EQ(error_of([&] { write_safetensors(dir / "x", {{"x", {3}, Dtype::f32, bytes_of(v)}}); }).exit(), Exit::bug);
  EXPECT_EQ(error_of([&] {
              write_safetensors(dir / "x", {{"x", {2}, Dtype::f32, bytes_of(v)}, {"x", {2}, Dtype::f32, bytes_of(v)}});
            }).exit(),
            Exit::bug);
  EXPECT_EQ(num_files(), 1u);
}

}  // namespace
}  // namespace reel::io
