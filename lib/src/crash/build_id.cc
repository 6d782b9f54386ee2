// Which build of a module this process has in memory: the note that the linker left in it.

#include "crash/build_id.h"

#include <link.h>

#include <cstdint>
#include <cstring>

namespace refork::crash {
namespace {

// The ELF header and what follows it at once are mapped at least this far.
constexpr std::size_t header_page = 4096;

std::size_t in_notes(const unsigned char* notes, std::size_t size, std::size_t alignment,
                     unsigned char (&id)[max_build_id]) noexcept {
  const auto padded = [alignment](std::size_t length) { return (length + alignment - 1) & ~(alignment - 1); };
  for (std::size_t at = 0; at + sizeof(ElfW(Nhdr)) <= size;) {
    ElfW(Nhdr) note;
    std::memcpy(&note, notes + at, sizeof note);
    const std::size_t name = at + sizeof note, text = name + padded(note.n_namesz);
    if (text > size || note.n_descsz > size - text) break;
    if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && std::memcmp(notes + name, "GNU", 4) == 0) {
      if (note.n_descsz > max_build_id) return 0;
      std::memcpy(id, notes + text, note.n_descsz);
      return note.n_descsz;
    }
    at = text + padded(note.n_descsz);
  }
  return 0;
}

}  // namespace

std::size_t find_build_id(const dl_find_object& module, unsigned char (&id)[max_build_id]) noexcept {
  const auto* start = static_cast<const unsigned char*>(module.dlfo_map_start);
  const auto size = static_cast<std::size_t>(static_cast<const unsigned char*>(module.dlfo_map_end) - start);
  ElfW(Ehdr) header;
  if (size < sizeof header) return 0;
  std::memcpy(&header, start, sizeof header);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(ElfW(Phdr)) ||
      header.e_phoff > header_page || header.e_phnum > (header_page - header.e_phoff) / sizeof(ElfW(Phdr)))
    return 0;
  for (std::size_t i = 0; i < header.e_phnum; ++i) {
    ElfW(Phdr) segment;
    std::memcpy(&segment, start + header.e_phoff + i * sizeof segment, sizeof segment);
    if (segment.p_type != PT_NOTE) continue;
    const auto address = module.dlfo_link_map->l_addr + segment.p_vaddr;
    const auto begin = reinterpret_cast<std::uintptr_t>(start);
    if (address < begin || address - begin > size || segment.p_filesz > size - (address - begin)) continue;
    const std::size_t found = in_notes(reinterpret_cast<const unsigned char*>(address), segment.p_filesz,
                                       segment.p_align == 8 ? 8 : 4, id);
    if (found > 0) return found;
  }
  return 0;
}

}  // namespace refork::crash
