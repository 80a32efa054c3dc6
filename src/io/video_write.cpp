#include <algorithm>
#include <cmath>
#include <cstring>

#include "io/atomic_file.hpp"
#include "io/video.hpp"
#include "io/video_libav.hpp"

namespace reel::io {
namespace {

namespace fs = std::filesystem;

struct FreeOutput {
  void operator()(AVFormatContext* context) const {
    avio_closep(&context->pb);
    avformat_free_context(context);
  }
};
using Output = std::unique_ptr<AVFormatContext, FreeOutput>;

class Encoder {
 public:
  Encoder(const fs::path& path, const fs::path& temporary, std::int64_t width_px, std::int64_t height_px, double fps,
          const VideoOptions& options)
      : path_(path) {
    AVFormatContext* output = nullptr;
    check(avformat_alloc_output_context2(&output, nullptr, options.lossless ? "matroska" : "mp4", temporary.c_str()));
    output_.reset(output);
    output_->flags |= AVFMT_FLAG_BITEXACT;  // no dates, no random identifiers, no library version
    const AVCodec* codec =
        options.lossless ? avcodec_find_encoder(AV_CODEC_ID_FFV1) : avcodec_find_encoder_by_name("libx264");
    if (codec == nullptr) {
      throw Error(Exit::usage, fmt::format("this libav cannot write {}", options.lossless ? "FFV1" : "H.264 (libx264)"),
                  path.string(), options.lossless ? "install FFmpeg with FFV1" : "use output.video = \"ffv1\"");
    }
    codec_.reset(avcodec_alloc_context3(codec));
    const Rational rate = frame_rate(fps);
    codec_->width = static_cast<int>(width_px);
    codec_->height = static_cast<int>(height_px);
    codec_->time_base = {rate.den, rate.num};
    codec_->framerate = {rate.num, rate.den};
    codec_->thread_count = 1;
    codec_->flags |= AV_CODEC_FLAG_BITEXACT;
    if (output_->oformat->flags & AVFMT_GLOBALHEADER) codec_->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    if (options.lossless) {
      codec_->pix_fmt = AV_PIX_FMT_0RGB32;  // b g r 0 in memory
      codec_->level = 3;
      codec_->gop_size = 1;
      av_opt_set_int(codec_->priv_data, "slicecrc", 1, 0);
    } else {
      codec_->pix_fmt = AV_PIX_FMT_YUV420P;
      codec_->colorspace = AVCOL_SPC_BT709;
      codec_->color_primaries = AVCOL_PRI_BT709;
      codec_->color_trc = AVCOL_TRC_BT709;
      codec_->color_range = AVCOL_RANGE_MPEG;
      av_opt_set(codec_->priv_data, "preset", "medium", 0);
      av_opt_set(codec_->priv_data, "crf", std::to_string(options.crf).c_str(), 0);
      av_opt_set(codec_->priv_data, "x264-params", "threads=1:lookahead-threads=1:sliced-threads=0:cpu-independent=1",
                 0);
      scaler_.reset(sws_getContext(codec_->width, codec_->height, AV_PIX_FMT_RGB24, codec_->width, codec_->height,
                                   AV_PIX_FMT_YUV420P, exact_scaling, nullptr, nullptr, nullptr));
      REEL_CHECK(scaler_ != nullptr);
      const int* bt709 = sws_getCoefficients(SWS_CS_ITU709);
      sws_setColorspaceDetails(scaler_.get(), bt709, 1, bt709, 0, 0, 1 << 16, 1 << 16);
    }
    check(avcodec_open2(codec_.get(), codec, nullptr));
    AVStream* stream = avformat_new_stream(output_.get(), nullptr);
    REEL_CHECK(stream != nullptr);
    check(avcodec_parameters_from_context(stream->codecpar, codec_.get()));
    stream->time_base = codec_->time_base;
    stream->avg_frame_rate = codec_->framerate;
    check(avio_open(&output_->pb, temporary.c_str(), AVIO_FLAG_WRITE));
    AVDictionary* settings = nullptr;
    if (!options.lossless) av_dict_set(&settings, "movflags", "+faststart", 0);
    const int written = avformat_write_header(output_.get(), &settings);
    av_dict_free(&settings);
    check(written);
    frame_->format = codec_->pix_fmt;
    frame_->width = codec_->width;
    frame_->height = codec_->height;
    check(av_frame_get_buffer(frame_.get(), 0));
  }

  void add(const std::uint8_t* rgb) {
    check(av_frame_make_writable(frame_.get()));
    fill(*frame_, rgb);
    frame_->pts = num_frames_++;
    check(avcodec_send_frame(codec_.get(), frame_.get()));
    drain();
  }

  void finish() {
    check(avcodec_send_frame(codec_.get(), nullptr));
    drain();
    check(av_write_trailer(output_.get()));
    avio_flush(output_->pb);
    check(output_->pb->error);
    check(avio_closep(&output_->pb));
  }

 private:
  void check(int returned) const {
    if (returned >= 0) return;
    const int error_number = AVUNERROR(returned);
    if (error_number > 0 && error_number < 4096) throw_write_error(path_, error_number);
    throw Error(Exit::write, fmt::format("cannot encode the film: {}", libav_text(returned)), path_.string(),
                "check the FFmpeg libraries of this machine");
  }

  void fill(AVFrame& frame, const std::uint8_t* rgb) const {
    const int width = codec_->width, height = codec_->height;
    if (scaler_ != nullptr) {
      const int stride = 3 * width;
      check(sws_scale(scaler_.get(), &rgb, &stride, 0, height, frame.data, frame.linesize));
      return;
    }
    for (int y = 0; y < height; ++y) {
      std::uint8_t* out = frame.data[0] + static_cast<std::ptrdiff_t>(y) * frame.linesize[0];
      for (int x = 0; x < width; ++x, rgb += 3, out += 4) {
        const std::uint32_t pixel = std::uint32_t{rgb[0]} << 16 | std::uint32_t{rgb[1]} << 8 | rgb[2];
        std::memcpy(out, &pixel, 4);
      }
    }
  }

  void drain() {
    Packet packet(av_packet_alloc());
    for (;;) {
      const int got = avcodec_receive_packet(codec_.get(), packet.get());
      if (got == AVERROR(EAGAIN) || got == AVERROR_EOF) return;
      check(got);
      packet->duration = 1;
      av_packet_rescale_ts(packet.get(), codec_->time_base, output_->streams[0]->time_base);
      packet->stream_index = 0;
      check(av_interleaved_write_frame(output_.get(), packet.get()));
    }
  }

  const fs::path path_;
  Output output_;
  CodecContext codec_;
  Scaler scaler_;
  AvFrame frame_{av_frame_alloc()};
  std::int64_t num_frames_ = 0;
};

}  // namespace

Rational frame_rate(double fps) {
  REEL_CHECK(std::isfinite(fps) && fps > 0 && fps <= 1000, "fps {}", fps);
  const double ntsc = std::round(fps * 1.001);  // 23.976 is 24000/1001
  if (std::abs(ntsc / 1.001 - fps) < 5e-5 * fps && std::abs(std::round(fps) - fps) > 1e-6) {
    return {static_cast<int>(ntsc) * 1000, 1001};
  }
  const AVRational rate = av_d2q(fps, 1'000'000);
  return {rate.num, rate.den};
}

struct VideoWriter::State {
  LibavLog log;
  AtomicFile file;
  Encoder encoder;
  State(const fs::path& path, std::int64_t width_px, std::int64_t height_px, double fps, const VideoOptions& options)
      : file(path), encoder(path, file.temporary(), width_px, height_px, fps, options) {}
};

VideoWriter::VideoWriter(const fs::path& path, std::int64_t width_px, std::int64_t height_px, double fps,
                         const VideoOptions& options) {
  REEL_CHECK(height_px > 0 && width_px > 0 && height_px <= 16384 && width_px <= 16384, "{} x {} px", width_px, height_px);
  REEL_CHECK(options.crf >= 0 && options.crf <= 51, "crf {}", options.crf);
  const char* const suffix = options.lossless ? ".mkv" : ".mp4";
  if (path.extension() != suffix) {
    throw Error(Exit::usage, fmt::format("{} video is stored in {} files", options.lossless ? "FFV1" : "H.264", suffix),
                path.string(), fmt::format("name the file *{}", suffix));
  }
  if (width_px < 8 || height_px < 8) {  // FFV1 loses bits below 3 px (its slices become empty)
    throw Error(Exit::usage, fmt::format("a film of {} x {} px is too small for video", width_px, height_px),
                path.string(), "8 px and more are written");
  }
  if (!options.lossless && (width_px % 2 != 0 || height_px % 2 != 0)) {
    throw Error(Exit::usage, fmt::format("H.264 needs even sizes, the film is {} x {} px", width_px, height_px),
                path.string(), "write it lossless (FFV1, .mkv)");
  }
  state_ = std::make_unique<State>(path, width_px, height_px, fps, options);
}
VideoWriter::~VideoWriter() = default;
void VideoWriter::add(const std::uint8_t* rgb) { state_->encoder.add(rgb); }
void VideoWriter::finish() {
  state_->encoder.finish();
  state_->file.commit();
}

void write_video(const fs::path& path, const Film& film, const VideoOptions& options) {
  REEL_CHECK(film.num_frames > 0 && film.rgb.size() == static_cast<std::size_t>(film.num_frames * film.frame_bytes()),
             "film of {} frames, {} x {} px, {} bytes", film.num_frames, film.width_px, film.height_px, film.rgb.size());
  VideoWriter writer(path, film.width_px, film.height_px, film.fps, options);
  for (std::int64_t f = 0; f < film.num_frames; ++f) writer.add(film.frame(f));
  writer.finish();
}

}  // namespace reel::io
