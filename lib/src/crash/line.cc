// A failure record without memory, locks and the C library's formatting.

#include "crash/line.h"

#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/fingerprint.h"
#include "base/signals.h"

namespace refork::crash {
namespace {

class Text {
 public:
  Text& operator<<(std::string_view text) noexcept {
    for (const char c : text) put(c);
    return *this;
  }
  Text& operator<<(std::uint64_t value) noexcept {
    char digits[20];
    std::size_t count = 0;
    do digits[count++] = static_cast<char>('0' + value % 10);
    while ((value /= 10) > 0);
    while (count > 0) put(digits[--count]);
    return *this;
  }
  Text& hex(std::uint64_t value) noexcept {
    char digits[16];
    std::size_t count = 0;
    do digits[count++] = "0123456789abcdef"[value % 16];
    while ((value /= 16) > 0);
    *this << "0x";
    while (count > 0) put(digits[--count]);
    return *this;
  }
  Text& padded_hex(std::uint64_t value) noexcept {
    for (int shift = 60; shift >= 0; shift -= 4) put("0123456789abcdef"[value >> shift & 15]);
    return *this;
  }
  // As a JSON string; what is no printable ASCII is replaced.
  Text& quoted(std::string_view text) noexcept {
    put('"');
    for (const char c : text) {
      if (c == '"' || c == '\\') put('\\');
      put(c >= 0x20 && c < 0x7f ? c : '?');
    }
    put('"');
    return *this;
  }
  void write() noexcept {
    std::size_t done = 0;
    while (done < length_) {
      const ssize_t put = ::write(STDERR_FILENO, text_ + done, length_ - done);
      if (put < 0 && errno == EINTR) continue;
      if (put <= 0) return;
      done += static_cast<std::size_t>(put);
    }
  }

 private:
  void put(char c) noexcept {
    if (length_ < sizeof text_) text_[length_++] = c;
  }
  std::size_t length_ = 0;
  char text_[24 * 1024] = {};
};

std::string_view label_of(const recorder::CrashSlot& slot, bool show_query) noexcept {
  std::string_view label(slot.label, slot.label_length.load());
  if (!show_query) label = label.substr(0, label.find('?'));
  return label;
}

// The same for the same signal at the same place.
std::uint64_t fingerprint_of(const recorder::CrashSlot& slot, const recorder::ModuleSlot* modules) noexcept {
  base::Fingerprint fingerprint;
  fingerprint.add(base::signal_name(slot.signal));
  if (slot.frame_count.load() == 0 || slot.frames[0].module >= recorder::module_count)
    return fingerprint.value();
  const auto& module = modules[slot.frames[0].module];
  fingerprint.add({module.path, module.path_length});
  fingerprint.add(&slot.frames[0].offset, sizeof slot.frames[0].offset);
  return fingerprint.value();
}

void add_domains(Text& text, const recorder::CrashSlot& slot) noexcept {
  std::string_view rest(slot.domains, slot.domains_length.load());
  for (bool first = true; !rest.empty(); first = false) {
    const std::size_t end = rest.find('\n');
    if (end == rest.npos) return;
    (first ? text : text << ",").quoted(rest.substr(0, end));
    rest.remove_prefix(end + 1);
  }
}

void add_stack(Text& text, const recorder::CrashSlot& slot, const recorder::ModuleSlot* modules) noexcept {
  for (std::uint32_t i = 0; i < slot.frame_count.load(); ++i) {
    const recorder::Place& place = slot.frames[i];
    if (i > 0) text << ",";
    text << "{\"module\":";
    if (place.module < recorder::module_count)
      text.quoted({modules[place.module].path, modules[place.module].path_length});
    else
      text << "null";
    text << ",\"offset\":" << place.offset << "}";
  }
}

}  // namespace

void write_crash_line(const recorder::CrashSlot& slot, const recorder::ModuleSlot* modules,
                      bool show_query) noexcept {
  // Not on a small stack; its first user is its only one. Constant, or making it would take a lock.
  static constinit Text text;
  text << "{\"id\":\"crash-" << slot.time_ms << "-" << static_cast<std::uint64_t>(::getpid())
       << "\",\"revision\":1,\"time_ms\":" << slot.time_ms
       << ",\"pid\":" << static_cast<std::uint64_t>(::getpid()) << ",\"kind\":\"signal\",\"message\":\""
       << base::signal_name(slot.signal);
  if (slot.sender != 0)
    text << " sent by process " << static_cast<std::uint64_t>(slot.sender);
  else
    (text << " at address ").hex(slot.address);
  text << " (" << base::signal_code_name(slot.signal, slot.code) << ")\",\"domains\":[";
  add_domains(text, slot);
  text << "],\"thrown\":false,\"request\":";
  if (slot.has_request != 0)
    (text << "{\"label\":").quoted(label_of(slot, show_query)) << ",\"age_ms\":" << slot.age_ms << "}";
  else
    text << "null";
  text << ",\"stack\":[";
  add_stack(text, slot, modules);
  text << "],\"fingerprint\":\"";
  text.padded_hex(fingerprint_of(slot, modules))
      << "\",\"fault\":{\"signal\":" << static_cast<std::uint64_t>(slot.signal)
      << ",\"si_code\":" << (slot.code < 0 ? "-" : "")
      << static_cast<std::uint64_t>(slot.code < 0 ? -slot.code : slot.code);
  (text << ",\"address\":\"").hex(slot.address) << "\",\"sender\":";
  if (slot.sender != 0)
    text << static_cast<std::uint64_t>(slot.sender);
  else
    text << "null";
  text << "},\"in_flight_at_failure\":" << slot.in_flight << ",\"count\":1,\"then\":\"drain\"}\n";
  text.write();
}

}  // namespace refork::crash
