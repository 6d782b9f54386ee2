#pragma once

#include <sys/socket.h>

#include <string_view>

namespace refork::os {

// sendmsg(2) of one packet, with a copy of `fd` if that is none of the negative ones; to `to`, or where the
// socket is connected to. Never a signal.
ssize_t send_packet(int socket, std::string_view bytes, int fd, int flags, const sockaddr* to = nullptr,
                    socklen_t to_size = 0);

}  // namespace refork::os
