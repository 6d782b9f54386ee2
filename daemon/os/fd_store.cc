// The client's half of the descriptor store: what is sent, and what comes back. Who listens on the other end,
// systemd or a keeper, makes no difference here; nor does what the descriptors are.
#include "os/fd_store.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "os/packet.h"

namespace refork::os {
namespace {

// A keeper that does not read for this long is not waited for; what it did not get waits for it.
constexpr timeval patience{0, 200'000};
constexpr int look_again_ms = 10;

struct FreeList {
  void operator()(char** list) const noexcept {
    for (char** entry = list; list && *entry; ++entry) std::free(*entry);
    std::free(list);
  }
};

// "@name" is in the abstract namespace, as $NOTIFY_SOCKET has it.
bool parse_address(const std::string& text, sockaddr_un& address, socklen_t& size) {
  address = {};
  address.sun_family = AF_UNIX;
  if (text.size() < 2 || text.size() >= sizeof address.sun_path || (text[0] != '@' && text[0] != '/'))
    return false;
  std::memcpy(address.sun_path, text.data(), text.size());
  if (text[0] == '@') address.sun_path[0] = '\0';
  size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + text.size() + (text[0] == '/' ? 1 : 0));
  return true;
}

base::UniqueFd make_patient(base::UniqueFd fd) {
  if (fd) ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  return fd;
}

}  // namespace

bool is_fd_name(std::string_view name) {
  return !name.empty() && name.size() <= max_fd_name &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= ' ' && c < 0x7f && c != ':'; });
}

std::vector<InheritedFd> take_inherited() {
  char** names = nullptr;
  const int count = ::sd_listen_fds_with_names(1, &names);
  const std::unique_ptr<char*[], FreeList> owned(names);
  std::vector<InheritedFd> all;
  for (int i = 0; i < count; ++i)
    all.push_back({names ? names[i] : "unknown", base::UniqueFd(SD_LISTEN_FDS_START + i)});
  return all;
}

FdStore::FdStore(std::string address) : address_(std::move(address)) {
  if (!address_.empty())
    socket_ = make_patient(base::UniqueFd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)));
}

FdStore::FdStore(base::UniqueFd sender) : socket_(make_patient(std::move(sender))) {}

bool FdStore::send(const std::string& text, int fd, int flags) const {
  sockaddr_un address;
  socklen_t size = 0;
  if (!address_.empty() && !parse_address(address_, address, size)) return true;
  const auto* const to = address_.empty() ? nullptr : reinterpret_cast<const sockaddr*>(&address);
  const auto sent = send_packet(socket_.get(), text, fd, flags, to, size);
  // Where nobody listens any more nothing is gained by waiting: another keeper gets everything.
  return sent >= 0 || (errno != EAGAIN && errno != ENOBUFS && errno != ETOOMANYREFS);
}

void FdStore::post(std::string text, int fd, const std::string& name) {
  if (!socket_) return;
  if (!pending_.empty()) flush();
  if (pending_.empty() && send(text, fd, 0)) return;  // once something waits nobody waits for it again
  pending_.push_back({std::move(text), base::UniqueFd(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 3)), name});
  if (pending_.size() >= compact_at_) compact();
  if (pending_.size() == 1 && on_pending_) on_pending_();
}

// What was stored and removed again while it waited is not sent at all, and of what is said only the newest
// of its kind: so no more waits than both ends have descriptors, and a few words.
void FdStore::compact() {
  std::map<std::string, std::size_t> first, last;
  const auto subject = [](const Packet& one) {
    return one.name.empty() ? one.text.substr(0, one.text.find('=')) : ":" + one.name;
  };
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const auto about = subject(pending_[i]);
    first.emplace(about, i);
    last[about] = i;
  }
  std::deque<Packet> needed;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    Packet& one = pending_[i];
    const bool removal = !one.name.empty() && !one.fd;
    // A removal counts where it is the first word: the other end has that one.
    if (i == (removal ? first : last).at(subject(one))) needed.push_back(std::move(one));
  }
  pending_ = std::move(needed);
  compact_at_ = std::max(many_pending, 2 * pending_.size());
}

void FdStore::flush() {
  while (!pending_.empty() && send(pending_.front().text, pending_.front().fd.get(), MSG_DONTWAIT))
    pending_.pop_front();
}

void FdStore::finish(std::chrono::milliseconds at_most) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + at_most;
  while (!pending_.empty() && Clock::now() < deadline) {
    if (send(pending_.front().text, pending_.front().fd.get(), 0))
      pending_.pop_front();
    else
      ::poll(nullptr, 0, look_again_ms);  // not every lack of room is waited for by sending
  }
}

void FdStore::keep(const std::string& name, int fd) {
  if (!is_fd_name(name) || fd < 0) return;
  kept_[name] = fd;
  store(name, fd);
}

void FdStore::store(const std::string& name, int fd) {
  post("FDSTORE=1\nFDNAME=" + name + "\nFDPOLL=0", fd, name);
}

void FdStore::forget(const std::string& name) {
  if (kept_.erase(name) != 0) post("FDSTOREREMOVE=1\nFDNAME=" + name, -1, name);
}

void FdStore::forget_unless(const std::function<bool(const std::string&)>& stays) {
  std::vector<std::string> names;
  for (const auto& [name, fd] : kept_)
    if (!stays(name)) names.push_back(name);
  for (const auto& name : names) forget(name);
}

void FdStore::move_to(base::UniqueFd sender) {
  address_.clear();
  socket_ = make_patient(std::move(sender));
  pending_.clear();
  for (const auto& [name, fd] : kept_) store(name, fd);
}

void FdStore::say(std::string_view state) { post(std::string(state), -1, ""); }

}  // namespace refork::os
