// Return addresses as something that still means something in another process: module and offset. Finding the
// module takes no lock (_dl_find_object); file and line are somebody else's work, from the same numbers.

#include "worker/frames.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <memory>

namespace refork::worker {
namespace {

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
    return std::string(buffer, length > 0 ? static_cast<std::size_t>(length) : 0);
  }();
  return path;
}

const link_map* module_of(std::uintptr_t address) {
  dl_find_object found{};
  // The interface takes a non-const pointer and changes nothing behind it.
  if (_dl_find_object(reinterpret_cast<void*>(address), &found) != 0) return nullptr;
  return found.dlfo_link_map;
}

// The module that this code is in: librefork, or the executable that it was linked into statically.
const link_map* own_module() {
  static const link_map* const own = module_of(reinterpret_cast<std::uintptr_t>(&describe_frame));
  return own;
}

}  // namespace

bool is_system_path(std::string_view path) noexcept {
  for (const std::string_view root :
       {"/lib/", "/lib64/", "/lib32/", "/usr/lib/", "/usr/lib64/", "/usr/lib32/"})
    if (path.substr(0, root.size()) == root) return true;
  return path.substr(0, 10) == "linux-vdso";
}

proto::Frame describe_frame(const void* return_address) {
  proto::Frame frame;
  const auto address = reinterpret_cast<std::uintptr_t>(return_address);
  if (address == 0) return frame;
  // A call that never returns may be the last instruction of its function: the call itself is what counts.
  const std::uintptr_t call = address - 1;
  const link_map* const module = module_of(call);
  if (module == nullptr) return frame;
  const bool executable = module->l_name == nullptr || module->l_name[0] == '\0';
  frame.module = executable ? executable_path() : module->l_name;
  frame.offset = address - module->l_addr;
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(call), &info) != 0 && info.dli_sname != nullptr)
    frame.function = demangle(info.dli_sname);
  const bool refork = frame.function.rfind("refork::", 0) == 0 || (module == own_module() && !executable);
  frame.in_app = !refork && (executable || !is_system_path(frame.module));
  return frame;
}

std::vector<proto::Frame> describe_frames(const std::vector<void*>& return_addresses) {
  std::vector<proto::Frame> frames;
  frames.reserve(std::min(return_addresses.size(), proto::max_frames));
  for (const void* address : return_addresses) {
    if (frames.size() == proto::max_frames) break;
    frames.push_back(describe_frame(address));
  }
  return frames;
}

}  // namespace refork::worker
