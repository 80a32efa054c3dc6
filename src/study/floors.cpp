#include "study/floors.hpp"

#include <algorithm>
#include <cmath>
#include <sstream>
#include <string_view>
#include <vector>

namespace reel::study {
namespace {

// floors.csv as it was when the program was built.
constexpr const char* table =
#include "floors.inc"
    ;

struct Row {
  std::int64_t size_px;
  std::string codec, metric;
  double value;
};

const std::vector<Row>& rows() {
  static const std::vector<Row> all = [] {
    std::vector<Row> list;
    std::istringstream lines(table);
    std::string line;
    for (std::getline(lines, line); std::getline(lines, line);) {  // the first line names the columns
      std::istringstream cells(line);
      std::vector<std::string> cell;
      for (std::string text; std::getline(cells, text, ',');) cell.push_back(text);
      if (cell.size() == 6 && !cell[4].empty()) list.push_back({std::stoll(cell[0]), cell[1], cell[2], std::stod(cell[4])});
    }
    return list;
  }();
  return all;
}

}  // namespace

Floors floors_for(std::int64_t width_px, std::int64_t height_px, bool lossless) {
  Floors floors;
  floors.codec = lossless ? "clean" : "crf28";
  const double side = static_cast<double>(std::max<std::int64_t>(1, std::min(width_px, height_px)));
  const auto far = [&](std::int64_t size) { return std::abs(std::log(static_cast<double>(size) / side)); };
  for (const Row& row : rows())
    if (row.codec == floors.codec && (floors.size_px == 0 || far(row.size_px) < far(floors.size_px))) floors.size_px = row.size_px;
  for (const Row& row : rows())
    if (row.codec == floors.codec && row.size_px == floors.size_px) floors.value[row.metric] = row.value;
  return floors;
}

}  // namespace reel::study
