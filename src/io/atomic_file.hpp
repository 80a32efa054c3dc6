#pragma once
// Files appear whole or not at all: temporary file in the same folder, fsync, rename, fsync of the folder.
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace reel::io {

/// One file being written under a temporary name beside `path`. Unless `commit()` succeeds the destructor removes the
/// temporary file and `path` stays as it was. Not for sharing between threads.
class AtomicFile {
 public:
  /// Creates the temporary file (name: `.<file>.<host>.<pid>.<counter>.tmp`). Throws Exit::write when it cannot.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  const std::filesystem::path& path() const noexcept { return path_; }
  const std::filesystem::path& temporary() const noexcept { return temporary_; }

  /// Appends bytes. `needed_bytes` (0: unknown) is the size of the whole file, quoted when the disk is full.
  void write(const void* data, std::size_t num_bytes, std::uint64_t needed_bytes = 0);
  /// Flushes to the device. Throws Exit::write.
  void sync();
  /// `sync`, rename to `path`, fsync of the folder. Throws Exit::write; the temporary file is then gone.
  void commit();

 private:
  std::filesystem::path path_, temporary_;
  int fd_ = -1;
};

/// Throws Exit::write for a failed write of `path`: reason, needed and free bytes, what to do.
[[noreturn]] void throw_write_error(const std::filesystem::path& path, int error_number,
                                    std::uint64_t needed_bytes = 0);

/// fsync of the folder that holds `path`: a rename there outlives a power cut. Throws Exit::write.
void sync_folder(const std::filesystem::path& path);

/// Removes temporary files in `folder` whose process, on this host, was killed.
void remove_leftovers_of_the_dead(const std::filesystem::path& folder);

/// Writes a text file, whole or not at all.
void write_text(const std::filesystem::path& path, std::string_view text);

}  // namespace reel::io
