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
#include <cstring>
#include <memory>
#include <string_view>

#include "proto/stack.h"

namespace refork::worker {
namespace {

struct Free {
  void operator()(char* text) const noexcept { std::free(text); }
};

// The ELF header and what follows it at once are mapped at least this far.
constexpr std::size_t header_page = 4096;

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

std::string to_hex(const unsigned char* bytes, std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += "0123456789abcdef"[bytes[i] >> 4];
    text += "0123456789abcdef"[bytes[i] & 15];
  }
  return text;
}

// The build-id in one segment of notes; empty if it has none.
std::string build_id_in(const unsigned char* notes, std::size_t size, std::size_t alignment) {
  const auto padded = [alignment](std::size_t length) { return (length + alignment - 1) & ~(alignment - 1); };
  for (std::size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes + at, sizeof note);
    const std::size_t name = at + sizeof note, text = name + padded(note.n_namesz);
    if (text > size || note.n_descsz > size - text) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(notes + name, "GNU", 4) == 0)
      return note.n_descsz * 2 <= proto::max_build_id ? to_hex(notes + text, note.n_descsz) : "";
    at = text + padded(note.n_descsz);
  }
  return "";
}

// From the program headers in memory, where the first mapping of nearly every module begins with them. No
// file is touched: it may be another one by now.
std::string build_id_of(const dl_find_object& module) {
  const auto* start = static_cast<const unsigned char*>(module.dlfo_map_start);
  const auto size = static_cast<std::size_t>(static_cast<const unsigned char*>(module.dlfo_map_end) - start);
  ElfW(Ehdr) header;
  if (size < sizeof header) return "";
  std::memcpy(&header, start, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(ElfW(Phdr)) ||
      header.e_phoff > header_page || header.e_phnum > (header_page - header.e_phoff) / sizeof(ElfW(Phdr)))
    return "";
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment;
    std::memcpy(&segment, start + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type != PT_NOTE) continue;
    const auto address = module.dlfo_link_map->l_addr + segment.p_vaddr;
    const auto begin = reinterpret_cast<std::uintptr_t>(start);
    if (address < begin || address - begin > size || segment.p_filesz > size - (address - begin)) continue;
    auto id = build_id_in(reinterpret_cast<const unsigned char*>(address), segment.p_filesz,
                          segment.p_align == 8 ? 8 : 4);
    if (!id.empty()) return id;
  }
  return "";
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
