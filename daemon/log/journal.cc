// The way into the journal: one datagram for each entry, as systemd documents its native protocol. Not
// sd_journal_sendv(3), which waits for a journald that does not read: then reforkd would hang with it.
#include "log/journal.h"

#include <endian.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdint>
#include <cstring>
#include <string_view>

#include "base/unique_fd.h"

namespace refork::log {

namespace {

// A value of several lines is told by its size, in little endian.
void append_sized(std::string& entry, std::string_view name, std::string_view value) {
  const std::uint64_t size = htole64(value.size());
  char bytes[sizeof size];
  std::memcpy(bytes, &size, sizeof size);
  entry.append(name).append("\n").append(bytes, sizeof bytes).append(value).append("\n");
}

}  // namespace

std::string journal_entry(const std::vector<std::string>& fields) {
  std::string entry;
  for (const std::string_view field : fields) {
    const auto equals = field.find('=');
    if (equals == std::string_view::npos) continue;
    if (field.find('\n') == std::string_view::npos)
      entry.append(field).append("\n");
    else
      append_sized(entry, field.substr(0, equals), field.substr(equals + 1));
  }
  return entry;
}

bool send_to_journal(const std::string& entry, const char* socket) noexcept {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, socket, sizeof address.sun_path - 1);
  const base::UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return false;
  const auto* const to = static_cast<const sockaddr*>(static_cast<const void*>(&address));
  return ::sendto(fd.get(), entry.data(), entry.size(), MSG_NOSIGNAL, to, sizeof address) >= 0;
}

}  // namespace refork::log
