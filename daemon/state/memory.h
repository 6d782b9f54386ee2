#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::state {

// A text in a memfd that is whole whenever its writer dies: two halves are written in turn, each with its
// number and a checksum, and the newer whole one counts. 64-bit words in native byte order:
//
//   0, 4096     number (from 1), length, checksum (base::Fingerprint of number, length and text) of each half
//   8192 ...    the text of the first half; half_size after it the second's
class Memory {
 public:
  static constexpr std::size_t half_size = std::size_t{64}
                                           << 20;  // bytes; pages that are not written cost nothing

  static base::Result<Memory> create();
  static base::Result<Memory> adopt(base::UniqueFd fd);

  int fd() const noexcept { return fd_.get(); }
  base::Result<void> write(std::string_view text);
  base::Result<std::string> read() const;  // ENODATA where there is no whole half

 private:
  explicit Memory(base::UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  base::UniqueFd fd_;
  std::uint64_t number_ = 0;  // of the half written last
};

}  // namespace refork::state
