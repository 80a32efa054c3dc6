#include "io/results.hpp"

#include <fcntl.h>
#include <hdf5.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "core/digest.hpp"
#include "temp_dir.hpp"

namespace reel::io {
namespace {

using test::error_of;
using test::expect_contains;

/// A small record with one dataset of every type.
Record example() {
  Record record;
  record.groups["/"] = {{"title", "A throw"}, {"task_id", "0123456789abcdef"}, {"repeat", std::int64_t{2}}};
  record.groups["/measured"] = {{"idle_power", 12.5}};
  std::vector<std::uint8_t> pixels(4 * 16 * 24 * 3);
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * 7 % 251);
  record.datasets = {
      {"/result/frame", "1", "frame number", {4}, {"frame"}, std::vector<std::int32_t>{0, 1, 2, 3}, {}},
      {"/result/time", "s", "time of the frame", {4}, {"frame"}, std::vector<double>{0, 0.0625, 0.125, 0.1875}, {}},
      {"/result/pixels", "1", "film", {4, 16, 24, 3}, {"frame", "y", "x", "band"}, pixels, {{"better", "none"}}},
      {"/result/latent",
       "1",
       "last latents",
       {2, 1, 2, 3},
       {"lat_c", "lat_t", "lat_y", "lat_x"},
       std::vector<float>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -11.5f},
       {}},
      {"/measured/step_wall",
       "s",
       "wall time of a step",
       {2},
       {"step"},
       std::vector<double>{1.5, 1.25},
       {{"n", std::int64_t{1}}}},
      {"/measured/bytes_sent", "byte", "bytes sent", {}, {}, std::vector<std::int64_t>{std::int64_t{1} << 40}, {}},
      {"/provenance/config_text",
       "",
       "experiment file",
       {},
       {},
       std::vector<std::string>{"reel = 1\n# \xc3\xa9\n"},
       {}},
      {"/log/events", "", "events", {3}, {"event"}, std::vector<std::string>{"{}", "", "{\"a\":1}"}, {}},
  };
  return record;
}

Dataset& dataset(Record& record, const std::string& path) {
  for (Dataset& d : record.datasets) {
    if (d.path == path) return d;
  }
  throw std::logic_error(path);
}

struct ResultsTest : test::TempDir {};

TEST_F(ResultsTest, RoundTrip) {
  const Record written = example();
  const auto path = dir / "r.h5";
  const std::string digest = write_record(path, written);
  EXPECT_EQ(digest, result_digest(written));
  EXPECT_EQ(num_files(), 1u);
  const Record read = read_record(path);
  EXPECT_EQ(result_digest(read), digest);
  for (const Dataset& d : written.datasets) {
    const Dataset& back = read.at(d.path);
    EXPECT_EQ(back.unit, d.unit) << d.path;
    EXPECT_EQ(back.long_name, d.long_name) << d.path;
    EXPECT_EQ(back.shape, d.shape) << d.path;
    EXPECT_EQ(back.dims, d.dims) << d.path;
    EXPECT_EQ(back.data, d.data) << d.path;
    EXPECT_EQ(back.attributes, d.attributes) << d.path;
  }
  EXPECT_EQ(read.text("/", "title"), "A throw");
  EXPECT_EQ(read.text("/", "result_digest"), digest);
  EXPECT_EQ(read.text("/", "Conventions"), "CF-1.10 Reel-1.0");
  EXPECT_EQ(std::get<std::int64_t>(read.groups.at("/").at("repeat")), 2);
  EXPECT_EQ(std::get<double>(read.groups.at("/measured").at("idle_power")), 12.5);
  EXPECT_EQ(read.values<std::int32_t>("/result/x").size(), 24u);  // made by the writer
  EXPECT_EQ(error_of([&] { read.values<float>("/result/time"); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { read.at("/result/none"); }).exit(), Exit::input);
  const Record structure = read_groups(path, {});
  EXPECT_EQ(structure.at("/result/pixels").shape, (Shape{4, 16, 24, 3}));
  EXPECT_EQ(type_name(structure.at("/result/pixels").data), "u1");
  EXPECT_TRUE(verify(path).good());
}

TEST_F(ResultsTest, EqualRecordsGiveEqualFiles) {
  write_record(dir / "a.h5", example());
  write_record(dir / "b.h5", example());
  EXPECT_TRUE(get(dir / "a.h5") == get(dir / "b.h5"));
  // A record that was read is written again with the same digest.
  EXPECT_EQ(write_record(dir / "c.h5", read_record(dir / "a.h5")), result_digest(example()));
}

TEST_F(ResultsTest, DigestIsStable) {
  // Changing this value breaks every stored digest: raise the schema version with it.
  EXPECT_EQ(result_digest(example()), "df6fe335acc7c27044c98252daebac78f097aeda674c9dfad1f3055c3524054f");
}

TEST_F(ResultsTest, DigestSeesResultAndNothingElse) {
  const std::string digest = result_digest(example());
  const auto changed = [&](auto change) {
    Record record = example();
    change(record);
    return result_digest(record);
  };
  EXPECT_EQ(digest, changed([](Record& r) { dataset(r, "/measured/step_wall").data = std::vector<double>{9, 9}; }));
  EXPECT_EQ(digest, changed([](Record& r) { r.groups["/"]["date_created"] = "today"; }));
  EXPECT_EQ(digest, changed([](Record& r) { std::swap(r.datasets[0], r.datasets[2]); }));
  EXPECT_EQ(digest, changed([](Record& r) { dataset(r, "/result/time").attributes["better"] = "none"; }));
  EXPECT_NE(digest, changed([](Record& r) { std::get<0>(dataset(r, "/result/pixels").data)[77] ^= 1; }));
  EXPECT_NE(digest, changed([](Record& r) { dataset(r, "/result/time").unit = "ms"; }));
  EXPECT_NE(digest, changed([](Record& r) { dataset(r, "/result/latent").shape = {1, 2, 2, 3}; }));
  EXPECT_NE(digest, changed([](Record& r) { dataset(r, "/result/latent").path = "/result/latents"; }));
  EXPECT_NE(digest, changed([](Record& r) {
              dataset(r, "/result/frame").data = std::vector<std::int64_t>{0, 1, 2, 3};
            }));
  EXPECT_NE(digest, changed([](Record& r) { r.datasets.erase(r.datasets.begin() + 1); }));
}

/// Copies every dataset of /result to another file with other chunks, filters, order, byte order and format version.
void copy_differently(const std::filesystem::path& from, const std::filesystem::path& to) {
  const Record record = read_record(from);
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, H5F_LIBVER_LATEST, H5F_LIBVER_LATEST);
  const hid_t file = H5Fcreate(to.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access);
  H5Gclose(H5Gcreate2(file, "/result", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  const auto put_text = [&](hid_t object, const char* name, const std::string& text) {
    const hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR);
    H5Tset_size(type, text.size() + 1);
    const hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    H5Awrite(attribute, type, text.c_str());
    H5Aclose(attribute);
    H5Sclose(space);
    H5Tclose(type);
  };
  for (auto d = record.datasets.rbegin(); d != record.datasets.rend(); ++d) {
    if (!d->path.starts_with("/result/")) continue;
    const std::vector<hsize_t> extent(d->shape.begin(), d->shape.end());
    std::vector<hsize_t> chunk;
    for (const hsize_t n : extent) chunk.push_back(n / 2 + 1);
    const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_chunk(creation, static_cast<int>(chunk.size()), chunk.data());
    H5Pset_deflate(creation, 9);
    const hid_t stored[6] = {H5T_STD_U8BE, H5T_STD_I32BE, H5T_STD_I64BE, H5T_IEEE_F32BE, H5T_IEEE_F64BE};
    const hid_t native[6] = {H5T_NATIVE_UINT8, H5T_NATIVE_INT32, H5T_NATIVE_INT64, H5T_NATIVE_FLOAT, H5T_NATIVE_DOUBLE};
    const hid_t space = H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr);
    const hid_t id =
        H5Dcreate2(file, d->path.c_str(), stored[d->data.index()], space, H5P_DEFAULT, creation, H5P_DEFAULT);
    std::visit([&](const auto& v) { H5Dwrite(id, native[d->data.index()], H5S_ALL, H5S_ALL, H5P_DEFAULT, v.data()); },
               d->data);
    put_text(id, "units", d->unit);
    H5Dclose(id);
    H5Sclose(space);
    H5Pclose(creation);
  }
  put_text(file, "result_digest", record.text("/", "result_digest"));
  H5Fclose(file);
  H5Pclose(access);
}

TEST_F(ResultsTest, DigestDoesNotDependOnTheFileLayout) {
  write_record(dir / "a.h5", example());
  copy_differently(dir / "a.h5", dir / "b.h5");
  EXPECT_FALSE(get(dir / "a.h5") == get(dir / "b.h5"));
  const Verification found = verify(dir / "b.h5");
  EXPECT_EQ(found.computed, result_digest(example()));
  EXPECT_TRUE(found.good());
}

/// Overwrites one value through HDF5 itself, so that every checksum is right again.
TEST_F(ResultsTest, VerifyFindsAnEditedPixel) {
  const auto path = dir / "r.h5";
  write_record(path, example());
  const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  const hid_t id = H5Dopen2(file, "/result/pixels", H5P_DEFAULT);
  std::vector<std::uint8_t> pixels(4 * 16 * 24 * 3);
  H5Dread(id, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, pixels.data());
  pixels[1000] ^= 1;
  H5Dwrite(id, H5T_NATIVE_UINT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, pixels.data());
  H5Dclose(id);
  H5Fclose(file);
  const Verification found = verify(path);
  EXPECT_FALSE(found.good());
  EXPECT_TRUE(found.damaged.empty());
  EXPECT_NE(found.computed, found.recorded);
}

TEST_F(ResultsTest, VerifyFindsAFlippedByteInStoredPixels) {
  const auto path = dir / "r.h5";
  write_record(path, example());
  hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  hid_t id = H5Dopen2(file, "/result/pixels", H5P_DEFAULT);
  const hsize_t origin[4] = {2, 0, 0, 0};
  hsize_t coordinates[4], size = 0;
  haddr_t address = 0;
  unsigned filters = 0;
  const hid_t space = H5Dget_space(id);
  ASSERT_GE(H5Dget_chunk_info(id, space, 2, coordinates, &filters, &address, &size), 0);
  EXPECT_EQ(std::memcmp(coordinates, origin, sizeof origin), 0);
  H5Sclose(space);
  H5Dclose(id);
  H5Fclose(file);
  std::string bytes = get(path);
  bytes[address + size / 2] = static_cast<char>(bytes[address + size / 2] ^ 0x10);
  put("r.h5", bytes);
  EXPECT_FALSE(verify(path).good());
  EXPECT_EQ(verify(path).damaged, std::vector<std::string>{"the file as a whole"});
  expect_contains(error_of([&] { read_record(path); }).what(), "have changed");
  // Without the seal the checksum of the chunk finds it.
  put("r.h5", bytes.substr(0, bytes.size() - 78));
  EXPECT_FALSE(verify(path).good());
  EXPECT_EQ(verify(path).damaged, std::vector<std::string>{"/result/pixels"});
  expect_contains(error_of([&] { read_record(path); }).what(), "/result/pixels");
}

TEST_F(ResultsTest, EveryFlippedByteIsFoundOrHarmless) {
  // Whatever byte is hit: never a crash, never a wrong value that verify calls good.
  const auto path = dir / "r.h5";
  write_record(path, example());
  const std::string whole = get(path);
  const std::string digest = result_digest(example());
  for (std::size_t at = 0; at < whole.size(); at += 61) {
    std::string bytes = whole;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (at / 61 % 8)));
    put("r.h5", bytes);
    try {
      if (verify(path).good()) {
        EXPECT_EQ(result_digest(read_record(path)), digest) << at;
      }
    } catch (const Error& error) {
      EXPECT_EQ(error.exit(), Exit::input) << at;
    }
  }
}

TEST_F(ResultsTest, TruncatedFilesAreUnreadableNotWrong) {
  const auto path = dir / "r.h5";
  write_record(path, example());
  const std::string whole = get(path);
  for (std::size_t n = 0; n < whole.size(); n += 97) {
    if (n >= whole.size() - 78) break;  // only the seal is cut: nothing is lost
    put("r.h5", whole.substr(0, n));
    EXPECT_EQ(error_of([&] { verify(path); }).exit(), Exit::input) << n;
  }
}

TEST_F(ResultsTest, OtherFilesAreRefused) {
  EXPECT_EQ(error_of([&] { verify(dir / "none.h5"); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { verify(dir); }).exit(), Exit::input);
  EXPECT_EQ(error_of([&] { verify(put("x.h5", "hello")); }).exit(), Exit::input);
  const hid_t file = H5Fcreate((dir / "y.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(file);
  expect_contains(error_of([&] { verify(dir / "y.h5"); }).what(), "no result_digest");
}

TEST_F(ResultsTest, RefusesDatasetsThatClaimMoreThanTheyStore) {
  const hid_t file = H5Fcreate((dir / "big.h5").c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  const hsize_t extent[1] = {hsize_t{1} << 45}, chunk[1] = {1024};
  const hid_t creation = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(1, extent, nullptr);
  H5Pset_chunk(creation, 1, chunk);
  H5Dclose(H5Dcreate2(file, "/huge", H5T_STD_U8LE, space, H5P_DEFAULT, creation, H5P_DEFAULT));
  H5Sclose(space);
  H5Pclose(creation);
  H5Fclose(file);
  expect_contains(error_of([&] { read_record(dir / "big.h5"); }).what(), "/huge");
}

TEST_F(ResultsTest, BadRecordsAreBugs) {
  const auto bug = [&](auto change) {
    Record record = example();
    change(record);
    EXPECT_EQ(error_of([&] { write_record(dir / "bad.h5", record); }).exit(), Exit::bug);
    EXPECT_EQ(num_files(), 0u);
  };
  bug([](Record& r) { r.datasets.push_back(r.datasets[0]); });
  bug([](Record& r) { r.datasets[0].path = "result/frame"; });
  bug([](Record& r) { r.datasets[0].path = "/result/fr ame"; });
  bug([](Record& r) { r.datasets[0].path = "/frame/"; });
  bug([](Record& r) { r.datasets[1].unit = ""; });
  bug([](Record& r) { r.datasets[1].long_name = ""; });
  bug([](Record& r) { r.datasets[1].dims = {"step", "frame"}; });
  bug([](Record& r) { r.datasets[1].shape = {5}; });
  bug([](Record& r) { r.datasets[1] = {"/result/time", "s", "t", {1}, {"frame"}, std::vector<double>{0}, {}}; });
  bug([](Record& r) { r.datasets[1].attributes["units"] = "s"; });
  bug([](Record& r) { r.groups["/"]["title"] = std::string("a\0b", 3); });
  bug([](Record& r) { r.datasets.push_back({"/result/x", "1", "x", {}, {}, std::vector<float>{0}, {}}); });
}

TEST_F(ResultsTest, UnwritablePlaces) {
  put("file", "x");
  EXPECT_EQ(error_of([&] { write_record(dir / "file" / "r.h5", example()); }).exit(), Exit::write);
  const Error error = error_of([&] { write_record(dir / "none" / "r.h5", example()); });
  EXPECT_EQ(error.exit(), Exit::write);
  EXPECT_FALSE(error.hint().empty());
  EXPECT_EQ(error_of([&] { write_record(dir, example()); }).exit(), Exit::write);
}

TEST_F(ResultsTest, FileSizeLimitLeavesOldFileAndNoTrace) {
  const auto path = dir / "r.h5";
  const std::string digest = write_record(path, example());
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old_limit{};
  getrlimit(RLIMIT_FSIZE, &old_limit);
  const rlimit limit{4096, old_limit.rlim_max};
  setrlimit(RLIMIT_FSIZE, &limit);
  Record other = example();
  std::get<0>(other.datasets[2].data)[0] ^= 1;
  const Error error = error_of([&] { write_record(path, other); });
  setrlimit(RLIMIT_FSIZE, &old_limit);
  std::signal(SIGXFSZ, old_handler);
  EXPECT_EQ(error.exit(), Exit::write);
  EXPECT_EQ(num_files(), 1u);
  EXPECT_EQ(verify(path).computed, digest);
}

TEST_F(ResultsTest, FullDiskIsToldWithNeededAndFreeBytes) {
  if (mount("tmpfs", dir.c_str(), "tmpfs", 0, "size=16k") != 0) GTEST_SKIP() << "needs the right to mount";
  const Error error = error_of([&] { write_record(dir / "r.h5", example()); });
  const std::size_t left = num_files();
  umount(dir.c_str());
  EXPECT_EQ(error.exit(), Exit::write);
  expect_contains(error.what(), "No space left");
  expect_contains(error.what(), "needed");
  expect_contains(error.what(), "free");
  EXPECT_EQ(left, 0u);
}

TEST_F(ResultsTest, LocksOfOthersDoNotMatter) {
  const auto path = dir / "r.h5";
  write_record(path, example());
  const int fd = open(path.c_str(), O_RDONLY);
  ASSERT_EQ(flock(fd, LOCK_EX), 0);
  EXPECT_EQ(read_groups(path, {}).text("/", "title"), "A throw");
  EXPECT_TRUE(verify(path).good());
  close(fd);
}

/// Runs a program of the machine on the example record; skipped where it is not installed (exit 127).
void run_on_example(const std::string& command, const std::filesystem::path& dir) {
  write_record(dir / "r.h5", example());
  const std::string line = fmt::format("{} '{}' > '{}' 2>&1", command, (dir / "r.h5").string(), (dir / "out").string());
  const int status = std::system(line.c_str());
  if (WEXITSTATUS(status) == 127) GTEST_SKIP() << command << " is not here";
  std::ifstream stream(dir / "out");
  EXPECT_EQ(status, 0) << std::string(std::istreambuf_iterator<char>(stream), {});
}

TEST_F(ResultsTest, H5dumpReadsIt) {
  run_on_example("h5dump -H", dir);
  if (IsSkipped()) return;
  expect_contains(get(dir / "out"), "DATASET \"pixels\"");
}

TEST_F(ResultsTest, H5pyReadsIt) {
  if (std::system("/usr/bin/python3 -c 'import h5py' > /dev/null 2>&1") != 0) GTEST_SKIP() << "h5py is not here";
  run_on_example("/usr/bin/python3 " REEL_SOURCE_DIR "/tests/io/read_with_h5py.py", dir);
}

TEST_F(ResultsTest, LargeRecordKeepsOneFramePerChunk) {
  Record record;
  record.datasets.push_back({"/result/pixels",
                             "1",
                             "film",
                             {3, 64, 64, 3},
                             {"frame", "y", "x", "band"},
                             std::vector<std::uint8_t>(3 * 64 * 64 * 3, 9),
                             {}});
  record.datasets.push_back({"/result/empty", "1", "nothing", {0, 4}, {"none", "four"}, std::vector<float>{}, {}});
  write_record(dir / "r.h5", record);
  const hid_t file = H5Fopen((dir / "r.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  const hid_t id = H5Dopen2(file, "/result/pixels", H5P_DEFAULT), creation = H5Dget_create_plist(id);
  hsize_t chunk[4];
  EXPECT_EQ(H5Pget_chunk(creation, 4, chunk), 4);
  EXPECT_EQ(chunk[0], 1u);
  EXPECT_EQ(chunk[1], 64u);
  EXPECT_EQ(H5Pget_nfilters(creation), 3);
  H5Pclose(creation);
  H5Dclose(id);
  H5Fclose(file);
  EXPECT_TRUE(verify(dir / "r.h5").good());
}

}  // namespace
}  // namespace reel::io
