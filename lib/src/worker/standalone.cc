// What a worker says where no reforkd listens: to a service manager, and to whoever reads its stderr.

#include "worker/standalone.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <initializer_list>

#include "base/unique_fd.h"

namespace refork::worker {
namespace {

void write_parts(std::initializer_list<std::string_view> parts) noexcept {
  iovec vector[4];
  int count = 0;
  for (const auto part : parts) vector[count++] = {const_cast<char*>(part.data()), part.size()};
  static_cast<void>(!::writev(STDERR_FILENO, vector, count));
}

}  // namespace

void notify_manager(std::string_view state) noexcept {
  const char* const path = std::getenv("NOTIFY_SOCKET");
  if (path == nullptr || (path[0] != '/' && path[0] != '@')) return;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::strlen(path);
  if (length >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';
  const base::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return;
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  static_cast<void>(::sendto(fd.get(), state.data(), state.size(), MSG_NOSIGNAL,
                             reinterpret_cast<const sockaddr*>(&address), size));
}

void write_line(std::string_view line) noexcept { write_parts({line, "\n"}); }

void complain(std::string_view text) noexcept { write_parts({"refork: ", text, "\n"}); }

}  // namespace refork::worker
