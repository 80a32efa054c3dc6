// reel world: makes clips with exact ground truth, as files or as a stream for training.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "app/verbs.hpp"
#include "io/atomic_file.hpp"
#include "io/video.hpp"
#include "worlds/world.hpp"

namespace reel::app {
namespace {

struct Options {
  std::string world, out, stream, size = "64x64";
  std::uint64_t seed = 0, count = 1;
  std::vector<std::string> set;
  bool captions = false, mp4 = false;
  worlds::Spec spec;
};

void read_size(Options& o) {
  const char *p = o.size.data(), *end = p + o.size.size();
  const auto width = std::from_chars(p, end, o.spec.width_px);
  if (width.ec == std::errc() && width.ptr != end && *width.ptr == 'x') {
    const auto height = std::from_chars(width.ptr + 1, end, o.spec.height_px);
    if (height.ec == std::errc() && height.ptr == end) return;
  }
  throw Error(Exit::usage, fmt::format("'{}' is not a size", o.size), "--size", "write WIDTHxHEIGHT, as in 64x64");
}

void read_set(Options& o) {
  for (const std::string& pair : o.set) {
    const auto equals = pair.find('=');
    if (equals == std::string::npos || equals == 0)
      throw Error(Exit::usage, fmt::format("'{}' sets nothing", pair), "--set", "write key=value, as in speed=2.5");
    o.spec.set[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
}

/// One line of JSON, then the raw frames [F, H, W, 3].
void write_stream(std::FILE* out, const std::string& name, const worlds::Clip& clip) {
  const Film& film = clip.film;
  const nlohmann::ordered_json head = {{"world", clip.world},      {"seed", clip.seed},
                                       {"caption", clip.caption},  {"frames", film.num_frames},
                                       {"height", film.height_px}, {"width", film.width_px},
                                       {"fps", film.fps},          {"px_per_m", clip.px_per_m},
                                       {"facts", clip.facts},      {"attributes", clip.attributes}};
  const std::string line = head.dump() + "\n";
  if (std::fwrite(line.data(), 1, line.size(), out) != line.size() ||
      std::fwrite(film.rgb.data(), 1, film.rgb.size(), out) != film.rgb.size())
    io::throw_write_error(name, errno);
}

void run(Options& o) {
  if (launch_rank() != 0) return;  // one clip, not one per rank
  read_size(o);
  read_set(o);
  if (o.captions + !o.out.empty() + !o.stream.empty() != 1)
    throw Error(Exit::usage, "where should the clip go?", "reel world",
                "give one of --out DIR, --stream FILE (- is standard output) and --captions");
  if (o.captions) {
    for (const std::string& text : worlds::captions(o.world)) fmt::print("{}\n", text);
    return;
  }
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(nullptr, std::fclose);
  if (!o.stream.empty() && o.stream != "-") {
    file.reset(std::fopen(o.stream.c_str(), "wb"));
    if (!file) io::throw_write_error(o.stream, errno);
  }
  for (std::uint64_t i = 0; i < o.count; ++i) {
    const worlds::Clip clip = worlds::make(o.world, o.seed + i, o.spec);
    if (!o.stream.empty()) {
      write_stream(file ? file.get() : stdout, o.stream, clip);
      continue;
    }
    std::error_code ignored;  // the write that follows says why it failed
    std::filesystem::create_directories(o.out, ignored);
    const auto path = std::filesystem::path(o.out) / fmt::format("{}-{}", clip.world, clip.seed);
    const std::string film = path.string() + (o.mp4 ? ".mp4" : ".mkv");
    io::write_video(film, clip.film, {.lossless = !o.mp4});
    io::write_text(path.string() + ".truth.json", worlds::truth_json(clip));
    fmt::print("{}: {}\n", film, clip.caption);
  }
  // A full disk may show only now.
  if (!o.stream.empty() && std::fflush(file ? file.get() : stdout) != 0) io::throw_write_error(o.stream, errno);
}

}  // namespace

/// Registers `reel world`. The callback throws Error.
void add_world(CLI::App& root) {
  auto o = std::make_shared<Options>();
  // CLI11 would wrap -1 round to 2^64 - 1.
  const auto not_negative = [](const std::string& text) {
    return text.starts_with('-') ? "must not be negative, got " + text : std::string();
  };
  CLI::App* verb = root.add_subcommand("world", "make a clip with exact ground truth");
  verb->add_option("name", o->world, "collision, fall, house, parabola, uniform, or mix: one of them by the seed")
      ->required();
  verb->add_option("--seed", o->seed, "fixes everything about the scene")->capture_default_str()->check(not_negative);
  verb->add_option("--count", o->count, "clips, with seeds SEED, SEED+1, ...")
      ->capture_default_str()
      ->check(not_negative);
  verb->add_option("--out", o->out, "folder for NAME-SEED.mkv (lossless) and NAME-SEED.truth.json");
  verb->add_flag("--mp4", o->mp4, "with --out: H.264 in NAME-SEED.mp4, for watching; not exact");
  verb->add_option("--stream", o->stream, "write clips to FILE (-: standard output): a line of JSON, then raw RGB");
  verb->add_flag("--captions", o->captions, "print every caption that the world can have");
  verb->add_option("--frames", o->spec.num_frames, "frames per clip")->capture_default_str();
  verb->add_option("--size", o->size, "WIDTHxHEIGHT in pixels")->capture_default_str();
  verb->add_option("--fps", o->spec.fps, "frames per second")->capture_default_str();
  verb->add_option("--set", o->set, "key=value: override what the seed draws, e.g. speed=2.5 storeys=four");
  verb->callback([o] { run(*o); });
}

}  // namespace reel::app
