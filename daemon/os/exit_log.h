#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>

#include "base/result.h"
#include "base/unique_fd.h"
#include "os/process.h"

namespace refork::os {

// How processes ended, written by whoever reaps them and read by whoever wants to know: a ring in a memfd,
// the newest `capacity` of them. One writer; readers by pread(2).
class ExitLog {
 public:
  static constexpr std::uint64_t capacity = 4096;
  static base::Result<ExitLog> create();
  static base::Result<ExitLog> adopt(base::UniqueFd memory);  // one that create() made in another process

  int fd() const noexcept { return memory_.get(); }
  // `start_time` tells processes of the same pid apart: os::start_time().
  void add(pid_t pid, std::uint64_t start_time, const ExitStatus& status);
  std::optional<ExitStatus> find(pid_t pid, std::uint64_t start_time) const;

 private:
  explicit ExitLog(base::UniqueFd memory) noexcept : memory_(std::move(memory)) {}
  base::UniqueFd memory_;
};

}  // namespace refork::os
