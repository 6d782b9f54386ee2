// The keeper's death, noticed by its pidfd. The new one inherits one end of a pair that reforkd has made, so
// that what is stored meanwhile waits in it.
#include "supervisor/keeper_watch.h"

#include <sys/epoll.h>
#include <unistd.h>

#include <charconv>
#include <string_view>

#include "log/log.h"
#include "os/environment.h"
#include "os/notify.h"
#include "os/process.h"

namespace refork::supervisor {

namespace {

constexpr int passed_socket = 3;  // as keeper/keeper.h says
constexpr core::Millis retry_interval{1000}, flush_interval{20};

struct Identity {
  pid_t pid = 0;
  std::uint64_t start_time = 0;
};

Identity parse(const std::string& text) {
  Identity identity;
  const char* const end = text.data() + text.size();
  const auto [dot, error] = std::from_chars(text.data(), end, identity.pid);
  if (error == std::errc{} && dot != end) std::from_chars(dot + 1, end, identity.start_time);
  return identity;
}

}  // namespace

KeeperWatch::KeeperWatch(Loop& loop, os::FdStore& store, Setup setup, std::function<void(pid_t)> replaced)
    : loop_(loop), store_(store), setup_(std::move(setup)), replaced_(std::move(replaced)) {
  flush_ = loop_.timer([this] { flush(); });
  store_.on_pending([this] { Loop::arm(flush_, core::Clock::now() + flush_interval); });
}

KeeperWatch::~KeeperWatch() { store_.on_pending({}); }

// The other end cannot be polled for room.
void KeeperWatch::flush() {
  store_.flush();
  if (store_.pending()) Loop::arm(flush_, core::Clock::now() + flush_interval);
}

void KeeperWatch::start() {
  if (!wanted()) return;
  const Identity identity = parse(setup_.identity);
  auto pidfd = os::open_pidfd(identity.pid);
  if (!pidfd || os::start_time(identity.pid) != identity.start_time) return replace();
  watch(identity.pid, *std::move(pidfd));
}

void KeeperWatch::watch(pid_t pid, base::UniqueFd pidfd) {
  pid_ = pid;
  pidfd_ = std::move(pidfd);
  source_ = loop_.watch(pidfd_.get(), EPOLLIN, [this](std::uint32_t) { on_death(); });
}

void KeeperWatch::on_death() {
  loop_.park(std::move(source_));
  os::reap(pidfd_.get());
  log::warning("the keeper (pid " + std::to_string(pid_) + ") is gone; another one is started");
  replace();
}

void KeeperWatch::replace() {
  const auto fail = [this](const std::string& what) {
    log::error("no keeper could be started: " + what + "; trying again in 1 s");
    retry_ = loop_.timer([this] { replace(); });
    Loop::arm(retry_, core::Clock::now() + retry_interval);
  };
  pid_ = 0;
  auto pair = os::NotifySocket::make_pair();
  if (!pair) return fail(pair.error().what);
  auto spawned = spawn(pair->socket.fd());
  if (!spawned) return fail(spawned.error().what);
  setup_.identity = std::to_string(spawned->pid) + "." + std::to_string(os::start_time(spawned->pid));
  watch(spawned->pid, std::move(spawned->pidfd));
  replaced_(pid_);  // who leaves the old one's descriptors, before the new one gets all
  store_.move_to(std::move(pair->sender));
}

base::Result<os::Spawned> KeeperWatch::spawn(int notify_socket) const {
  os::SpawnPlan plan;
  plan.program = setup_.program;
  plan.argv = setup_.argv;
  plan.environment = os::environment_for(os::Receiver::own);
  plan.environment.push_back("REFORK_KEEPS=" + std::to_string(::getpid()));
  plan.fds.push_back({notify_socket, passed_socket});
  plan.own_program = true;
  return os::spawn(plan);
}

}  // namespace refork::supervisor
