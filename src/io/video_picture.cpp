#include <algorithm>

#include "io/atomic_file.hpp"
#include "io/video.hpp"
#include "io/video_libav.hpp"

namespace reel::io {

void write_png(const std::filesystem::path& path, const Frame& frame) {
  REEL_CHECK(frame.width_px > 0 && frame.height_px > 0 && frame.width_px <= 16384 && frame.height_px <= 16384 &&
                 frame.rgb.size() == static_cast<std::size_t>(3 * frame.width_px * frame.height_px),
             "a picture of {} x {} px, {} bytes", frame.width_px, frame.height_px, frame.rgb.size());
  if (path.extension() != ".png") throw Error(Exit::usage, "PNG pictures are stored in .png files", path.string(), "name the file *.png");
  const LibavLog log;
  const auto check = [&](int returned) {
    if (returned < 0)
      throw Error(Exit::write, fmt::format("cannot encode the picture: {}", libav_text(returned)), path.string(), "check the FFmpeg libraries of this machine");
  };
  const AVCodec* codec = avcodec_find_encoder(AV_CODEC_ID_PNG);
  if (codec == nullptr) throw Error(Exit::usage, "this libav cannot write PNG", path.string(), "install FFmpeg with PNG (zlib)");
  const CodecContext context(avcodec_alloc_context3(codec));
  context->width = static_cast<int>(frame.width_px);
  context->height = static_cast<int>(frame.height_px);
  context->pix_fmt = AV_PIX_FMT_RGB24;
  context->time_base = {1, 1};
  context->thread_count = 1;
  check(avcodec_open2(context.get(), codec, nullptr));
  const AvFrame picture(av_frame_alloc());
  picture->format = context->pix_fmt;
  picture->width = context->width;
  picture->height = context->height;
  check(av_frame_get_buffer(picture.get(), 0));
  const std::int64_t row_bytes = 3 * frame.width_px;
  for (std::int64_t y = 0; y < frame.height_px; ++y)
    std::copy_n(frame.rgb.data() + y * row_bytes, row_bytes, picture->data[0] + y * picture->linesize[0]);
  check(avcodec_send_frame(context.get(), picture.get()));
  const Packet packet(av_packet_alloc());
  check(avcodec_receive_packet(context.get(), packet.get()));
  AtomicFile file(path);
  file.write(packet->data, static_cast<std::size_t>(packet->size));
  file.commit();
}

}  // namespace reel::io
