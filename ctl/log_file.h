#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace refork::ctl {

// A file that programs append lines to, and that may be put aside and begun anew.
class LogFile {
 public:
  using Show = std::function<void(std::string_view line)>;  // without its end
  static base::Result<LogFile> open(const std::string& path);

  base::Result<void> show_last(std::uint64_t count, const Show& show);  // the last lines, oldest first
  // Lines that have come since; of a file that was put aside all of it, then those of the new one. A line
  // counts once it has its end.
  base::Result<void> show_new(const Show& show);
  // Until show_new() may find something.
  void wait();

 private:
  LogFile(std::string path, base::UniqueFd fd);
  base::Result<void> read_on(const Show& show);
  bool was_replaced() const;

  std::string path_, rest_;  // of a line without an end
  base::UniqueFd fd_, changes_;
  int poll_ms_ = -1;  // how long the kernel's word for it that nothing has changed is taken
  std::uint64_t at_ = 0;
};

}  // namespace refork::ctl
