// Where reforkd's own words go: the journal if stderr is connected to it, otherwise stderr. A supervisor must
// not hang or die because nobody reads what it says: a line that does not fit at once is dropped and counted.
#include "log/log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <ctime>

#include "log/format.h"
#include "log/journal.h"

namespace refork::log {
namespace {

std::atomic<Level> most{Level::info};
std::atomic<std::uint64_t> dropped{0};

// A write to a pipe without a reader raises SIGPIPE in this thread, whatever the process has chosen for it.
class WithoutSigpipe {
 public:
  WithoutSigpipe() noexcept {
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~WithoutSigpipe() {
    const timespec at_once{};
    if (!was_pending_) ::sigtimedwait(&sigpipe_, nullptr, &at_once);
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  WithoutSigpipe(const WithoutSigpipe&) = delete;
  WithoutSigpipe& operator=(const WithoutSigpipe&) = delete;

 private:
  sigset_t sigpipe_, before_;
  bool was_pending_ = false;
};

// Workers write to the same pipe or socket, so even after poll() said there was room it must be the write
// itself that does not wait. Files and terminals do not know the flag; there poll() has to do.
bool write_at_once(const std::string& text) noexcept {
  pollfd poll{STDERR_FILENO, POLLOUT, 0};
  if (::poll(&poll, 1, 0) <= 0 || (poll.revents & POLLOUT) == 0) return false;
  const WithoutSigpipe guard;
  struct stat status {};
  if (::fstat(STDERR_FILENO, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode))) {
    const iovec part{const_cast<char*>(text.data()), text.size()};
    const ssize_t count = ::pwritev2(STDERR_FILENO, &part, 1, -1, RWF_NOWAIT);
    if (count >= 0 || errno != EOPNOTSUPP) return count >= 0;
  }
  return ::write(STDERR_FILENO, text.data(), text.size()) >= 0;
}

void write_line(std::string_view text) {
  if (const std::uint64_t lost = dropped.exchange(0); lost != 0) {
    if (!write_at_once(line(std::to_string(lost) + " lines of this log were dropped: nobody was reading"))) {
      dropped += lost + 1;
      return;
    }
  }
  if (!write_at_once(line(text))) ++dropped;
}

// Out of memory is no reason to stop supervising either.
void put(Level level, std::string_view text, const core::Event* event) noexcept try {
  if (level > most.load(std::memory_order_relaxed)) return;
  // What the journal does not take now goes to its stream, or is counted there as dropped.
  if (!goes_to_journal() || !send_to_journal(journal_entry(journal_fields(level, text, event))))
    write_line(text);
} catch (...) {
  ++dropped;
}

}  // namespace

bool goes_to_journal() noexcept {
  struct stat status {};
  const char* stream = std::getenv("JOURNAL_STREAM");
  return stream && ::fstat(STDERR_FILENO, &status) == 0 &&
         is_journal_stream(stream, status.st_dev, status.st_ino);
}

void set_level(Level level) { most.store(level, std::memory_order_relaxed); }

void say(Level level, std::string_view text) { put(level, text, nullptr); }

void event(Level level, const core::Event& event) { put(level, event_text(event), &event); }

}  // namespace refork::log
