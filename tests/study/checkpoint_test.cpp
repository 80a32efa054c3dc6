// Checkpoints: every state comes back as it was, and nothing that is not whole is taken for good.
#include "study/checkpoint.hpp"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstring>
#include <nlohmann/json.hpp>

#include "../io/temp_dir.hpp"
#include "io/safetensors.hpp"

namespace reel::study {
namespace {

using nlohmann::json;
using std::int64_t;
using test::error_of;
using test::expect_contains;
namespace fs = std::filesystem;

const std::string owner = "0123456789abcdef";

// Any bits may stand in a state, NaNs with payload included.
Tensor bits(Shape shape, std::uint32_t seed) {
  Tensor t(std::move(shape));
  for (int64_t i = 0; i < t.size(); ++i) {
    const std::uint32_t word = (static_cast<std::uint32_t>(i) + seed) * 2654435761u;
    std::memcpy(&t[i], &word, sizeof word);
  }
  return t;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && (a.empty() || std::memcmp(a.data(), b.data(), static_cast<std::size_t>(a.size()) * sizeof(float)) == 0);
}

Standing before_first_step() {
  Standing s;
  s.state.done.latents = bits({4, 3, 2, 2}, 1);
  return s;
}

Standing middle(int num_history, std::uint32_t seed = 2) {
  Standing s = before_first_step();
  s.state.segment = 1;
  s.state.denoise.sample = bits({4, 2, 2, 2}, seed);
  s.state.denoise.scheduler.step = num_history == 0 ? 3 : num_history - 1;
  for (int k = 0; k < num_history; ++k) s.state.denoise.scheduler.history.push_back(bits({4, 2, 2, 2}, seed + 3 + static_cast<std::uint32_t>(k)));
  s.sittings = {{12.5, 2, 8, 1e6}, {0.25, 1, 1, std::numeric_limits<double>::quiet_NaN()}};
  return s;
}

Standing between_segments() {
  Standing s = before_first_step();
  s.state.segment = 1;
  return s;
}

// `decoded` of 3 latent frames: 1, 5 or 9 of 9 frames of the film.
Standing decoding(int64_t decoded, int64_t height_px = 8, int64_t width_px = 6) {
  Standing s = before_first_step();
  s.state.segment = 2;
  s.state.decoded = decoded;
  Film& film = s.state.done.film;
  film.num_frames = 9;
  film.height_px = height_px;
  film.width_px = width_px;
  film.fps = 23.976;
  film.rgb.resize(static_cast<std::size_t>(film.num_frames * film.frame_bytes()));
  for (std::size_t i = 0; i < film.rgb.size(); ++i) film.rgb[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  s.sittings = {{3, 1, 2, 5}};
  return s;
}

void expect_same(const Standing& a, const Standing& b) {
  EXPECT_EQ(a.state.segment, b.state.segment);
  EXPECT_EQ(a.state.decoded, b.state.decoded);
  EXPECT_EQ(a.state.denoise.scheduler.step, b.state.denoise.scheduler.step);
  EXPECT_TRUE(same(a.state.denoise.sample, b.state.denoise.sample));
  EXPECT_TRUE(same(a.state.done.latents, b.state.done.latents));
  const auto &x = a.state.denoise.scheduler.history, &y = b.state.denoise.scheduler.history;
  ASSERT_EQ(x.size(), y.size());
  for (std::size_t k = 0; k < x.size(); ++k) EXPECT_TRUE(same(x[k], y[k])) << k;
  const Film &f = a.state.done.film, &g = b.state.done.film;
  EXPECT_EQ(f.num_frames, g.num_frames);
  EXPECT_EQ(f.height_px, g.height_px);
  EXPECT_EQ(f.width_px, g.width_px);
  EXPECT_EQ(f.fps, g.fps);
  const int64_t frames = a.state.decoded == 0 ? 0 : 1 + 4 * (a.state.decoded - 1);
  const auto bytes = static_cast<std::size_t>(frames * f.frame_bytes());
  ASSERT_GE(f.rgb.size(), bytes);
  ASSERT_GE(g.rgb.size(), bytes);
  EXPECT_TRUE(bytes == 0 || std::memcmp(f.rgb.data(), g.rgb.data(), bytes) == 0);
  ASSERT_EQ(a.sittings.size(), b.sittings.size());
  for (std::size_t k = 0; k < a.sittings.size(); ++k) {
    EXPECT_EQ(a.sittings[k].wall_s, b.sittings[k].wall_s);
    EXPECT_EQ(a.sittings[k].num_nodes, b.sittings[k].num_nodes);
    EXPECT_EQ(a.sittings[k].num_cores, b.sittings[k].num_cores);
    if (std::isnan(a.sittings[k].energy_j))
      EXPECT_TRUE(std::isnan(b.sittings[k].energy_j));
    else
      EXPECT_EQ(a.sittings[k].energy_j, b.sittings[k].energy_j);
  }
}

class Checkpoints : public test::TempDir {
 protected:
  fs::path newest() const { return dir / "task.checkpoint"; }
  fs::path before() const { return dir / "task.checkpoint.before"; }
  Checkpoint checkpoint() const { return {newest(), owner}; }
  void save(const Standing& s) const { checkpoint().save(s); }
  std::optional<Standing> load(std::size_t num_complaints) const {
    std::vector<std::string> complaints;
    auto found = checkpoint().load(complaints);
    EXPECT_EQ(complaints.size(), num_complaints);
    for (const std::string& c : complaints) EXPECT_EQ(c.find('\n'), std::string::npos) << c;
    return found;
  }
  static void damage(const fs::path& path) {
    std::string bytes = get(path);
    bytes[bytes.size() - 5] ^= 0x10;
    std::ofstream(path, std::ios::binary) << bytes;
  }
  // A file with a right seal whose place is `place`: what only a bug or a malicious hand can write.
  fs::path forge(const std::string& place, const std::vector<io::TensorBytes>& tensors) const {
    io::write_safetensors(newest(), tensors, {{"reel_checkpoint", "1"}, {"owner", owner}, {"place", place},
                                              {"sha256", checkpoint_seal(owner, place, io::weights_digest(tensors))}});
    return newest();
  }
};

TEST_F(Checkpoints, EveryStateComesBack) {
  EXPECT_FALSE(load(0)) << "nothing there is nothing to complain about";
  for (const Standing& s : {before_first_step(), middle(0), middle(2), middle(3), between_segments(), decoding(1), decoding(2), decoding(3)}) {
    save(s);
    const auto found = load(0);
    ASSERT_TRUE(found);
    expect_same(s, *found);
    save(*found);  // what was read can be written again
    expect_same(s, *load(0));
  }
  Standing one = decoding(1);  // a film of one frame
  one.state.done.latents = bits({4, 1, 2, 2}, 8);
  one.state.done.film.num_frames = 1;
  one.state.done.film.rgb.resize(static_cast<std::size_t>(one.state.done.film.frame_bytes()));
  save(one);
  expect_same(one, *load(0));
}

TEST_F(Checkpoints, SameStateSameBytes) {
  save(middle(3));
  save(middle(3));
  EXPECT_EQ(get(newest()), get(before()));
}

TEST_F(Checkpoints, AForeignOneIsRefused) {
  save(middle(2));
  const Error e = error_of([&] { read_checkpoint(newest(), "fedcba9876543210"); });
  EXPECT_EQ(e.exit(), Exit::input);
  expect_contains(e.what(), "belongs to another task");
  EXPECT_EQ(e.where(), newest().string());
  EXPECT_EQ(error_of([&] { read_checkpoint(dir / "none", owner); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { read_checkpoint(dir, owner); }).exit(), Exit::input);
  io::write_safetensors(newest(), {}, {{"owner", owner}});
  expect_contains(error_of([&] { read_checkpoint(newest(), owner); }).what(), "is of another kind");
  EXPECT_FALSE(load(1));
}

TEST_F(Checkpoints, TwoGenerations) {
  for (std::uint32_t k = 0; k < 6; ++k) {
    save(middle(3, k));
    EXPECT_EQ(num_files(), k == 0 ? 1u : 2u);
    expect_same(middle(3, k), read_checkpoint(newest(), owner));
    if (k > 0) expect_same(middle(3, k - 1), read_checkpoint(before(), owner));
  }
  damage(newest());
  auto found = load(1);
  ASSERT_TRUE(found);
  expect_same(middle(3, 4), *found);
  damage(before());
  EXPECT_FALSE(load(2));
  save(middle(2));  // goes on over damaged ones
  expect_same(middle(2), *load(0));
  fs::remove(newest());  // as between two renames
  EXPECT_FALSE(load(1)) << "the damaged one was kept as the one before";
  save(middle(2));
  save(middle(3));
  fs::remove(newest());
  expect_same(middle(2), *load(0));
  put("task.checkpoint.next", "");
  checkpoint().remove();
  EXPECT_EQ(num_files(), 0u);
  checkpoint().remove();
}

TEST_F(Checkpoints, CutOffAnywhere) {
  save(decoding(3, 96, 100));
  const std::string whole = get(newest());
  ASSERT_GT(whole.size(), 200'000u);
  std::uint64_t header = 0;
  std::memcpy(&header, whole.data(), sizeof header);
  std::vector<std::size_t> sizes;
  for (std::size_t size = 0; size < 8 + header; ++size) sizes.push_back(size);
  for (std::size_t size = 8 + header; size < whole.size(); size += 4096) sizes.push_back(size);
  for (std::size_t less : {1u, 2u, 3u, 4u, 4095u, 4096u, 4097u}) sizes.push_back(whole.size() - less);
  std::sort(sizes.rbegin(), sizes.rend());
  for (const std::size_t size : sizes) {
    fs::resize_file(newest(), size);
    EXPECT_EQ(error_of([&] { read_checkpoint(newest(), owner); }).exit(), Exit::input) << size << " of " << whole.size();
  }
  EXPECT_FALSE(load(1));
  put("task.checkpoint", whole + '\0');
  EXPECT_FALSE(load(1)) << "longer";
  put("task.checkpoint", whole);
  EXPECT_TRUE(load(0));
}

TEST_F(Checkpoints, EveryFlippedBitIsFound) {
  Standing s = decoding(2, 8, 8);
  s.state.denoise = middle(2).state.denoise;
  save(s);
  const std::string whole = get(newest());
  const int fd = ::open(newest().c_str(), O_RDWR);
  ASSERT_GE(fd, 0);
  for (std::size_t at = 0; at < whole.size(); ++at)
    for (int bit = 0; bit < 8; ++bit) {
      const char flipped = static_cast<char>(whole[at] ^ (1 << bit));
      ASSERT_EQ(::pwrite(fd, &flipped, 1, static_cast<off_t>(at)), 1);
      try {
        read_checkpoint(newest(), owner);
        ADD_FAILURE() << "bit " << bit << " of byte " << at << " of " << whole.size();
      } catch (const Error& e) {
        ASSERT_EQ(e.exit(), Exit::input) << e.what() << ": bit " << bit << " of byte " << at;
      }
      ASSERT_EQ(::pwrite(fd, &whole[at], 1, static_cast<off_t>(at)), 1);
    }
  ::close(fd);
  EXPECT_TRUE(load(0));
}

// Somebody who may write only where everybody may; root may everywhere.
class AsNobody {
 public:
  AsNobody() : before_(::geteuid()), changed_(before_ == 0 && ::seteuid(65534) == 0) {}
  ~AsNobody() {
    if (changed_ && ::seteuid(before_) != 0) std::abort();
  }
  bool works() const { return ::geteuid() != 0; }

 private:
  uid_t before_;
  bool changed_;
};

TEST_F(Checkpoints, WhereNothingCanBeWritten) {
  save(middle(2));
  save(middle(3));
  const std::string now = get(newest()), earlier = get(before());
  const auto expect_intact = [&] {
    EXPECT_EQ(get(newest()), now);
    EXPECT_EQ(get(before()), earlier);
    expect_same(middle(3), *load(0));
  };
  fs::create_directory(dir / "task.checkpoint.next");
  EXPECT_EQ(error_of([&] { save(decoding(1)); }).exit(), Exit::write);
  expect_intact();
  fs::remove(dir / "task.checkpoint.next");
  {
    struct rlimit unlimited {};
    ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &unlimited), 0);
    struct rlimit small = unlimited;
    small.rlim_cur = 1000;
    const auto handler = std::signal(SIGXFSZ, SIG_IGN);
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
    const Error e = error_of([&] { save(decoding(3)); });
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    std::signal(SIGXFSZ, handler);
    EXPECT_EQ(e.exit(), Exit::write);
    expect_contains(e.what(), "needed ");
    expect_contains(e.what(), "free ");
    expect_intact();
    EXPECT_EQ(num_files(), 2u);
  }
  const Error gone = error_of([&] { Checkpoint(dir / "none" / "task.checkpoint", owner).save(middle(2)); });
  EXPECT_EQ(gone.exit(), Exit::write);
  fs::permissions(dir, fs::perms{0555});
  {
    const AsNobody nobody;
    if (nobody.works()) {
      const Error e = error_of([&] { save(decoding(1)); });
      EXPECT_EQ(e.exit(), Exit::write);
      expect_contains(e.hint(), "write");
    }
  }
  fs::permissions(dir, fs::perms::owner_all);
  expect_intact();
}

TEST_F(Checkpoints, NotReadableIsNoCrash) {
  save(middle(2));
  fs::permissions(newest(), fs::perms::none);
  fs::permissions(dir, fs::perms{0755});
  const AsNobody nobody;
  if (!nobody.works()) GTEST_SKIP() << "root reads everything";
  EXPECT_FALSE(load(1));
}

// The place of a good checkpoint while decoding, and its arrays.
class ForgedCheckpoints : public Checkpoints {
 protected:
  void SetUp() override {
    Checkpoints::SetUp();
    save(good);
    place = json::parse(io::Safetensors::open(newest()).metadata().at("place"));
    const Tensor& t = good.state.done.latents;
    tensors.push_back({"latents", t.shape(), io::Dtype::f32, std::as_bytes(std::span(t.data(), static_cast<std::size_t>(t.size())))});
    const Film& film = good.state.done.film;
    tensors.push_back({"film", {5, film.height_px, film.width_px, 3}, io::Dtype::u8,
                       std::as_bytes(std::span(film.rgb.data(), static_cast<std::size_t>(5 * film.frame_bytes())))});
  }
  void expect_refused(const json& other, const std::string& why) const {
    forge(other.dump(), tensors);
    EXPECT_EQ(error_of([&] { read_checkpoint(newest(), owner); }).exit(), Exit::input) << why;
    EXPECT_FALSE(load(1)) << why;
  }

  const Standing good = decoding(2);
  json place;
  std::vector<io::TensorBytes> tensors;
};

TEST_F(ForgedCheckpoints, AGoodOneIsRead) {
  forge(place.dump(), tensors);
  expect_same(good, *load(0));
}

TEST_F(ForgedCheckpoints, PlacesThatAreNone) {
  for (const char* text : {"", "null", "[]", "3", "\"place\"", "{", "{}", "[[[[[[", "{\"segment\": }"}) {
    forge(text, tensors);
    EXPECT_EQ(error_of([&] { read_checkpoint(newest(), owner); }).exit(), Exit::input) << text;
  }
  forge(std::string(1'000'000, '['), tensors);
  EXPECT_EQ(error_of([&] { read_checkpoint(newest(), owner); }).exit(), Exit::input);
}

TEST_F(ForgedCheckpoints, MissingAndOfAnotherType) {
  for (const char* key : {"segment", "step", "decoded", "frames", "height", "width", "fps", "sittings"}) {
    json other = place;
    other.erase(key);
    expect_refused(other, fmt::format("no {}", key));
    for (const json& value : {json("1"), json(nullptr), json::array({1, 2}), json::object({{"a", 1}})}) {
      if (key == std::string("sittings") && value.is_null()) continue;  // the same as no sittings
      other[key] = value;
      expect_refused(other, fmt::format("{} is {}", key, value.dump()));
    }
  }
  for (const char* key : {"wall_s", "nodes", "cores", "energy_j"}) {
    json other = place;
    other["sittings"][0].erase(key);
    expect_refused(other, fmt::format("a sitting has no {}", key));
  }
}

TEST_F(ForgedCheckpoints, SizesThatDoNotFit) {
  constexpr int64_t lowest = std::numeric_limits<int64_t>::min(), huge = std::numeric_limits<int64_t>::max();
  const auto change = [&](const char* key, const json& value) {
    json other = place;
    other[key] = value;
    expect_refused(other, fmt::format("{} is {}", key, value.dump()));
  };
  for (const char* key : {"frames", "height", "width", "decoded"})
    for (const int64_t value : {huge, huge / 2, int64_t{1} << 40, int64_t{4}, int64_t{100'002}}) change(key, value);
  for (const char* key : {"frames", "height", "width"})
    for (const int64_t value : {lowest, int64_t{-1}, int64_t{0}}) change(key, value);
  for (const char* key : {"frames", "height", "width"}) change(key, 1e300);
}

// What needs no film is for the renderer to refuse; here nothing may break.
TEST_F(ForgedCheckpoints, NegativePlacesBreakNothing) {
  constexpr int64_t lowest = std::numeric_limits<int64_t>::min();
  for (const char* key : {"segment", "step", "decoded"})
    for (const int64_t value : {lowest, int64_t{-1}}) {
      json other = place;
      other[key] = value;
      forge(other.dump(), tensors);
      try {
        const Standing s = read_checkpoint(newest(), owner);
        EXPECT_TRUE(s.state.segment < 0 || s.state.denoise.scheduler.step < 0 || s.state.decoded < 0 || value == lowest) << key;
      } catch (const Error& e) {
        EXPECT_EQ(e.exit(), Exit::input);
      }
    }
}

TEST_F(ForgedCheckpoints, ArraysThatDoNotFit) {
  const auto refuse = [&](const std::string& why) {
    forge(place.dump(), tensors);
    const Error e = error_of([&] { read_checkpoint(newest(), owner); });
    EXPECT_EQ(e.exit(), Exit::input) << why << ": " << e.what();
  };
  const auto all = tensors;
  const auto with = [&](std::size_t index, auto edit) {
    tensors = all;
    edit(tensors[index]);
  };
  const std::vector<std::byte> zeros(4096);
  with(1, [](io::TensorBytes& t) { t.shape = {t.shape[0], t.shape[2], t.shape[1], 3}; });
  refuse("height for width");
  with(1, [](io::TensorBytes& t) { t.shape = {static_cast<int64_t>(t.bytes.size())}; });
  refuse("a flat film");
  with(1, [](io::TensorBytes& t) { t.shape[0] = 0, t.bytes = {}; });
  refuse("an empty film");
  with(1, [](io::TensorBytes& t) { t.dtype = io::Dtype::boolean; });
  refuse("a film of another type");
  with(1, [](io::TensorBytes& t) { t.name = "movie"; });
  refuse("no film");
  with(0, [](io::TensorBytes& t) { t.dtype = io::Dtype::i32; });
  refuse("latents of another type");
  with(0, [](io::TensorBytes& t) { t.name = "latent"; });
  refuse("no latents");
  with(0, [](io::TensorBytes& t) { t.shape = {static_cast<int64_t>(t.bytes.size() / 4)}; });
  refuse("flat latents");
  with(0, [](io::TensorBytes& t) { t.shape = {4, 0, 2, 2}, t.bytes = {}; });
  refuse("empty latents");
  with(0, [](io::TensorBytes& t) { t.shape = {7777777, 2, 0}, t.bytes = {}; });
  std::string file = get(forge(place.dump(), tensors));  // a size that no array has, times nothing
  file.replace(file.find("7777777"), 7, std::to_string(int64_t{1} << 62));
  std::uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof header);
  header += 12;  // more digits
  std::memcpy(file.data(), &header, sizeof header);
  put("task.checkpoint", file);
  EXPECT_EQ(error_of([&] { read_checkpoint(newest(), owner); }).exit(), Exit::input);
  tensors = all;
  tensors.push_back({"sample", {4, 2}, io::Dtype::f32, std::span(zeros).first(32)});
  tensors.push_back({"history.0", {4, 2}, io::Dtype::f32, std::span(zeros).first(32)});
  tensors.push_back({"history.1", {2, 2}, io::Dtype::f32, std::span(zeros).first(16)});
  refuse("history of several sizes");
}

// A few bytes must not make Reel take gigabytes: one frame is there, 100,001 are claimed.
TEST_F(ForgedCheckpoints, AFilmIsNoLargerThanTheFile) {
  place["frames"] = 100'001;
  place["decoded"] = 1;
  place["height"] = place["width"] = 32;
  const std::vector<std::byte> frame(32 * 32 * 3);
  tensors[1].shape = {1, 32, 32, 3};
  tensors[1].bytes = frame;
  forge(place.dump(), tensors);
  const auto peak_kib = [] {
    struct rusage usage {};
    ::getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const long before_kib = peak_kib();
  try {
    read_checkpoint(newest(), owner);
  } catch (const Error& e) {
    EXPECT_EQ(e.exit(), Exit::input);
  }
  EXPECT_LT(peak_kib() - before_kib, 64 * 1024);
}

TEST(Broadcast, AloneItStaysAsItIs) {
  const Comm solo = Comm::solo();
  EXPECT_FALSE(broadcast(solo, {}));
  for (const Standing& s : {before_first_step(), middle(3), decoding(2)}) expect_same(s, *broadcast(solo, s));
}

}  // namespace
}  // namespace reel::study
