// Whatever a worker writes into its flight recorder, reforkd reads it within its bounds. The input is a list
// of patches to a sound recorder: offset (u32), length (u16), that many bytes; a length of 65535 truncates
// the file there.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "base/utf8.h"
#include "recorder/reader.h"

namespace {

using namespace refork::recorder;

constexpr std::uint16_t truncates = 65535;

void require(bool holds) {
  if (!holds) std::abort();
}

// Whole patches only.
void patch(int fd, const std::uint8_t* data, std::size_t size) {
  for (std::size_t at = 0; size - at >= 6;) {
    std::uint32_t offset = 0;
    std::uint16_t length = 0;
    std::memcpy(&offset, data + at, 4);
    std::memcpy(&length, data + at + 4, 2);
    at += 6;
    offset %= static_cast<std::uint32_t>(total_size);
    if (length == truncates) {
      require(::ftruncate(fd, offset) == 0);
      continue;
    }
    if (length > size - at) return;
    require(::pwrite(fd, data + at, length, offset) == length);
    at += length;
  }
}

// What has been cleaned stays as it is.
bool is_text(const std::string& text) {
  return refork::base::utf8_clean(text, refork::base::Controls::drop, text.size() + 3) == text;
}

void ask(const Reader& reader) {
  static_cast<void>(reader.identity().ok());
  static_cast<void>(reader.counters().ok());
  static_cast<void>(reader.shows_query());
  static_cast<void>(reader.answers_stacks());
  if (const auto all = reader.in_flight(); all) {
    require(all->size() <= request_count);
    for (const auto& request : *all) require(is_text(request.label));
  }
  if (const auto all = reader.records(); all) {
    require(all->size() <= record_count);
    for (const auto& record : *all) reader.release(record.slot, record.sequence);
  }
  require(reader.dropped().size() <= dropped_count);
  require(reader.torn() <= record_count);
  require(reader.beats().size() <= beat_count);
  const auto crashes = reader.crashes();
  require(crashes.size() <= crash_count);
  for (const auto& crash : crashes) {
    require(crash.frames.size() <= crash_frames && crash.domains.size() <= crash_domains);
    require(is_text(crash.label) && crash.signal >= 0 && crash.signal < 65 && crash.sender >= 0);
    for (const auto& domain : crash.domains) require(is_text(domain));
    for (const auto& frame : crash.frames) require(is_text(frame.module));
  }
  const auto threads = reader.thread_stacks();
  require(threads.size() <= thread_count);
  for (const auto& thread : threads)
    require(thread.frames.size() <= thread_frames && is_text(thread.name) && is_text(thread.request_label));
  static_cast<void>(reader.want_stacks().ok());
}

}  // namespace

namespace {

// Of a sound recorder; nothing without memory.
const Header* sound_header() {
  alignas(Header) static unsigned char header[sizeof(Header)];
  static const bool there = [] {
    const auto sound = Reader::create(Identity{});
    return sound && ::pread(sound->fd(), header, sizeof header, 0) == sizeof header;
  }();
  return there ? reinterpret_cast<const Header*>(header) : nullptr;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Header* const header = sound_header();
  if (header == nullptr) return 0;
  // A file that can be truncated.
  const int fd = ::memfd_create("fuzzed", MFD_CLOEXEC);
  require(::ftruncate(fd, total_size) == 0);
  require(::pwrite(fd, header, sizeof *header, 0) == sizeof *header);
  const auto reader = Reader::adopt(refork::base::UniqueFd(fd));
  require(reader.ok());
  patch(fd, data, size);
  ask(*reader);
  return 0;
}
