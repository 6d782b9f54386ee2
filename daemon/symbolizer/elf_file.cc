// Files that others name: what may be opened at all, and by what it is known. No ELF library yet.
#include "symbolizer/elf_file.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <vector>

namespace refork::symbolizer {
namespace {

constexpr std::array<std::uint32_t, 256> crc_table = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < table.size(); ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ (value & 1 ? 0xedb88320u : 0u);
    table[i] = value;
  }
  return table;
}();

}  // namespace

base::UniqueFd open_regular(const std::string& path) {
  base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat status {};
  if (!fd || ::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return {};
  return fd;
}

std::optional<FileKey> key_of(int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) return std::nullopt;
  return FileKey{status.st_dev, status.st_ino, status.st_mtim.tv_sec, status.st_mtim.tv_nsec, status.st_size};
}

bool is_elf_image(int fd) {
  Elf64_Ehdr header{};
  if (::pread(fd, &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) return false;
  const int own_class = sizeof(void*) == 8 ? ELFCLASS64 : ELFCLASS32;
  const int own_data = std::endian::native == std::endian::little ? ELFDATA2LSB : ELFDATA2MSB;
  return std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_ident[EI_CLASS] == own_class &&
         header.e_ident[EI_DATA] == own_data && (header.e_type == ET_EXEC || header.e_type == ET_DYN);
}

std::uint32_t crc32_of(int fd) {
  std::uint32_t crc = ~0u;
  std::vector<unsigned char> buffer(1 << 16);
  off_t at = 0;
  for (;;) {
    const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), at);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return ~crc;
    for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i)
      crc = crc_table[(crc ^ buffer[i]) & 0xff] ^ (crc >> 8);
    at += count;
  }
}

std::string debug_path(const std::string& root, const std::string& build_id) {
  return root + "/.build-id/" + build_id.substr(0, 2) + "/" + build_id.substr(2) + ".debug";
}

}  // namespace refork::symbolizer
