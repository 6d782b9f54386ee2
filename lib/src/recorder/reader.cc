// reforkd's eye on a flight recorder that an untrusted process maps. Everything comes by pread(2) at offsets
// and lengths of our own, so that neither a truncated one nor a lying one does more than give less: what
// stands in the header about the layout is checked when one is adopted, and never used.

#include "recorder/reader.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>

#include "base/utf8.h"
#include "recorder/file.h"
#include "recorder/untrusted.h"

namespace refork::recorder {
namespace {

// Calls visit(index, request) for each entry of the table that is wholly there. In small pieces: the daemon
// stays small.
template <class Visit>
void for_each_request(int fd, const Visit& visit) {
  constexpr std::uint32_t piece_size = 64;
  static_assert(request_count % piece_size == 0);
  std::array<Copy<Request>, piece_size> piece;
  for (std::uint32_t first = 0; first < request_count; first += piece_size) {
    const std::size_t got =
        read_at(fd, piece.data(), sizeof piece, requests_offset + first * sizeof(Request));
    const auto whole = static_cast<std::uint32_t>(got / sizeof(Request));
    for (std::uint32_t i = 0; i < whole; ++i) visit(first + i, piece[i]);
    if (whole < piece_size) return;
  }
}

std::uint64_t state_of(const Copy<Request>& request) {
  return request->state.load(std::memory_order_relaxed);
}

InFlight describe(const Request& request, std::uint32_t index, std::uint64_t now) {
  constexpr auto relaxed = std::memory_order_relaxed;
  const std::size_t length = std::min<std::size_t>(request.label_length.load(relaxed), label_size - 1);
  const std::string_view label(reinterpret_cast<const char*>(request.label), length);
  const std::uint64_t start = request.start_ns.load(relaxed);
  // A byte that is no UTF-8 becomes three.
  return {base::utf8_clean(label, base::Controls::drop, 3 * label_size),
          age_ms(start, now),
          request.thread.load(relaxed),
          request.domain.load(relaxed),
          request.timeout_ms.load(relaxed),
          request.state.load(relaxed) * request_count + index};
}

// The part of a Record before its text, without the atomic.
struct RecordHead {
  std::uint32_t state;
  std::uint32_t length;
  std::uint64_t sequence;
};
static_assert(sizeof(RecordHead) == offsetof(Record, json) &&
              offsetof(RecordHead, sequence) == offsetof(Record, sequence));

constexpr std::size_t offset_of(std::uint32_t slot) { return records_offset + slot * sizeof(Record); }

bool read_head(int fd, std::uint32_t slot, RecordHead& head) {
  return read_at(fd, &head, sizeof head, offset_of(slot)) == sizeof head;
}

bool is(const RecordHead& head, RecordState state) { return head.state == static_cast<std::uint32_t>(state); }
bool possible(const RecordHead& head) { return head.length <= sizeof(Record::json); }

// All of its pages now: want of memory is an error here, and not a SIGBUS in the worker.
base::Result<void> fill(int fd, const Identity& identity) {
  if (const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(total_size)); error != 0)
    return base::errno_error("get " + std::to_string(total_size) + " bytes for a flight recorder", error);
  const auto header = std::make_unique<Header>();
  initialise(*header);
  header->identity = identity;
  header->identity.service[sizeof identity.service - 1] = 0;
  if (const auto written = write_at(fd, header.get(), sizeof(Header), 0); !written) return written;
  if (::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
    return base::errno_error("seal a flight recorder");
  return {};
}

base::Result<void> check_file(int fd) {
  const auto header = read_header(fd);
  return header ? check(**header) : base::Result<void>(header.error());
}

}  // namespace

base::Result<Reader> Reader::create(const Identity& identity) {
  base::UniqueFd fd(::memfd_create("refork-recorder", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return base::errno_error("make the memory of a flight recorder");
  if (const auto filled = fill(fd.get(), identity); !filled) return filled.error();
  return Reader(std::move(fd));
}

base::Result<Reader> Reader::adopt(base::UniqueFd fd) {
  struct stat status {};
  if (::fstat(fd.get(), &status) < 0) return base::errno_error("look at a flight recorder");
  const auto good = S_ISREG(status.st_mode)
                        ? check_file(fd.get())
                        : base::Result<void>(base::Error{EPROTO, "it is not even a file"});
  if (!good) return base::Error{good.error().code, "a flight recorder cannot be used: " + good.error().what};
  return Reader(std::move(fd));
}

base::Result<void> Reader::assign(const Identity& identity) const {
  Identity terminated = identity;
  terminated.service[sizeof terminated.service - 1] = 0;
  return write_at(fd_.get(), &terminated, sizeof terminated, offsetof(Header, identity));
}

base::Result<Identity> Reader::identity() const {
  const auto header = read_header(fd_.get());
  if (!header) return header.error();
  Identity identity = (*header)->identity;
  identity.service[sizeof identity.service - 1] = 0;
  const std::string name =
      base::utf8_clean(identity.service, base::Controls::drop, sizeof identity.service - 1);
  std::memset(identity.service, 0, sizeof identity.service);
  name.copy(identity.service, sizeof identity.service - 1);
  return identity;
}

base::Result<Counters> Reader::counters() const {
  const auto header = read_header(fd_.get());
  if (!header) return header.error();
  constexpr auto relaxed = std::memory_order_relaxed;
  const Header& h = **header;
  Counters counters{h.unnamed.load(relaxed), h.unnamed_served.load(relaxed),
                    h.crossed.load(relaxed), h.dropped_total.load(relaxed),
                    h.pid.load(relaxed),     h.draining.load(relaxed) != 0};
  for_each_request(fd_.get(), [&counters](std::uint32_t, const Copy<Request>& request) {
    counters.in_flight += state_of(request) % 2;
    counters.served += state_of(request) / 2;
  });
  return counters;
}

bool Reader::has_timeouts() const {
  const auto header = read_header(fd_.get());
  return header && (*header)->has_timeouts.load(std::memory_order_relaxed) != 0;
}

bool Reader::shows_query() const {
  const auto header = read_header(fd_.get());
  return header && (*header)->shows_query.load(std::memory_order_relaxed) != 0;
}

base::Result<std::vector<InFlight>> Reader::in_flight() const {
  if (const auto header = read_header(fd_.get()); !header) return header.error();
  const std::uint64_t now = now_ns();
  std::vector<InFlight> all;
  for_each_request(fd_.get(), [&](std::uint32_t index, const Copy<Request>& request) {
    if (state_of(request) % 2 == 0) return;
    // What was ended, or even replaced, while it was being copied is gone by the second look.
    Copy<Request> again;
    const std::size_t offset = requests_offset + index * sizeof(Request);
    if (read_at(fd_.get(), &again, sizeof again, offset) == sizeof again &&
        state_of(again) == state_of(request))
      all.push_back(describe(*request, index, now));
  });
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.age_ms > b.age_ms; });
  return all;
}

base::Result<std::vector<StoredRecord>> Reader::records() const {
  if (const auto header = read_header(fd_.get()); !header) return header.error();
  std::vector<StoredRecord> all;
  for (std::uint32_t slot = 0; slot < record_count; ++slot) {
    RecordHead head;
    if (!read_head(fd_.get(), slot, head) || !is(head, RecordState::ready) || !possible(head)) continue;
    std::string json(head.length, '\0');
    if (read_at(fd_.get(), json.data(), json.size(), offset_of(slot) + sizeof head) != json.size()) continue;
    all.push_back({slot, head.sequence, std::move(json)});
  }
  std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
  return all;
}

std::vector<DroppedRecords> Reader::dropped() const {
  std::vector<DroppedRecords> all;
  const auto header = read_header(fd_.get());
  if (!header) return all;
  for (const Dropped& dropped : (*header)->dropped) {
    const std::uint64_t fingerprint = dropped.fingerprint.load(std::memory_order_relaxed);
    if (fingerprint == 0) break;
    all.push_back({fingerprint, dropped.count.load(std::memory_order_relaxed)});
  }
  return all;
}

std::uint32_t Reader::torn() const {
  std::uint32_t count = 0;
  for (std::uint32_t slot = 0; slot < record_count; ++slot) {
    RecordHead head;
    if (!read_head(fd_.get(), slot, head)) break;
    if (!is(head, RecordState::free) && (!is(head, RecordState::ready) || !possible(head))) ++count;
  }
  return count;
}

void Reader::release(std::uint32_t slot, std::uint64_t sequence) const {
  if (slot >= record_count) return;
  RecordHead head;
  if (!read_head(fd_.get(), slot, head) || !is(head, RecordState::ready) || head.sequence != sequence) return;
  constexpr auto free = static_cast<std::uint32_t>(RecordState::free);
  // A failure means a worker that truncated its own file: there is nothing left to free.
  static_cast<void>(write_at(fd_.get(), &free, sizeof free, offset_of(slot)).ok());
}

}  // namespace refork::recorder
