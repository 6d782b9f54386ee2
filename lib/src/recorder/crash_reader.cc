// What a flight recorder tells of threads: who beats, where they stand, and which of them took a fatal
// signal. As untrusted as the rest: each count is bounded, each index checked, each text cleaned.

#include <signal.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <string_view>

#include "base/utf8.h"
#include "recorder/reader.h"
#include "recorder/untrusted.h"

namespace refork::recorder {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;

// 0 for what is none.
int signal_of(std::int32_t number) { return number > 0 && number < NSIG ? number : 0; }

// A byte that is no UTF-8 becomes three.
std::string text_of(const char* text, std::size_t length, std::size_t size) {
  const std::size_t bounded = std::min(length, size);
  return base::utf8_clean({text, bounded}, base::Controls::drop, std::max<std::size_t>(3, 3 * bounded));
}

std::string hex_of(const unsigned char* bytes, std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

// The modules that places refer to, each looked at once.
class Modules {
 public:
  explicit Modules(int fd) : fd_(fd) {}

  Address describe(const Place& place) {
    Address address{{}, {}, place.offset};
    if (const Module* module = find(place.module)) {
      address.module = module->path;
      address.build_id = module->build_id;
    }
    return address;
  }

 private:
  struct Module {
    std::string path, build_id;
  };

  const Module* find(std::uint32_t index) {
    if (index >= module_count) return nullptr;
    const auto known = modules_.find(index);
    if (known != modules_.end()) return &known->second;
    Copy<ModuleSlot> slot;
    if (!read_copy(fd_, slot, modules_offset + index * sizeof(ModuleSlot)) || slot->state.load(acquire) != 1)
      return nullptr;
    const std::size_t length = std::min<std::size_t>(slot->build_id_length, module_build_id_size);
    return &modules_
                .emplace(index, Module{text_of(slot->path, slot->path_length, module_path_size),
                                       hex_of(slot->build_id, length)})
                .first->second;
  }

  int fd_;
  std::map<std::uint32_t, Module> modules_;
};

std::vector<Address> describe(Modules& modules, const Place* places, std::uint32_t count, std::size_t most) {
  std::vector<Address> frames;
  for (std::size_t i = 0; i < std::min<std::size_t>(count, most); ++i)
    frames.push_back(modules.describe(places[i]));
  return frames;
}

std::vector<std::string> lines_of(const CrashSlot& slot) {
  std::vector<std::string> lines;
  std::string_view rest(slot.domains,
                        std::min<std::size_t>(slot.domains_length.load(acquire), crash_domains));
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    lines.push_back(text_of(rest.data(), end, rest.size()));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return lines;
}

Crash describe(Modules& modules, const CrashSlot& found) {
  Crash crash;
  crash.signal = signal_of(found.signal);
  crash.code = found.code;
  crash.address = found.address;
  crash.sender = std::max(found.sender, 0);
  crash.thread = found.thread;
  crash.time_ms = found.time_ms;
  crash.contained = found.contained != 0;
  crash.complete = found.state.load(relaxed) == static_cast<std::uint32_t>(CrashState::complete);
  crash.has_request = found.has_request != 0;
  crash.label = text_of(found.label, found.label_length.load(acquire), label_size);
  crash.age_ms = found.age_ms;
  crash.in_flight = found.in_flight;
  crash.domains = lines_of(found);
  crash.frames = describe(modules, found.frames, found.frame_count.load(acquire), crash_frames);
  return crash;
}

// Empty if that request is over: its entry bears another one by now, or none.
std::string label_of_request(int fd, std::uint32_t index, std::uint64_t state) {
  Copy<Request> request, again;
  const std::size_t offset = requests_offset + index * sizeof(Request);
  const auto same = [state](const Copy<Request>& seen) { return seen->state.load(relaxed) == state; };
  // It may end, and another one begin there, while it is being copied.
  if (index >= request_count || state % 2 == 0 || !read_copy(fd, request, offset) || !same(request) ||
      !read_copy(fd, again, offset) || !same(again))
    return "";
  return text_of(reinterpret_cast<const char*>(request->label), request->label_length.load(relaxed),
                 label_size - 1);
}

}  // namespace

std::vector<Beat> Reader::beats() const {
  std::vector<Beat> all;
  const auto header = read_header(fd_.get());
  if (!header) return all;
  const std::uint64_t now = now_ns();
  for (const BeatSlot& slot : (*header)->beats)
    if (const auto thread = slot.thread.load(relaxed); thread != 0)
      if (const auto at = slot.at_ns.load(relaxed); at != 0) all.push_back({thread, age_ms(at, now)});
  return all;
}

std::vector<Crash> Reader::crashes() const {
  std::vector<Crash> all;
  const auto slot = std::make_unique<Copy<CrashSlot>>();
  Modules modules(fd_.get());
  for (std::uint32_t i = 0; i < crash_count; ++i) {
    if (!read_copy(fd_.get(), *slot, crash_offset + i * sizeof(CrashSlot))) break;
    const auto state = static_cast<CrashState>((*slot)->state.load(acquire));
    if (state != CrashState::known && state != CrashState::complete) continue;
    all.push_back(describe(modules, **slot));
    all.back().slot = i;
  }
  return all;
}

std::optional<Crash> Reader::crash() const {
  auto all = crashes();
  return all.empty() ? std::nullopt : std::optional(std::move(all.front()));
}

bool Reader::answers_stacks() const {
  const auto header = read_header(fd_.get());
  return header && (*header)->answers_stacks.load(relaxed) == 1;
}

base::Result<std::uint32_t> Reader::want_stacks() const {
  const auto header = read_header(fd_.get());
  if (!header) return header.error();
  const std::uint32_t number = (*header)->stacks_wanted.load(relaxed) + 1;
  const auto written = write_at(fd_.get(), &number, sizeof number, offsetof(Header, stacks_wanted));
  if (!written) return written.error();
  return number;
}

std::vector<ThreadStack> Reader::thread_stacks() const {
  std::vector<ThreadStack> all;
  const auto header = read_header(fd_.get());
  if (!header) return all;
  const std::uint64_t complete = 2 * std::uint64_t{(*header)->stacks_wanted.load(relaxed)} + 1;
  if (complete == 1) return all;  // nobody ever asked
  Modules modules(fd_.get());
  const auto slot = std::make_unique<Copy<ThreadSlot>>();
  for (std::uint32_t i = 0; i < thread_count; ++i) {
    if (!read_copy(fd_.get(), *slot, threads_offset + i * sizeof(ThreadSlot))) break;
    const ThreadSlot& found = **slot;
    if (found.state.load(acquire) != complete) continue;
    auto label = label_of_request(fd_.get(), found.request, found.request_state);
    const std::uint64_t id = label.empty() ? 0 : found.request_state * request_count + found.request;
    all.push_back({found.thread,
                   text_of(found.name, ::strnlen(found.name, thread_name_size), thread_name_size),
                   std::move(label),
                   describe(modules, found.frames, found.frame_count.load(relaxed), thread_frames), id});
  }
  return all;
}

}  // namespace refork::recorder
