// Whose a listening socket is: those of an earlier reforkd, those that a service manager gives, and those
// that are configured. Opening and keeping them is listeners.cc.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "log/log.h"
#include "os/listener.h"
#include "supervisor/supervisor.h"

namespace refork::supervisor {

using base::Error;
using base::Result;

namespace {

bool has_address_of(const core::DaemonConfig& config, int listener) {
  return std::ranges::any_of(config.services, [listener](const core::ServiceConfig& service) {
    return std::ranges::any_of(service.listen, [listener](const std::string& address) {
      return os::ListenSocket::suits(address, listener) > 0;
    });
  });
}

}  // namespace

// What an earlier reforkd's services listened on and do not any more; another one may, as when a service was
// given another name. It cannot be opened anew, for the workers of before have it, too.
std::vector<state::Listener> Supervisor::unwanted_listeners() const {
  std::vector<state::Listener> unwanted;
  for (const auto& before : before_.services) {
    const auto config = std::ranges::find(setup_.config.services, before.name, &core::ServiceConfig::name);
    for (const auto& listener : before.listeners)
      if (config == setup_.config.services.end() ||
          std::ranges::find(config->listen, listener.configured) == config->listen.end())
        unwanted.push_back(listener);
  }
  return unwanted;
}

// An earlier reforkd listened elsewhere at that port, as where 0.0.0.0 has become 127.0.0.1. Shut down,
// because a copy that somebody else still has would be in the way as well.
bool Supervisor::make_way(const std::string& address) {
  const auto given_up = [&](int fd) {
    return os::ListenSocket::in_the_way(address, fd) && !has_address_of(setup_.config, fd) &&
                   !handover_.is_given(fd)
               ? 1
               : 0;
  };
  bool made = false;
  for (std::string name; !(name = handover_.best("", given_up)).empty(); made = true) {
    const auto fd = handover_.take(name, setup_.fds);
    log::notice(os::ListenSocket::address_of(fd.get()) + " is given up for " + address);
    ::shutdown(fd.get(), SHUT_RDWR);
    setup_.fds.forget(name);
  }
  return made;
}

// Sockets that a service manager opened for a service that has no such address.
void Supervisor::refuse_given() {
  for (const auto& service : setup_.config.services) {
    const auto stranger = [&service](int fd) {
      const auto serves = [fd](const std::string& address) {
        return os::ListenSocket::suits(address, fd) > 0;
      };
      return std::ranges::any_of(service.listen, serves) ? 0 : 1;
    };
    while (const auto fd = handover_.take_given(service.name, stranger)) {
      const auto address = os::ListenSocket::address_of(fd.get());
      log::warning("service " + service.name + " was given the socket " + address +
                   ", which is none of its addresses: it is closed here; to have it served, add \"" +
                   address + "\" to \"listen\" of this service");
    }
  }
}

// Tried, for nobody can say it otherwise.
Result<void> Supervisor::can_listen(const core::DaemonConfig& config) const {
  std::set<std::string> known;
  for (const auto& runner : services_.configured)
    known.insert(runner->service().config().listen.begin(), runner->service().config().listen.end());
  for (const auto& service : config.services)
    for (const auto& address : service.listen) {
      if (known.contains(address)) continue;
      auto socket = os::ListenSocket::open(address, service.nonblocking);
      if (!socket) {
        std::string what = "service " + service.name + ": " + socket.error().what;
        for (const int fd : services_.sockets())
          if (socket.error().code == EADDRINUSE && os::ListenSocket::in_the_way(address, fd) &&
              !has_address_of(config, fd))
            what += "; " + os::ListenSocket::address_of(fd) +
                    " of this reforkd has it, and is given up when reforkd is restarted";
        return Error{socket.error().code, what};
      }
      socket->unlink_path();
    }
  return {};
}

}  // namespace refork::supervisor
