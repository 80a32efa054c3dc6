#include "io/atomic_file.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "core/error.hpp"
#include "core/leftovers.hpp"

namespace reel::io {
namespace {

namespace fs = std::filesystem;

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

std::string host_name() {
  std::array<char, 256> name{};
  if (gethostname(name.data(), name.size() - 1) != 0) return "host";
  return name.data();
}

}  // namespace

void throw_write_error(const fs::path& path, int error_number, std::uint64_t needed_bytes) {
  std::string what = fmt::format("cannot write '{}': {}", path.filename().string(), std::strerror(error_number));
  std::string hint;
  struct statvfs info {};
  const bool known = statvfs(folder_of(path).c_str(), &info) == 0;
  const std::uint64_t free_bytes = known ? static_cast<std::uint64_t>(info.f_bavail) * info.f_frsize : 0;
  if (error_number == ENOSPC || error_number == EDQUOT || error_number == EFBIG) {
    if (needed_bytes > 0) what += fmt::format("; needed {} bytes", needed_bytes);
    if (known) what += fmt::format("; free {} bytes", free_bytes);
    hint = error_number == EFBIG ? "raise the limit on file sizes (ulimit -f), then run the same command again"
                                 : "free some space or choose another folder, then run the same command again";
  } else if (error_number == EACCES || error_number == EPERM || error_number == EROFS) {
    hint = "choose a folder that you may write to";
  } else if (error_number == ENOENT || error_number == ENOTDIR) {
    hint = "make the folder first, or choose another one";
  } else if (error_number == EINVAL || error_number == EISDIR) {
    hint = "give the name of a file: folders and devices are not written to";
  } else {
    hint = "check the file system, then run the same command again";
  }
  throw Error(Exit::write, what, path.string(), hint);
}

void remove_leftovers_of_the_dead(const fs::path& folder) {
  std::error_code ignored;
  const std::string host = host_name();
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename().string();  // ".<file>.<host>.<pid>.<counter>.tmp"
    if (!name.starts_with('.') || !name.ends_with(".tmp")) continue;
    const std::string stem = name.substr(0, name.size() - 4);
    const auto counter = stem.rfind('.');
    if (counter == std::string::npos || counter == 0) continue;
    const auto pid = stem.rfind('.', counter - 1);
    if (pid == std::string::npos || !stem.substr(0, pid).ends_with("." + host)) continue;
    const std::string digits = stem.substr(pid + 1, counter - pid - 1);
    if (digits.empty() || digits.size() > 9 || digits.find_first_not_of("0123456789") != std::string::npos) continue;
    if (::kill(std::stoi(digits), 0) != 0 && errno == ESRCH) fs::remove(entry.path(), ignored);
  }
}

void sync_folder(const fs::path& path) {
  const int folder = ::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;  // the rename is done; some file systems do not open folders
  const int synced = ::fsync(folder);
  const int error_number = errno;
  ::close(folder);
  if (synced != 0 && error_number != EINVAL) throw_write_error(path, error_number);
}

AtomicFile::AtomicFile(fs::path path) : path_(std::move(path)) {
  static std::atomic<unsigned> counter{0};
  temporary_ = folder_of(path_) /
               fmt::format(".{}.{}.{}.{}.tmp", path_.filename().string(), host_name(), getpid(), counter.fetch_add(1));
  std::error_code ignored;
  if (fs::is_directory(path_, ignored)) throw_write_error(path_, EISDIR);
  // The rename would put a file in the place of /dev/null.
  if (fs::exists(path_, ignored) && !fs::is_regular_file(path_, ignored)) throw_write_error(path_, EINVAL);
  note_leftover(temporary_);
  fd_ = ::open(temporary_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd_ < 0) {
    const int error_number = errno;
    forget_leftover(temporary_);
    throw_write_error(path_, error_number);
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) ::close(fd_);
  if (temporary_.empty()) return;
  ::unlink(temporary_.c_str());
  forget_leftover(temporary_);
}

void AtomicFile::write(const void* data, std::size_t num_bytes, std::uint64_t needed_bytes) {
  const char* next = static_cast<const char*>(data);
  while (num_bytes > 0) {
    const ssize_t done = ::write(fd_, next, std::min<std::size_t>(num_bytes, std::size_t{1} << 30));
    if (done < 0) {
      if (errno == EINTR) continue;
      throw_write_error(path_, errno, needed_bytes);
    }
    next += done;
    num_bytes -= static_cast<std::size_t>(done);
  }
}

void AtomicFile::sync() {
  if (::fsync(fd_) != 0) throw_write_error(path_, errno);
}

void AtomicFile::commit() {
  sync();
  const int closed = ::close(fd_);
  fd_ = -1;
  if (closed != 0) throw_write_error(path_, errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) throw_write_error(path_, errno);
  forget_leftover(temporary_);
  temporary_.clear();
  sync_folder(path_);
}

void write_text(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text.data(), text.size(), text.size());
  file.commit();
}

}  // namespace reel::io
