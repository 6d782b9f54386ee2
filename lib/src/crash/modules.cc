// What addresses belong to. The modules are entered when the Worker is made, so that a crash need not read
// the loader's lists, which may be what was damaged; only one that was loaded later is looked up there.

#include "crash/modules.h"

#include <dlfcn.h>
#include <link.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <string_view>

#include "crash/build_id.h"

namespace refork::crash {
namespace {

struct Known {
  std::atomic<std::uintptr_t> start{0};  // written last; 0: not there yet
  std::uintptr_t end = 0, bias = 0;
  std::uint32_t index = recorder::no_module;
  const recorder::Writer* writer = nullptr;
};
Known known[recorder::module_count];
std::atomic<std::uint32_t> known_count{0};

char executable[recorder::module_path_size];
std::size_t executable_length = 0;

void find_executable() noexcept {
  if (executable_length > 0) return;
  const ssize_t length = ::readlink("/proc/self/exe", executable, sizeof executable);
  std::string_view path(executable, length > 0 ? static_cast<std::size_t>(length) : 0);
  constexpr std::string_view deleted = " (deleted)";  // how the kernel marks a file that was replaced
  if (path.size() > deleted.size() && path.substr(path.size() - deleted.size()) == deleted)
    path.remove_suffix(deleted.size());
  executable_length = path.size();
}

std::string_view path_of(const link_map& module) noexcept {
  if (module.l_name == nullptr || module.l_name[0] == '\0') return {executable, executable_length};
  return {module.l_name, ::strnlen(module.l_name, recorder::module_path_size)};
}

const Known* find_known(const recorder::Writer& writer, std::uintptr_t address) noexcept {
  const auto count = std::min(known_count.load(std::memory_order_acquire), recorder::module_count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uintptr_t start = known[i].start.load(std::memory_order_acquire);
    if (start != 0 && address >= start && address < known[i].end && known[i].writer == &writer)
      return &known[i];
  }
  return nullptr;
}

bool find_loaded(std::uintptr_t address, dl_find_object& found) noexcept {
  // The interface takes a non-const pointer and changes nothing behind it. It takes no lock.
  return _dl_find_object(reinterpret_cast<void*>(address), &found) == 0 && found.dlfo_link_map != nullptr;
}

const Known* enter(recorder::Writer& writer, const dl_find_object& module) noexcept {
  unsigned char id[max_build_id];
  const std::size_t id_length = find_build_id(module, id);
  const std::uint32_t index =
      writer.add_module(path_of(*module.dlfo_link_map), id, id_length, module.dlfo_link_map->l_addr);
  const std::uint32_t place = known_count.fetch_add(1, std::memory_order_relaxed);
  if (index == recorder::no_module || place >= recorder::module_count) return nullptr;
  known[place].end = reinterpret_cast<std::uintptr_t>(module.dlfo_map_end);
  known[place].bias = module.dlfo_link_map->l_addr;
  known[place].index = index;
  known[place].writer = &writer;
  known[place].start.store(reinterpret_cast<std::uintptr_t>(module.dlfo_map_start),
                           std::memory_order_release);
  return &known[place];
}

}  // namespace

void enter_modules(recorder::Writer& writer) {
  find_executable();
  known_count.store(0);
  for (Known& old : known) old.start.store(0);
  ::dl_iterate_phdr(
      [](dl_phdr_info* info, std::size_t, void* argument) {
        for (int i = 0; i < info->dlpi_phnum; ++i) {
          const auto& segment = info->dlpi_phdr[i];
          if (segment.p_type != PT_LOAD || (segment.p_flags & PF_X) == 0) continue;
          auto& to = *static_cast<recorder::Writer*>(argument);
          const std::uintptr_t code = info->dlpi_addr + segment.p_vaddr;
          dl_find_object found{};
          if (!find_known(to, code) && find_loaded(code, found)) enter(to, found);
          break;
        }
        return 0;
      },
      &writer);
}

bool in_module(std::uintptr_t address) noexcept {
  dl_find_object found{};
  return find_loaded(address, found);
}

recorder::Place place_of(recorder::Writer& writer, std::uintptr_t address) noexcept {
  const Known* module = find_known(writer, address);
  dl_find_object found{};
  if (module == nullptr && find_loaded(address, found)) module = enter(writer, found);
  if (module == nullptr) return {address, recorder::no_module, 0};
  return {address - module->bias, module->index, 0};
}

}  // namespace refork::crash
