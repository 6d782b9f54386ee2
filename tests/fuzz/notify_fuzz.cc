// Whatever somebody sends to a notify socket: it is passed over, or is NAME=VALUE lines of the sender that
// the kernel names; and no descriptor that came along is left open. The input's first byte says how many come
// along.

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "os/notify.h"

namespace {

using namespace refork::os;

constexpr std::size_t most_fds = 8;

void require(bool holds) {
  if (!holds) std::abort();
}

int lowest_free() {
  const int fd = ::dup(STDIN_FILENO);
  ::close(fd);
  return fd;
}

void send(int socket, const std::uint8_t* data, std::size_t size, std::size_t fds) {
  iovec part{const_cast<std::uint8_t*>(data), size};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(most_fds * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (fds > 0) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(fds * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds * sizeof(int));
    std::array<int, most_fds> passed;
    passed.fill(STDOUT_FILENO);
    std::memcpy(CMSG_DATA(header), passed.data(), fds * sizeof(int));
  }
  static_cast<void>(::sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  static const int open_already = ::fcntl(STDIN_FILENO, F_GETFD) < 0 ? ::open("/dev/null", O_RDONLY) : 0;
  require(open_already >= 0);
  static auto pair = NotifySocket::make_pair();
  if (!pair) return 0;
  const int before = lowest_free();
  send(pair->sender.get(), data + 1, size - 1, data[0] % (most_fds + 1));
  if (const auto said = pair->socket.receive()) {
    require(said->pid == ::getpid() && !said->fields.empty());
    for (const auto& [name, value] : said->fields)
      require(!name.empty() && name.find_first_of("=\n") == std::string::npos &&
              value.find('\n') == std::string::npos);
    require(said->fds.size() == data[0] % (most_fds + 1));
  }
  require(!pair->socket.receive() && lowest_free() == before);
  return 0;
}
