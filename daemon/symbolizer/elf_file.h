#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <optional>
#include <string>
#include <tuple>

#include "base/unique_fd.h"

namespace refork::symbolizer {

// A regular file, opened without waiting: whoever names it may name a pipe or a device.
base::UniqueFd open_regular(const std::string& path);

// By what a file is known again: replaced or changed, it is another one.
using FileKey = std::tuple<dev_t, ino_t, std::int64_t, std::int64_t, off_t>;
std::optional<FileKey> key_of(int fd);

bool is_elf_image(int fd);       // an executable or shared object of this machine's word size and byte order
std::uint32_t crc32_of(int fd);  // as .gnu_debuglink has it

// "bbccdd" of build-id "aabbccdd" is ROOT/.build-id/aa/bbccdd.debug.
std::string debug_path(const std::string& root, const std::string& build_id);

}  // namespace refork::symbolizer
