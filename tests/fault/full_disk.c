// A disk that fails, for LD_PRELOAD: the N-th call that changes something below a folder fails, or the process dies there.
//   FAULT_FOLDER  absolute path; calls elsewhere are left alone
//   FAULT_AT      number of the call, from 1; 0: none, only count
//   FAULT_KIND    ENOSPC, EDQUOT, EIO: what the call fails with; KILL: SIGKILL, a write having written half
//   FAULT_STAYS   set: all later calls fail as well, as on a full disk
//   FAULT_LOG     file elsewhere: one line a call, "name path"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static int below(const char* path) {
  const char* folder = getenv("FAULT_FOLDER");
  const size_t size = folder ? strlen(folder) : 0;
  return size > 0 && strncmp(path, folder, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static void path_of(int fd, char path[PATH_MAX]) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t size = readlink(link, path, PATH_MAX - 1);
  path[size > 0 ? size : 0] = '\0';
}

// Notes the call. What it must fail with; 0: it may go on; -1: the process must die.
static int fate(const char* name, const char* path) {
  if (!below(path)) return 0;
  const int error_number = errno;
  const long call = atomic_fetch_add(&calls, 1) + 1;
  const char* log = getenv("FAULT_LOG");
  char line[PATH_MAX + 32];
  const int size = snprintf(line, sizeof line, "%s %s\n", name, path);
  const int fd = log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
  if (fd >= 0) {
    syscall(SYS_write, fd, line, (size_t)size);
    syscall(SYS_close, fd);
  }
  errno = error_number;
  const char* at = getenv("FAULT_AT");
  const char* kind = getenv("FAULT_KIND");
  const long hit = at ? atol(at) : 0;
  if (!kind || hit == 0 || !(call == hit || (call > hit && getenv("FAULT_STAYS")))) return 0;
  return strcmp(kind, "KILL") == 0 ? -1 : strcmp(kind, "ENOSPC") == 0 ? ENOSPC : strcmp(kind, "EDQUOT") == 0 ? EDQUOT : EIO;
}

static int fate_of(const char* name, int fd) {
  char path[PATH_MAX];
  path_of(fd, path);
  return fate(name, path);
}

static long fail(int error_number) {
  if (error_number < 0) kill(getpid(), SIGKILL);
  errno = error_number;
  return -1;
}

ssize_t write(int fd, const void* data, size_t size) {
  const int bad = fate_of("write", fd);
  if (bad < 0) syscall(SYS_write, fd, data, size / 2);
  return bad ? fail(bad) : syscall(SYS_write, fd, data, size);
}

ssize_t writev(int fd, const struct iovec* parts, int count) {
  const int bad = fate_of("writev", fd);
  return bad ? fail(bad) : syscall(SYS_writev, fd, parts, count);
}

ssize_t pwrite(int fd, const void* data, size_t size, off_t at) {
  const int bad = fate_of("pwrite", fd);
  if (bad < 0) syscall(SYS_pwrite64, fd, data, size / 2, at);
  return bad ? fail(bad) : syscall(SYS_pwrite64, fd, data, size, at);
}

ssize_t pwrite64(int fd, const void* data, size_t size, off64_t at) { return pwrite(fd, data, size, at); }

int ftruncate(int fd, off_t size) {
  const int bad = fate_of("ftruncate", fd);
  return (int)(bad ? fail(bad) : syscall(SYS_ftruncate, fd, size));
}

int ftruncate64(int fd, off64_t size) { return ftruncate(fd, size); }

int fsync(int fd) {
  const int bad = fate_of("fsync", fd);
  return (int)(bad ? fail(bad) : syscall(SYS_fsync, fd));
}

int fdatasync(int fd) {
  const int bad = fate_of("fdatasync", fd);
  return (int)(bad ? fail(bad) : syscall(SYS_fdatasync, fd));
}

// A descriptor is gone also when closing it failed. Nothing is at stake where nothing could be written.
int close(int fd) {
  const int error_number = errno;
  const long flags = syscall(SYS_fcntl, fd, F_GETFL);
  errno = error_number;
  const int bad = flags >= 0 && (flags & O_ACCMODE) != O_RDONLY ? fate_of("close", fd) : 0;
  if (bad < 0) fail(bad);
  const long closed = syscall(SYS_close, fd);
  return (int)(bad ? fail(bad) : closed);
}

int rename(const char* from, const char* to) {
  const int bad = fate("rename", to);
  return (int)(bad ? fail(bad) : syscall(SYS_rename, from, to));
}
