#include "study/films.hpp"

#include "io/results.hpp"
#include "io/video.hpp"
#include "study/provenance.hpp"

namespace reel::study {
namespace {

/// A result's film, which lives as long as its frames are read.
class ResultFrames final : public FrameSource {
 public:
  ResultFrames(Film film, std::vector<double> time_s, std::string name)
      : film_(std::move(film)), time_s_(std::move(time_s)), frames_(film_, std::move(name)) {}
  bool next(Frame& frame) override {
    if (!frames_.next(frame)) return false;
    frame.time_s = time_s_[at_++];
    return true;
  }
  void rewind() override {
    frames_.rewind();
    at_ = 0;
  }
  std::string name() const override { return frames_.name(); }

 private:
  Film film_;
  std::vector<double> time_s_;
  FilmFrames frames_;
  std::size_t at_ = 0;
};

OpenFilm open_result(const std::filesystem::path& path) {
  io::Record record = io::read_record(path);
  if (record.text("/", "weights") == "synthetic")
    throw Error(Exit::input, "was rendered with synthetic weights: its pictures mean nothing", path.string(),
                "measure a film of a trained model");
  const io::Dataset* found = record.find("/result/pixels");
  if (found == nullptr)
    throw Error(Exit::input, "holds no pixels", path.string(), "measure the video beside it, or render with output.pixels = true");
  const auto* rgb = std::get_if<std::vector<std::uint8_t>>(&found->data);
  std::vector<double> time_s = record.values<double>("/result/time");
  if (rgb == nullptr || found->shape.size() != 4 || found->shape[3] != 3 || found->shape[0] < 1 ||
      found->shape[0] != static_cast<std::int64_t>(time_s.size()))
    throw Error(Exit::input, "holds pixels of an unknown form", path.string(), "use a result that `reel run` wrote");
  for (std::size_t i = 1; i < time_s.size(); ++i)
    if (!(time_s[i] > time_s[i - 1])) throw Error(Exit::input, fmt::format("the times do not rise at frame {}", i), path.string());
  OpenFilm open;
  open.sha256 = record.text("/", "result_digest");
  open.task_id = record.text("/", "task_id");
  Film film{found->shape[0], found->shape[1], found->shape[2], 1, *rgb};  // the times count, not this rate
  open.frames = std::make_unique<ResultFrames>(std::move(film), std::move(time_s), path.string());
  return open;
}

}  // namespace

OpenFilm open_film(const std::filesystem::path& path, double fps) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return {io::open_pictures(path, fps), "", ""};
  if (path.extension() == ".h5") return open_result(path);
  OpenFilm open{io::open_video(path), "", ""};
  open.sha256 = file_sha256(path);
  return open;
}

}  // namespace reel::study
