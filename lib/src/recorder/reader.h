#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recorder/layout.h"

namespace refork::recorder {

struct InFlight {
  std::string label;
  std::uint64_t age_ms = 0;
  std::uint32_t thread = 0;
  std::uint64_t domain = 0;
};

struct Counters {
  std::uint64_t in_flight = 0;
  std::uint64_t served = 0;
  std::uint64_t crossed = 0;
  std::uint64_t dropped = 0;
  std::int32_t pid = 0;  // 0: librefork never attached
  bool draining = false;
};

struct StoredRecord {
  std::uint32_t slot = 0;  // to be freed with release() once it is safe
  std::uint64_t sequence = 0;
  std::string json;
};

struct DroppedRecords {
  std::uint64_t fingerprint = 0;
  std::uint64_t count = 0;
};

// reforkd's side. Reads what an untrusted process writes: everything is bounded, nothing is mapped; a damaged
// file gives an error or less data, never more.
class Reader {
 public:
  // A new recorder for a worker, as a file `path` (created 0600, O_EXCL) or, with an empty path, as a sealed
  // memfd.
  static base::Result<Reader> create(const std::string& path, const Identity& identity);
  static base::Result<Reader> open(const std::string& path);  // one left by an earlier reforkd

  base::Result<void> assign(const Identity& identity) const;  // to another worker, before that starts

  int fd() const noexcept { return fd_.get(); }
  base::Result<Identity> identity() const;
  base::Result<Counters> counters() const;                // reads the whole table of requests
  bool shows_query() const;                               // false, too, if it cannot be read
  base::Result<std::vector<InFlight>> in_flight() const;  // oldest first; what is never ended by then was cut
  base::Result<std::vector<StoredRecord>> records() const;  // those ready, oldest first
  std::vector<DroppedRecords> dropped() const;
  std::uint32_t torn() const;  // slots left half-written, or never sound; meaningful once the worker is dead
  void release(std::uint32_t slot,
               std::uint64_t sequence) const;  // frees a record, unless it was replaced meanwhile

 private:
  explicit Reader(base::UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
};

}  // namespace refork::recorder
