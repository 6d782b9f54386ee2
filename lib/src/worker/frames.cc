// Return addresses as something that still means something in another process: module and offset. Finding the
// module takes no lock (_dl_find_object); file and line are somebody else's work, from the same numbers.

#include "worker/frames.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "crash/build_id.h"
#include "proto/stack.h"

namespace refork::worker {
namespace {

static_assert(2 * crash::max_build_id == proto::max_build_id);

struct Free {
  void operator()(char* text) const noexcept { std::free(text); }
};

std::string demangle(const char* name) {
  int status = 0;
  const std::unique_ptr<char, Free> plain(abi::__cxa_demangle(name, nullptr, nullptr, &status));
  return status == 0 && plain ? plain.get() : name;
}

// The executable is the one module whose name the link map leaves empty.
const std::string& executable_path() {
  static const std::string path = [] {
    char buffer[4096];
    const auto length = readlink("/proc/self/exe", buffer, sizeof buffer);
    std::string_view text(buffer, length > 0 ? static_cast<std::size_t>(length) : 0);
    // How the kernel marks a file that was replaced; its build-id tells it from the new one.
    constexpr std::string_view deleted = " (deleted)";
    if (text.ends_with(deleted)) text.remove_suffix(deleted.size());
    return std::string(text);
  }();
  return path;
}

dl_find_object find_module(std::uintptr_t address) {
  dl_find_object found{};
  // The interface takes a non-const pointer and changes nothing behind it.
  if (_dl_find_object(reinterpret_cast<void*>(address), &found) != 0) return {};
  return found;
}

const link_map* module_of(std::uintptr_t address) { return find_module(address).dlfo_link_map; }

std::string path_of(const link_map& module) {
  const bool executable = module.l_name == nullptr || module.l_name[0] == '\0';
  return executable ? executable_path() : module.l_name;
}

// The module that this code is in: librefork, or the executable that it was linked into statically.
const link_map* own_module() {
  static const link_map* const own = module_of(reinterpret_cast<std::uintptr_t>(&describe_frame));
  return own;
}

std::string build_id_of(const dl_find_object& module) {
  unsigned char id[crash::max_build_id];
  const std::size_t size = crash::find_build_id(module, id);
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += "0123456789abcdef"[id[i] >> 4];
    text += "0123456789abcdef"[id[i] & 15];
  }
  return text;
}

}  // namespace

proto::Frame describe_frame(const void* return_address) {
  proto::Frame frame;
  const auto address = reinterpret_cast<std::uintptr_t>(return_address);
  if (address == 0) return frame;
  // A call that never returns may be the last instruction of its function: the call itself is what counts.
  const std::uintptr_t call = address - 1;
  const link_map* const module = module_of(call);
  if (module == nullptr) return frame;
  const bool executable = module->l_name == nullptr || module->l_name[0] == '\0';
  frame.module = path_of(*module);
  frame.offset = call - module->l_addr;
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(call), &info) != 0 && info.dli_sname != nullptr)
    frame.function = demangle(info.dli_sname);
  const bool refork = proto::qualified_name(frame.function).starts_with("refork::") ||
                      (module == own_module() && !executable);
  frame.in_app = !refork && (executable || !proto::is_system_path(frame.module));
  return frame;
}

std::vector<proto::Frame> describe_frames(const std::vector<void*>& return_addresses) {
  std::vector<proto::Frame> frames;
  frames.reserve(std::min(return_addresses.size(), proto::max_frames));
  for (const void* address : return_addresses) {
    if (frames.size() == proto::max_frames) break;
    if (address == nullptr) continue;  // the end of a thread's stack
    frames.push_back(describe_frame(address));
  }
  return frames;
}

std::vector<std::pair<std::string, std::string>> build_ids(const std::vector<void*>& return_addresses) {
  std::vector<std::pair<std::string, std::string>> ids;
  std::vector<const link_map*> seen;
  for (const void* address : return_addresses) {
    if (address == nullptr || seen.size() == proto::max_build_ids) continue;
    const auto module = find_module(reinterpret_cast<std::uintptr_t>(address) - 1);
    if (module.dlfo_link_map == nullptr ||
        std::find(seen.begin(), seen.end(), module.dlfo_link_map) != seen.end())
      continue;
    seen.push_back(module.dlfo_link_map);
    if (auto id = build_id_of(module); !id.empty()) ids.emplace_back(path_of(*module.dlfo_link_map), id);
  }
  return ids;
}

}  // namespace refork::worker
