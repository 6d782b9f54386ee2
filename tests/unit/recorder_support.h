#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

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
  Both() : Both(make()) {}
  explicit Both(Reader made) : reader(std::move(made)), writer(attach(reader.fd())) {}
  static Reader make() {
    auto made = Reader::create(web_worker());
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

// Everything a reader can be asked, in whatever state the file is.
inline void ask_everything(const Reader& reader) {
  static_cast<void>(reader.identity().ok());
  static_cast<void>(reader.counters().ok());
  if (const auto all = reader.in_flight(); all) {
    EXPECT_LE(all->size(), request_count);
    for (const auto& request : *all) EXPECT_LE(request.label.size(), 3 * label_size);
  }
  if (const auto all = reader.records(); all) {
    EXPECT_LE(all->size(), record_count);
    for (const auto& record : *all) EXPECT_LE(record.json.size(), sizeof(Record::json));
  }
  EXPECT_LE(reader.dropped().size(), dropped_count);
  EXPECT_LE(reader.torn(), record_count);
  EXPECT_LE(reader.beats().size(), beat_count);
  EXPECT_LE(reader.crashes().size(), crash_count);
  for (const auto& crash : reader.crashes()) {
    EXPECT_LE(crash.frames.size(), crash_frames);
    EXPECT_LE(crash.domains.size(), crash_domains);
    EXPECT_LE(crash.label.size(), 3 * label_size);
  }
  EXPECT_LE(reader.thread_stacks().size(), thread_count);
  for (const auto& thread : reader.thread_stacks()) EXPECT_LE(thread.frames.size(), thread_frames);
  static_cast<void>(reader.answers_stacks());
  reader.release(0, 1);
}

template <class T>
void poke(int fd, std::size_t offset, T value) {
  ASSERT_EQ(::pwrite(fd, &value, sizeof value, static_cast<off_t>(offset)),
            static_cast<ssize_t>(sizeof value));
}

inline base::UniqueFd same(const Reader& reader) {
  return base::UniqueFd(::fcntl(reader.fd(), F_DUPFD_CLOEXEC, 0));
}

// A recorder that can be truncated: seals are not all that reading relies on.
inline Reader unsealed() {
  const Reader sound = Both::make();
  std::string bytes(total_size, '\0');
  EXPECT_EQ(::pread(sound.fd(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(total_size));
  base::UniqueFd copy(::memfd_create("unsealed", MFD_CLOEXEC));
  EXPECT_EQ(::pwrite(copy.get(), bytes.data(), bytes.size(), 0), static_cast<ssize_t>(total_size));
  return *Reader::adopt(std::move(copy));
}

}  // namespace refork::recorder
