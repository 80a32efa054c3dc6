// Runs a fuzz target without libFuzzer: every seed as it is, then damaged seeds, the same ones every time.
//   fuzz_<target> SEEDS EXECUTIONS
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

std::uint64_t state = 1;
std::uint64_t draw(std::uint64_t below) {  // Knuth's MMIX generator, upper bits
  state = state * 6364136223846793005u + 1442695040888963407u;
  return below == 0 ? 0 : (state >> 33) % below;
}

std::string damaged(const std::vector<std::string>& seeds) {
  std::string s = seeds[draw(seeds.size())];
  const std::uint64_t times = 1 + draw(4);
  for (std::uint64_t i = 0; i < times; ++i) {
    const std::uint64_t at = draw(s.size() + 1);
    switch (draw(6)) {
      case 0:  // another byte
        if (at < s.size()) s[at] = static_cast<char>(draw(256));
        break;
      case 1:  // one bit
        if (at < s.size()) s[at] = static_cast<char>(s[at] ^ (1 << draw(8)));
        break;
      case 2:  // cut off
        s.resize(at);
        break;
      case 3:  // a piece is missing
        s.erase(at, draw(20));
        break;
      case 4: {  // a piece of another one
        const std::string& other = seeds[draw(seeds.size())];
        const std::uint64_t from = draw(other.size() + 1);
        s.insert(at, other.substr(from, draw(40)));
        break;
      }
      default: {  // what breaks numbers and texts
        static const char* const nasty[] = {"-1", "1e999", "nan", "9223372036854775808", "\"", "[[", "{", "\xff\xfe", "null", "\n", "0.0000001"};
        s.insert(at, nasty[draw(std::size(nasty))]);
      }
    }
  }
  return s;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: %s SEEDS EXECUTIONS\n", argv[0]), 2;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1])) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  std::vector<std::string> seeds;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    seeds.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  if (seeds.empty()) return std::fprintf(stderr, "%s holds no seeds\n", argv[1]), 2;
  const auto run = [](const std::string& s) { LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(s.data()), s.size()); };
  for (const std::string& s : seeds) run(s);
  const long executions = std::atol(argv[2]);
  for (long i = 0; i < executions; ++i) run(damaged(seeds));
  std::printf("%zu seeds, %ld damaged ones\n", seeds.size(), executions);
}
