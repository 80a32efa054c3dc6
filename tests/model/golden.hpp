#pragma once
// Golden tensors that diffusers computed (tests/oracle), and the distance to them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor.hpp"
#include "io/safetensors.hpp"

namespace reel::golden {

inline const std::string fixtures = REEL_SOURCE_DIR "/tests/oracle/fixtures/";

inline std::string read_text(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in.good()) << path;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

inline Tensor tensor(const io::Safetensors& file, const std::string& name) {
  const io::TensorInfo& info = file.at(name);
  Tensor t(info.shape);
  io::read_f32(info, 0, t.size(), t.data());
  return t;
}
inline std::vector<std::int64_t> integers(const io::Safetensors& file, const std::string& name) {
  const io::TensorInfo& info = file.at(name);
  std::vector<std::int64_t> v(static_cast<std::size_t>(num_elements(info.shape)));
  io::read_i64(info, 0, static_cast<std::int64_t>(v.size()), v.data());
  return v;
}
inline io::Safetensors open(const std::string& name) { return io::Safetensors::open(fixtures + name + ".safetensors"); }

/// Names of all cases of one component.
inline std::vector<std::string> cases(const std::string& component) {
  const auto all = nlohmann::json::parse(read_text(fixtures + "cases.json"));
  std::vector<std::string> names;
  for (const auto& c : all["cases"])
    if (c["component"] == component) names.push_back(c["name"]);
  return names;
}
inline nlohmann::json find_case(const std::string& name) {
  const auto all = nlohmann::json::parse(read_text(fixtures + "cases.json"));
  for (const auto& c : all["cases"])
    if (c["name"] == name) return c;
  throw std::runtime_error("no case " + name);
}

/// Item `index` of the first axis.
inline Tensor item(const Tensor& batch, std::int64_t index) {
  Tensor t(Shape(batch.shape().begin() + 1, batch.shape().end()));
  std::copy_n(batch.data() + index * t.size(), t.size(), t.data());
  return t;
}

/// max|a - b| / max|b|.
inline double distance(const float* a, const float* b, std::int64_t n) {
  double worst = 0, largest = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    if (!std::isfinite(a[i])) return INFINITY;
    worst = std::max(worst, std::fabs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    largest = std::max(largest, std::fabs(static_cast<double>(b[i])));
  }
  return worst / largest;
}
inline double distance(const Tensor& a, const Tensor& b) {
  if (a.size() != b.size()) return INFINITY;
  return distance(a.data(), b.data(), b.size());
}

}  // namespace reel::golden
