#include "model/pipeline.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/digest.hpp"
#include "model/prompt.hpp"
#include "model/tokenizer.hpp"

namespace reel::model {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string read_text(const fs::path& file) {
  std::error_code ec;
  std::ifstream in(file, std::ios::binary);
  constexpr std::uintmax_t max_bytes = std::uintmax_t{256} << 20;  // tokenizers are the largest
  if (!in || !fs::is_regular_file(file, ec) || fs::file_size(file, ec) > max_bytes)
    throw Error(Exit::input, fs::exists(file, ec) ? "cannot be read" : "no such file", file.string(),
                "model.path must be a diffusers pipeline folder with model_index.json");
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// A value for a message; not what is nested, which may be deeper than the stack.
std::string shown(const json& value) {
  const bool nested = value.is_structured() && std::any_of(value.begin(), value.end(), [](const json& v) { return v.is_structured(); });
  return nested ? "nested JSON" : value.dump();
}

json read_object(const fs::path& file) {
  try {
    json j = json::parse(read_text(file));
    if (j.is_object()) return j;
  } catch (const json::exception& e) {
    throw Error(Exit::input, fmt::format("not valid JSON: {}", e.what()), file.string(), "download the file again");
  }
  throw Error(Exit::input, "not a JSON object", file.string(), "download the file again");
}

// "component": [library, class] must name one of these classes.
void expect_class(const json& index, const char* component, std::vector<std::string> classes, const fs::path& file) {
  const auto it = index.find(component);
  const bool pair = it != index.end() && it->is_array() && it->size() == 2 && (*it)[1].is_string();
  if (pair && std::find(classes.begin(), classes.end(), (*it)[1].get<std::string>()) != classes.end()) return;
  std::string known;
  for (const std::string& c : classes) known += (known.empty() ? "" : " or ") + c;
  throw Error(Exit::input,
              fmt::format("component '{}' is {}, not {}", component, it == index.end() ? "missing" : shown(*it), known),
              file.string(), "Reel renders Wan text-to-video pipelines");
}

const std::vector<std::string> component_folders{"scheduler", "text_encoder", "tokenizer", "transformer", "vae"};

}  // namespace

Pipeline Pipeline::open(const fs::path& folder, Numerics numerics) {
  std::error_code ec;
  if (!fs::is_directory(folder, ec))
    throw Error(Exit::input, fs::exists(folder, ec) ? "not a folder" : "no such folder", folder.string(),
                "model.path must be a diffusers pipeline folder with model_index.json");
  Pipeline p;
  p.numerics_ = numerics;
  p.folder_ = fs::canonical(folder, ec);
  if (ec) throw Error(Exit::input, "cannot be opened: " + ec.message(), folder.string(), "check the rights of the folder");
  const fs::path index_file = p.folder_ / "model_index.json";
  const json index = read_object(index_file);
  const auto pipeline_class = index.find("_class_name");
  if (pipeline_class == index.end() || *pipeline_class != "WanPipeline")
    throw Error(Exit::input,
                fmt::format("pipeline class {} is not supported", pipeline_class == index.end() ? "missing" : shown(*pipeline_class)),
                index_file.string(),
                "Reel renders WanPipeline folders");
  expect_class(index, "transformer", {"WanTransformer3DModel"}, index_file);
  expect_class(index, "vae", {"AutoencoderKLWan"}, index_file);
  expect_class(index, "text_encoder", {"UMT5EncoderModel"}, index_file);
  expect_class(index, "tokenizer", {"T5TokenizerFast", "T5Tokenizer"}, index_file);
  expect_class(index, "scheduler", {"UniPCMultistepScheduler", "FlowMatchEulerDiscreteScheduler"}, index_file);
  if (const auto it = index.find("transformer_2"); it != index.end() && it->is_array() && !it->empty() && !(*it)[0].is_null())
    throw Error(Exit::input, "pipelines with two transformers (Wan 2.2 A14B) are not rendered", index_file.string(),
                "use a Wan 2.1 text-to-video folder");
  if (const auto it = index.find("expand_timesteps"); it != index.end() && it->is_boolean()) p.expand_timesteps_ = *it;
  const auto config = [&](const char* component, const char* file) {
    const fs::path path = p.folder_ / component / file;
    return std::pair(read_text(path), path.string());
  };
  auto [text, file] = config("transformer", "config.json");
  p.transformer_ = parse_transformer(text, file);
  std::tie(text, file) = config("vae", "config.json");
  p.vae_ = parse_vae(text, file);
  std::tie(text, file) = config("text_encoder", "config.json");
  p.text_encoder_ = parse_text_encoder(text, file);
  std::tie(text, file) = config("scheduler", "scheduler_config.json");
  p.scheduler_ = parse_scheduler(text, file);
  if (p.transformer_.text_dim != p.text_encoder_.d_model || p.transformer_.in_channels != p.vae_.z_dim ||
      p.transformer_.out_channels != p.vae_.z_dim)
    throw Error(Exit::input,
                fmt::format("components do not fit: transformer text_dim {} and {} -> {} channels, text encoder d_model "
                            "{}, vae z_dim {}",
                            p.transformer_.text_dim, p.transformer_.in_channels, p.transformer_.out_channels,
                            p.text_encoder_.d_model, p.vae_.z_dim),
                index_file.string(), "take all components from one published folder");
  if (fs::exists(p.folder_ / "reel.json", ec)) {
    const json extra = read_object(p.folder_ / "reel.json");
    const auto it = extra.find("trained_frames");
    if (it == extra.end() || !it->is_number_integer() || it->get<std::int64_t>() < 1)
      throw Error(Exit::input, "'trained_frames' must be a positive number", (p.folder_ / "reel.json").string(),
                  "write {\"trained_frames\": 33}");
    p.trained_latent_frames_ = 1 + (it->get<std::int64_t>() - 1) / p.vae_.scale_factor_temporal;
  }
  return p;
}

Pipeline Pipeline::synthetic(const std::string& name, std::uint64_t seed, Numerics numerics) {
  const Published shape = published(name);
  Pipeline p;
  p.numerics_ = numerics;
  p.name_ = name;
  p.seed_ = seed;
  p.transformer_ = shape.transformer;
  p.vae_ = shape.vae;
  p.text_encoder_ = shape.text_encoder;
  p.expand_timesteps_ = shape.expand_timesteps;
  p.scheduler_.shift = shape.flow_shift;
  return p;
}

std::unique_ptr<TensorSource> Pipeline::weights(Part part) const {
  const char* component = part == Part::transformer ? "transformer" : part == Part::vae ? "vae" : "text_encoder";
  if (is_synthetic()) return synthetic_weights(seed_, name_ + "/" + component);
  // transformers and diffusers name their files differently.
  return open_files((folder_ / component).string(), part == Part::text_encoder ? "model" : "diffusion_pytorch_model");
}

std::unique_ptr<TensorSource> Pipeline::weights(Part part, const Comm& comm) const {
  std::unique_ptr<TensorSource> source;
  comm.together([&] { source = weights(part); });
  return source;
}

std::vector<std::int64_t> Pipeline::tokenize(const std::string& prompt) const {
  const std::string cleaned = clean_prompt(prompt);
  if (!is_synthetic()) return Tokenizer::open((folder_ / "tokenizer").string()).encode(cleaned, context_length);
  std::vector<std::int64_t> ids;
  std::uint64_t word = 0;
  const auto end_word = [&] {
    if (word && static_cast<std::int64_t>(ids.size()) + 1 < context_length)
      ids.push_back(4 + static_cast<std::int64_t>(word % static_cast<std::uint64_t>(text_encoder_.vocab_size - 4)));
    word = 0;
  };
  for (char c : cleaned) {
    if (c == ' ')
      end_word();
    else
      word = (word ^ static_cast<unsigned char>(c)) * 1099511628211ULL + 1;
  }
  end_word();
  ids.push_back(1);
  return ids;
}

std::string Pipeline::digest(Part part, const Comm& comm) const {
  std::string& known = digests_[static_cast<std::size_t>(part)];
  if (comm.max(known.empty() ? 1 : 0) != 0) known = weights(part, comm)->digest(comm);  // no rank takes another branch
  return known;
}

std::string Pipeline::digest(const Comm& comm) const {
  Sha256 sha;
  sha.update("reel model 1\n");
  for (Part part : {Part::transformer, Part::vae, Part::text_encoder}) sha.update(digest(part, comm) + "\n");
  if (is_synthetic()) return sha.hex();
  comm.together([&] {
    std::vector<fs::path> files{folder_ / "model_index.json"};
    std::error_code ec;
    if (fs::exists(folder_ / "reel.json", ec)) files.push_back(folder_ / "reel.json");
    for (const std::string& name : component_folders) {
      const fs::directory_iterator entries(folder_ / name, ec);
      if (ec)
        throw Error(Exit::input, "cannot be listed: " + ec.message(), (folder_ / name).string(),
                    "model.path must be a diffusers pipeline folder");
      for (const auto& entry : entries) {
        const std::string extension = entry.path().extension().string();
        if (entry.is_regular_file(ec) && (extension == ".json" || extension == ".model") &&
            !entry.path().filename().string().ends_with(".index.json"))
          files.push_back(entry.path());
      }
    }
    std::sort(files.begin(), files.end());
    for (const fs::path& file : files) {
      sha.update(fs::relative(file, folder_).generic_string() + "\n");
      sha.update(sha256_hex(read_text(file)) + "\n");
    }
  });
  return sha.hex();
}

}  // namespace reel::model
