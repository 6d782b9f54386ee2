// Streams into the journal, and the end of what came by one. A stream is opened as sd_journal_stream_fd(3)
// does it, but for that this waits when journald does not accept it, and then reforkd would hang with it.
#include "os/journal.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <string_view>

namespace refork::os {

namespace {

using base::UniqueFd;

// A process has ended, journald has its last lines still before it: waited for is one pause without news, and
// so many at most.
constexpr std::uint64_t pause_us = 100'000;
constexpr int most_pauses = 3;

// Identifier, unit (journald finds it itself), priority, whether "<N>" counts, and three places where nothing
// is forwarded to.
std::string stream_header(const std::string& identifier) {
  return identifier + "\n\n" + std::to_string(LOG_INFO) + "\n1\n0\n0\n0\n";
}

struct CloseJournal {
  void operator()(sd_journal* journal) const noexcept { sd_journal_close(journal); }
};
using Journal = std::unique_ptr<sd_journal, CloseJournal>;

Journal open_output_of(const std::string& identifier, pid_t pid) {
  sd_journal* opened = nullptr;
  if (sd_journal_open(&opened, SD_JOURNAL_LOCAL_ONLY) < 0) return nullptr;
  Journal journal(opened);
  for (const std::string& match :
       {std::string("_TRANSPORT=stdout"), "SYSLOG_IDENTIFIER=" + identifier, "_PID=" + std::to_string(pid)})
    if (sd_journal_add_match(opened, match.data(), match.size()) < 0) return nullptr;
  return journal;
}

std::string message_of(sd_journal* journal) {
  constexpr std::string_view name = "MESSAGE=";
  const void* data = nullptr;
  std::size_t size = 0;
  if (sd_journal_get_data(journal, "MESSAGE", &data, &size) < 0 || size < name.size()) return "";
  return std::string(static_cast<const char*>(data), size).substr(name.size());
}

std::string read_last(sd_journal* journal, std::uint64_t since_us, std::size_t most) {
  std::deque<std::string> lines;
  std::size_t size = 0;
  sd_journal_seek_tail(journal);
  while (size < most && sd_journal_previous(journal) > 0) {
    std::uint64_t time = 0;
    if (sd_journal_get_realtime_usec(journal, &time) < 0 || time < since_us) break;
    lines.push_front(message_of(journal));
    size += lines.front().size() + 1;
  }
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

}  // namespace

base::Result<UniqueFd> open_journal_stream(const std::string& identifier, const char* socket) {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::errno_error("open a stream to the journal");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket, sizeof address.sun_path - 1);
  const auto* const to = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  const std::string header = stream_header(identifier);
  if (::connect(fd.get(), to, sizeof address) < 0 || ::shutdown(fd.get(), SHUT_RD) < 0)
    return base::errno_error("open a stream to the journal");
  // A new stream has room for this.
  if (::send(fd.get(), header.data(), header.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(header.size()))
    return base::errno_error("begin a stream to the journal");
  if (const int flags = ::fcntl(fd.get(), F_GETFL); flags >= 0)
    ::fcntl(fd.get(), F_SETFL, flags & ~O_NONBLOCK);  // programs do not expect it of their stdout
  return fd;
}

std::string read_journal_end(const std::string& identifier, pid_t pid, std::uint64_t since_ms,
                             std::size_t most) {
  const Journal journal = open_output_of(identifier, pid);
  if (!journal) return "";
  for (int i = 0; i < most_pauses; ++i)
    if (sd_journal_wait(journal.get(), pause_us) == SD_JOURNAL_NOP && i > 0) break;
  return read_last(journal.get(), since_ms * 1000, most);
}

}  // namespace refork::os
