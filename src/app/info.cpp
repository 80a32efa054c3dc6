// reel info: what is in a result file, a weights file or a model folder.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "app/verbs.hpp"
#include "io/results.hpp"
#include "io/safetensors.hpp"
#include "model/pipeline.hpp"

namespace reel::app {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct Options {
  std::string file;
  bool config = false, digest = false;
};

std::string size_text(std::uint64_t bytes) {
  if (bytes < 10'000) return fmt::format("{} bytes", bytes);
  if (bytes < 10'000'000) return fmt::format("{:.1f} kB", static_cast<double>(bytes) * 1e-3);
  if (bytes < 10'000'000'000) return fmt::format("{:.1f} MB", static_cast<double>(bytes) * 1e-6);
  return fmt::format("{:.1f} GB", static_cast<double>(bytes) * 1e-9);
}

std::string value_text(const io::Attribute& value) {
  return std::visit([](const auto& v) { return fmt::format("{}", v); }, value);
}
ordered_json to_json(const io::Attributes& attributes) {
  ordered_json object = ordered_json::object();
  for (const auto& attribute : attributes) {  // clang 14 cannot capture a structured binding
    std::visit([&](const auto& v) { object[attribute.first] = v; }, attribute.second);
  }
  return object;
}

void print(const ordered_json& value) {
  std::printf("%s\n", value.dump(2, ' ', false, ordered_json::error_handler_t::replace).c_str());
}

void show_result(const std::string& file) {
  const io::Record record = io::read_groups(file, {});
  if (global().json) {
    ordered_json datasets = ordered_json::array(), groups = ordered_json::object();
    for (const auto& [path, attributes] : record.groups) {
      if (!attributes.empty()) groups[path] = to_json(attributes);
    }
    for (const io::Dataset& d : record.datasets) {
      datasets.push_back({{"path", d.path},
                          {"type", io::type_name(d.data)},
                          {"shape", d.shape},
                          {"dims", d.dims},
                          {"units", d.unit},
                          {"long_name", d.long_name},
                          {"attributes", to_json(d.attributes)}});
    }
    print({{"file", file}, {"kind", "result"}, {"groups", groups}, {"datasets", datasets}});
    return;
  }
  std::printf("%s: Reel result, %s\n", file.c_str(), size_text(fs::file_size(file)).c_str());
  for (const auto& [name, value] : record.groups.at("/")) {
    std::printf("  %-16s %s\n", name.c_str(), value_text(value).c_str());
  }
  std::string group;
  for (const io::Dataset& d : record.datasets) {
    if (d.long_name.starts_with("index along ")) continue;  // made by the writer; the shapes tell as much
    const std::string parent = d.path.substr(0, d.path.rfind('/'));
    if (parent != group) std::printf("%s\n", parent.c_str());
    group = parent;
    std::string shape;
    for (std::size_t i = 0; i < d.shape.size(); ++i)
      shape += fmt::format("{}{} {}", i > 0 ? ", " : "", d.dims[i], d.shape[i]);
    std::printf("  %-16s %-3s %-7s %s%s\n", d.path.substr(parent.size() + 1).c_str(), io::type_name(d.data).c_str(),
                d.unit.empty() ? "-" : d.unit.c_str(), d.long_name.c_str(),
                shape.empty() ? "" : fmt::format("  ({})", shape).c_str());
  }
}

/// "BF16 12, F32 3": tensors per type.
std::string types_text(const io::Safetensors& file) {
  std::map<std::string_view, std::size_t> counts;
  for (const auto& [name, tensor] : file.tensors()) ++counts[io::dtype_name(tensor.dtype)];
  std::string text;
  for (const auto& [name, count] : counts) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", name, count);
  return text;
}
std::int64_t num_parameters(const io::Safetensors& file) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : file.tensors()) count += num_elements(tensor.shape);
  return count;
}

void show_weights(const std::string& path, bool with_digest) {
  const auto file = io::Safetensors::open(path);
  const std::string digest = with_digest ? io::weights_digest(file) : "";
  if (global().json) {
    ordered_json tensors = ordered_json::array();
    for (const auto& [name, t] : file.tensors()) {
      tensors.push_back({{"name", name}, {"dtype", io::dtype_name(t.dtype)}, {"shape", t.shape}, {"bytes", t.bytes}});
    }
    ordered_json all{
        {"file", path}, {"kind", "weights"}, {"num_parameters", num_parameters(file)}, {"tensors", tensors}};
    if (with_digest) all["sha256"] = digest;
    print(all);
    return;
  }
  std::size_t width = 0;
  for (const auto& [name, t] : file.tensors()) width = std::max(width, name.size());
  for (const auto& [name, t] : file.tensors()) {
    std::printf("%-*s  %-4s %s\n", static_cast<int>(width), name.c_str(), std::string(io::dtype_name(t.dtype)).c_str(),
                to_string(t.shape).c_str());
  }
  std::printf("%zu tensors (%s), %lld parameters, %s\n", file.tensors().size(), types_text(file).c_str(),
              static_cast<long long>(num_parameters(file)), size_text(file.total_bytes()).c_str());
  if (with_digest) std::printf("digest %s\n", digest.c_str());
}

void show_model(const std::string& path, bool with_digest) {
  const model::Pipeline pipeline = model::Pipeline::open(path);
  ordered_json all{{"file", path}, {"kind", "model"}, {"components", ordered_json::object()}};
  for (const char* name : {"transformer", "vae", "text_encoder"}) {
    const auto file = io::Safetensors::open(
        fs::path(path) / name, std::string_view(name) == "text_encoder" ? "model" : "diffusion_pytorch_model");
    all["components"][name] = {{"num_tensors", file.tensors().size()},
                               {"dtypes", types_text(file)},
                               {"num_parameters", num_parameters(file)},
                               {"bytes", file.total_bytes()}};
  }
  if (with_digest) all["sha256"] = pipeline.digest(Comm::solo());
  if (global().json) return print(all);
  std::printf("%s: model folder\n", path.c_str());
  for (const auto& [name, c] : all["components"].items()) {
    std::printf("  %-13s %5zu tensors (%s), %lld parameters, %s\n", name.c_str(), c["num_tensors"].get<std::size_t>(),
                c["dtypes"].get<std::string>().c_str(), c["num_parameters"].get<long long>(),
                size_text(c["bytes"].get<std::uint64_t>()).c_str());
  }
  if (with_digest) std::printf("  digest        %s\n", all["sha256"].get<std::string>().c_str());
}

void show(const Options& o) {
  if (launch_rank() != 0) return;
  std::error_code ignored;
  const fs::path path = o.file;
  if (o.config) {
    std::fputs(io::read_record(o.file).values<std::string>("/provenance/config_text").at(0).c_str(), stdout);
  } else if (fs::exists(path / "model_index.json", ignored)) {
    show_model(o.file, o.digest);
  } else if (fs::is_directory(path, ignored) || path.extension() == ".safetensors" || path.extension() == ".json") {
    show_weights(o.file, o.digest);
  } else {
    show_result(o.file);
  }
}

}  // namespace

void add_info(CLI::App& root) {
  auto o = std::make_shared<Options>();
  CLI::App* verb = root.add_subcommand("info", "show what is in a result file, a weights file or a model folder");
  verb->add_option("file", o->file, "result (.h5), weights (.safetensors, .index.json) or model folder")->required();
  verb->add_flag("--config", o->config, "print the experiment file that a result was made from");
  verb->add_flag("--digest", o->digest, "hash the weights (model.sha256 of an experiment)");
  verb->callback([o] { show(*o); });
}

}  // namespace reel::app
