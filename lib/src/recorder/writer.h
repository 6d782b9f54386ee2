#pragma once

#include <cstdint>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"
#include "recorder/layout.h"

namespace refork::recorder {

// The worker's side of a flight recorder. Thread-safe and lock-free throughout; the mapping lasts as long as
// the process, so that a token of an ended Worker stays harmless.
class Writer {
 public:
  // Maps what reforkd made; checks magic, version and size.
  static base::Result<Writer*> attach(base::UniqueFd fd);
  // Without reforkd: an anonymous one of the same layout.
  static base::Result<Writer*> make_private();

  // A request begins: a token for end() and describe(), never 0.
  std::uint64_t begin(std::string_view label, std::uint64_t domain) noexcept;
  // A second end of the same token does nothing. Beyond request_count requests at once a token only counts,
  // and is like all others of its kind; the count never falls below 0.
  void end(std::uint64_t token) noexcept;
  struct RequestInfo {
    char label[label_size];  // 0-terminated
    std::uint64_t age_ms;
  };
  bool describe(std::uint64_t token,
                RequestInfo& info) const noexcept;  // false once it has ended, or unnamed
  std::uint64_t in_flight() const noexcept;         // a scan of the table
  void crossed() noexcept;
  void set_draining() noexcept;
  void set_shows_query() noexcept;

  // Stores a record, 16,368 bytes at most, and returns true; false if it finds no place, the last `spare` of
  // which are not for it.
  bool try_record(std::string_view json, std::uint32_t spare = 0) noexcept;
  // The same; one that finds no place is lost, and counted under its fingerprint.
  bool record(std::string_view json, std::uint64_t fingerprint) noexcept;

 private:
  explicit Writer(Header* header) noexcept;
  static Writer* over(void* mapping);
  Request& request(std::uint32_t index) const noexcept;
  Record& record_slot(std::uint32_t index) const noexcept;
  void count_dropped(std::uint64_t fingerprint) noexcept;

  Header* header_;
  Writer* next_ = nullptr;  // all of a process stay reachable, as their mappings do
};

}  // namespace refork::recorder
