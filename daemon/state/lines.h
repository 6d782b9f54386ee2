#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::state {

// Lines of text in a memfd, added one by one, that are whole whenever their writer dies: a torn last one is
// none. A rewrite goes into the other half, which counts once its number stands at the beginning:
//
//   0           the half in use, 0 or 1, 64-bit in native byte order
//   4096 ...    the lines of half 0; half_size after it those of half 1; NUL after the last
class Lines {
 public:
  static constexpr std::size_t half_size = std::size_t{64} << 20;  // bytes; pages not written cost nothing
  static constexpr std::size_t slack = std::size_t{256} << 10;     // bytes

  static base::Result<Lines> create();
  static base::Result<Lines> adopt(base::UniqueFd fd);

  int fd() const noexcept { return fd_.get(); }
  std::vector<std::string> read() const;
  // Without a newline of its own. False: there is no room for it.
  bool append(std::string_view line);
  // More than twice what was rewritten last, and some: it is time to rewrite what still counts.
  bool crowded() const noexcept { return used_ > 2 * rewritten_ + slack; }
  base::Result<void> rewrite(const std::vector<std::string>& lines);

 private:
  explicit Lines(base::UniqueFd fd) noexcept : fd_(std::move(fd)) {}
  std::string text_of(std::size_t half) const;
  void wipe(std::size_t half, std::size_t from) const;

  base::UniqueFd fd_;
  std::size_t half_ = 0, used_ = 0, rewritten_ = 0;
};

}  // namespace refork::state
