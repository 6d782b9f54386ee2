// How reforkd calls its own records. A worker that could use such an id first would suppress the record: the
// store keeps the first of an id, whoever wrote it.
#include "supervisor/record_ids.h"

#include <cinttypes>
#include <cstdio>

#include "supervisor/failures.h"

namespace refork::supervisor {

namespace {

constexpr std::string_view crash_word = "-crash-";
// Stands in a report's id where librefork has a second dash.
constexpr char report_mark = 'd';
constexpr std::size_t worker_digits = 8;

}  // namespace

std::string report_id(const Subject& subject, Kind kind, std::uint32_t number) {
  char id[64];
  std::snprintf(id, sizeof id, "%011" PRIx64 "-%08" PRIx64 "%c%02zx%02" PRIx32, subject.started_ms,
                subject.worker & 0xffffffff, report_mark, base::index(kind), number);
  return id;
}

std::string crash_id(const Subject& subject, std::uint32_t slot) {
  char id[64];
  std::snprintf(id, sizeof id, "%08" PRIx64 "%s%" PRIu32, subject.worker, crash_word.data(), slot);
  return id;
}

bool is_own_id(std::string_view id) {
  if (id.find(crash_word) != id.npos) return true;
  const auto dash = id.find('-');
  return dash != id.npos && id.size() > dash + 1 + worker_digits &&
         id[dash + 1 + worker_digits] == report_mark && id.find('-', dash + 1) == id.npos;
}

}  // namespace refork::supervisor
