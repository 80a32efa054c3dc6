#include "study/checkpoint.hpp"

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "core/digest.hpp"
#include "io/atomic_file.hpp"
#include "io/safetensors.hpp"

namespace reel::study {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using std::int64_t;

fs::path before(fs::path path) { return path += ".before"; }

json to_json(const std::vector<Sitting>& sittings) {
  json list = json::array();
  for (const Sitting& s : sittings)
    list.push_back({{"wall_s", s.wall_s}, {"nodes", s.num_nodes}, {"cores", s.num_cores},
                    {"energy_j", std::isfinite(s.energy_j) ? json(s.energy_j) : json()}});
  return list;
}

// All but the arrays.
json place_json(const model::RenderState& r, const std::vector<Sitting>& sittings) {
  const Film& film = r.done.film;
  return {{"segment", r.segment}, {"step", r.denoise.scheduler.step}, {"decoded", r.decoded}, {"frames", film.num_frames},
          {"height", film.height_px}, {"width", film.width_px}, {"fps", film.fps}, {"history", r.denoise.scheduler.history.size()},
          {"sample", r.denoise.sample.shape()}, {"latents", r.done.latents.shape()}, {"sittings", to_json(sittings)}};
}

Standing from_json(const json& j) {
  const auto whole = [&](const char* key) {
    const json& value = j.at(key);
    if (!value.is_number_integer() || std::abs(value.get<double>()) > 1e9) throw json::other_error::create(500, key, nullptr);
    return value.get<int64_t>();
  };
  Standing s;
  s.state.segment = whole("segment");
  s.state.denoise.scheduler.step = static_cast<int>(whole("step"));
  s.state.decoded = whole("decoded");
  Film& film = s.state.done.film;
  film.num_frames = whole("frames");
  film.height_px = whole("height");
  film.width_px = whole("width");
  film.fps = j.at("fps");
  for (const json& sitting : j.at("sittings")) {
    s.sittings.push_back({sitting.at("wall_s"), sitting.at("nodes"), sitting.at("cores")});
    if (sitting.at("energy_j").is_number()) s.sittings.back().energy_j = sitting["energy_j"];
  }
  return s;
}

template <class T>
std::span<const std::byte> bytes_of(const T* data, std::size_t count) {
  return std::as_bytes(std::span<const T>(data, count));
}

// Frames of the film that `decoded` latent frames gave, and their bytes.
int64_t frames_done(const model::RenderState& r) {
  const int64_t num_latents = r.done.latents.empty() ? 0 : r.done.latents.dim(1);
  if (r.decoded == 0 || num_latents == 0) return 0;
  return num_latents == 1 ? 1 : 1 + (r.decoded - 1) * ((r.done.film.num_frames - 1) / (num_latents - 1));
}

Tensor tensor_of(const io::Safetensors& file, const std::string& name) {
  const io::TensorInfo* info = file.find(name);
  if (info == nullptr) return {};
  if (info->dtype != io::Dtype::f32) throw Error(Exit::input, fmt::format("'{}' is not F32", name));
  Tensor t(info->shape);
  if (!t.empty()) std::memcpy(t.data(), info->data, info->bytes);
  return t;
}

}  // namespace

std::string checkpoint_seal(const std::string& owner, const std::string& place, const std::string& arrays) {
  return sha256_hex(owner + "\n" + place + "\n" + arrays + "\n");
}

Standing read_checkpoint(const fs::path& path, const std::string& owner) {
  const auto refuse = [&](const std::string& why) { return Error(Exit::input, "this checkpoint " + why, path.string(), "remove it, then run again"); };
  const io::Safetensors file = io::Safetensors::open(path);
  const auto text = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  if (text("reel_checkpoint") != "1") throw refuse("is of another kind");
  if (text("owner") != owner) throw refuse("belongs to another task");
  if (checkpoint_seal(owner, text("place"), io::weights_digest(file)) != text("sha256")) throw refuse("is damaged");
  try {
    Standing s = from_json(json::parse(text("place")));
    model::RenderState& r = s.state;
    r.denoise.sample = tensor_of(file, "sample");
    for (int k = 0; file.find(fmt::format("history.{}", k)) != nullptr; ++k)
      r.denoise.scheduler.history.push_back(tensor_of(file, fmt::format("history.{}", k)));
    for (const Tensor& t : r.denoise.scheduler.history)
      if (t.shape() != r.denoise.sample.shape()) throw refuse("holds arrays of several sizes");
    r.done.latents = tensor_of(file, "latents");
    Film& film = r.done.film;
    if (r.decoded > 0) {
      const io::TensorInfo& done = file.at("film");
      constexpr int64_t most_frames = 100'001;  // of an experiment
      if (r.done.latents.shape().size() != 4 || r.decoded > r.done.latents.dim(1) || film.num_frames < 1 || film.num_frames > most_frames)
        throw refuse("holds a film of another size");
      const int64_t frames = frames_done(r);
      if (film.height_px < 1 || film.width_px < 1 || frames < 1 || frames > film.num_frames ||
          done.dtype != io::Dtype::u8 || done.shape != Shape{frames, film.height_px, film.width_px, 3})
        throw refuse("holds a film of another size");
      film.rgb.resize(done.bytes);  // the rest comes when it is decoded
      std::memcpy(film.rgb.data(), done.data, done.bytes);
    }
    return s;
  } catch (const json::exception&) {
    throw refuse("does not say where it stands");
  }
}

std::optional<Standing> Checkpoint::load(std::vector<std::string>& complaints) const {
  for (const fs::path& path : {path_, before(path_)}) {
    std::error_code ignored;
    if (!fs::exists(path, ignored)) continue;
    try {
      return read_checkpoint(path, owner_);
    } catch (const Error& e) {
      complaints.push_back(fmt::format("{}: {}", path.string(), e.what()));
    }
  }
  return {};
}

void Checkpoint::save(const model::RenderState& r, const std::vector<Sitting>& sittings) const {
  std::vector<io::TensorBytes> tensors;
  const auto add = [&](const std::string& name, const Tensor& t) {
    if (!t.empty()) tensors.push_back({name, t.shape(), io::Dtype::f32, bytes_of(t.data(), static_cast<std::size_t>(t.size()))});
  };
  add("sample", r.denoise.sample);
  for (std::size_t k = 0; k < r.denoise.scheduler.history.size(); ++k) add(fmt::format("history.{}", k), r.denoise.scheduler.history[k]);
  add("latents", r.done.latents);
  if (r.decoded > 0) {
    const Film& film = r.done.film;
    const int64_t frames = frames_done(r);
    tensors.push_back({"film", {frames, film.height_px, film.width_px, 3}, io::Dtype::u8,
                       bytes_of(film.rgb.data(), static_cast<std::size_t>(frames * film.frame_bytes()))});
  }
  const std::string place = place_json(r, sittings).dump();
  // The newest gives its place up only once the next one is whole.
  const fs::path next = path_.string() + ".next";
  io::write_safetensors(next, tensors, {{"reel_checkpoint", "1"}, {"owner", owner_}, {"place", place},
                                        {"sha256", checkpoint_seal(owner_, place, io::weights_digest(tensors))}});
  std::error_code failed;
  fs::rename(path_, before(path_), failed);
  if (failed && failed != std::errc::no_such_file_or_directory) io::throw_write_error(before(path_), failed.value());
  fs::rename(next, path_, failed);
  if (failed) io::throw_write_error(path_, failed.value());
  io::sync_folder(path_);
}

void Checkpoint::remove() const noexcept {
  std::error_code ignored;
  for (const fs::path& path : {path_, before(path_), fs::path(path_.string() + ".next")}) fs::remove(path, ignored);
}

std::optional<Standing> broadcast(const Comm& world, std::optional<Standing> standing) {
  const std::string place = world.broadcast(standing ? place_json(standing->state, standing->sittings).dump() : std::string(), 0);
  if (place.empty()) return {};
  if (world.size() == 1) return standing;
  const json j = json::parse(place);
  if (world.rank() != 0) standing = from_json(j);
  const auto share = [&](Tensor& t, const Shape& shape) {
    if (world.rank() != 0 && !shape.empty()) t = Tensor(shape);
    if (t.size() > 0) world.broadcast(t.data(), static_cast<std::size_t>(t.size()) * sizeof(float), 0);
  };
  model::RenderState& r = standing->state;
  const auto sample = j.at("sample").get<Shape>();
  share(r.denoise.sample, sample);
  if (world.rank() != 0) r.denoise.scheduler.history.resize(j.at("history").get<std::size_t>());
  for (Tensor& t : r.denoise.scheduler.history) share(t, sample);
  share(r.done.latents, j.at("latents").get<Shape>());
  return standing;
}

}  // namespace reel::study
