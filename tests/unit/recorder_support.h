#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstring>
#include <string>

#include "recorder/reader.h"
#include "recorder/writer.h"

namespace refork::recorder {

inline Identity web_worker() {
  Identity identity{};
  identity.worker = 17;
  identity.slot = 3;
  identity.generation = 2;
  identity.started_ms = 1700000000000;
  std::strcpy(identity.service, "web");
  return identity;
}

// A recorder in memory with both its sides.
struct Both {
  explicit Both(const std::string& path = "") : reader(make(path)), writer(attach(reader.fd())) {}
  static Reader make(const std::string& path) {
    auto made = Reader::create(path, web_worker());
    EXPECT_TRUE(made) << made.error().what;
    return std::move(*made);
  }
  static Writer* attach(int fd) {
    auto attached = Writer::attach(base::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)));
    EXPECT_TRUE(attached) << attached.error().what;
    return *attached;
  }
  Counters counters() const { return *reader.counters(); }
  std::vector<InFlight> in_flight() const { return *reader.in_flight(); }
  std::vector<StoredRecord> records() const { return *reader.records(); }

  Reader reader;
  Writer* writer;
};

template <class T>
void poke(int fd, std::size_t offset, T value) {
  ASSERT_EQ(::pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)),
            static_cast<ssize_t>(sizeof value));
}

// A path that is free now and removed in the end.
class TemporaryPath {
 public:
  TemporaryPath() : directory_(::testing::TempDir() + "refork-recorder-XXXXXX") {
    EXPECT_NE(::mkdtemp(directory_.data()), nullptr);
    path = directory_ + "/17.recorder";
  }
  ~TemporaryPath() {
    ::unlink(path.c_str());
    ::rmdir(directory_.c_str());
  }
  std::string path;

 private:
  std::string directory_;
};

}  // namespace refork::recorder
