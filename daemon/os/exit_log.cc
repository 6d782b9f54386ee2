// A ring of exit statuses in memory that two processes share. An entry is written before the count that makes
// it known, so a reader never sees half of one that is not being overwritten.
#include "os/exit_log.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace refork::os {
namespace {

struct Entry {
  std::uint64_t start_time;
  std::int32_t pid;
  std::int32_t number;  // exit code or signal
  std::uint32_t how;    // How
  std::uint32_t unused;
};
enum class How : std::uint32_t {
  nothing,
  exited,
  killed,
  dumped
};
constexpr off_t entries_offset = 64;  // the count stands before them
constexpr off_t size_of_all = entries_offset + static_cast<off_t>(ExitLog::capacity * sizeof(Entry));

off_t offset_of(std::uint64_t index) {
  return entries_offset + static_cast<off_t>(index % ExitLog::capacity * sizeof(Entry));
}

std::uint64_t count_in(int memory) {
  std::uint64_t count = 0;
  return ::pread(memory, &count, sizeof count, 0) == sizeof count ? count : 0;
}

ExitStatus status_of(const Entry& entry) {
  ExitStatus status;
  if (entry.how == static_cast<std::uint32_t>(How::exited))
    status.code = entry.number;
  else if (entry.how != static_cast<std::uint32_t>(How::nothing))
    status.signal = entry.number;
  status.core = entry.how == static_cast<std::uint32_t>(How::dumped);
  return status;
}

}  // namespace

base::Result<ExitLog> ExitLog::create() {
  base::UniqueFd memory(::memfd_create("refork-exits", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!memory || ::ftruncate(memory.get(), size_of_all) != 0)
    return base::errno_error("make the memory of exit statuses");
  ::fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return ExitLog(std::move(memory));
}

base::Result<ExitLog> ExitLog::adopt(base::UniqueFd memory) {
  struct stat status {};
  if (::fstat(memory.get(), &status) != 0) return base::errno_error("look at the exit statuses");
  if (status.st_size != size_of_all) return base::Error{EPROTO, "the exit statuses have another form"};
  return ExitLog(std::move(memory));
}

void ExitLog::add(pid_t pid, std::uint64_t start_time, const ExitStatus& status) {
  Entry entry{start_time, pid, status.code.value_or(status.signal.value_or(0)), 0, 0};
  const How how = status.code ? How::exited : status.core ? How::dumped : How::killed;
  entry.how = static_cast<std::uint32_t>(how);
  const std::uint64_t index = count_in(memory_.get()), count = index + 1;
  if (::pwrite(memory_.get(), &entry, sizeof entry, offset_of(index)) == sizeof entry)
    static_cast<void>(::pwrite(memory_.get(), &count, sizeof count, 0) == sizeof count);
}

std::optional<ExitStatus> ExitLog::find(pid_t pid, std::uint64_t start_time) const {
  const std::uint64_t count = count_in(memory_.get());
  const std::uint64_t oldest = count - std::min(count, capacity);
  for (std::uint64_t index = count; index > oldest; --index) {
    Entry entry;
    if (::pread(memory_.get(), &entry, sizeof entry, offset_of(index - 1)) != sizeof entry) break;
    if (entry.pid == pid && entry.start_time == start_time) return status_of(entry);
  }
  return std::nullopt;
}

}  // namespace refork::os
