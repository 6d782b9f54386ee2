// The fixed part of a flight recorder's header: written once, and checked before anything else is believed.

#include "recorder/file.h"

#include <cerrno>
#include <cstring>
#include <string>

namespace refork::recorder {

void initialise(Header& header) noexcept {
  std::memcpy(header.magic, magic, sizeof magic);
  header.version = layout_version;
  header.header_size = sizeof(Header);
  header.request_count = request_count;
  header.request_size = sizeof(Request);
  header.record_count = record_count;
  header.record_size = sizeof(Record);
  header.requests_offset = requests_offset;
  header.records_offset = records_offset;
  header.total_size = total_size;
}

base::Result<void> check(const Header& header) {
  if (std::memcmp(header.magic, magic, sizeof magic) != 0)
    return base::Error{EPROTO, "it is no flight recorder"};
  if (header.version != layout_version)
    return base::Error{EPROTO, "it is a flight recorder of version " + std::to_string(header.version) +
                                   ", expected version " + std::to_string(layout_version)};
  const bool same = header.header_size == sizeof(Header) && header.request_count == request_count &&
                    header.request_size == sizeof(Request) && header.record_count == record_count &&
                    header.record_size == sizeof(Record) && header.requests_offset == requests_offset &&
                    header.records_offset == records_offset && header.total_size == total_size;
  if (!same)
    return base::Error{EPROTO, "its header describes another layout than version " +
                                   std::to_string(layout_version) + " has"};
  return {};
}

}  // namespace refork::recorder
