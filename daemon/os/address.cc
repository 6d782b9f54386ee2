// What an operator writes after `listen`, taken apart. Pure: names are resolved when the socket is opened.
#include <sys/un.h>

#include <algorithm>
#include <charconv>
#include <string_view>

#include "os/listener.h"

namespace refork::os {
namespace {

constexpr std::string_view tcp_prefix = "tcp://", unix_prefix = "unix:";
constexpr unsigned largest_port = 65535;
constexpr std::size_t longest_path = sizeof(sockaddr_un::sun_path) - 1;  // 107 bytes, and the final NUL

base::Error expected(const std::string& text, const std::string& what) {
  return {EINVAL, text + ": " + what};
}

bool is_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port <= largest_port;
}

base::Result<Address> parse_tcp(const std::string& text) {
  const std::string_view rest = std::string_view(text).substr(tcp_prefix.size());
  const std::size_t colon = rest.rfind(':');
  const std::size_t bracket = rest.rfind(']');
  const bool has_port =
      colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket);
  if (!has_port) return expected(text, "the port is missing, expected tcp://HOST:PORT");
  std::string_view host = rest.substr(0, colon);
  const std::string_view port = rest.substr(colon + 1);
  if (!is_port(port))
    return expected(text, "\"" + std::string(port) + "\" is no port, expected a number from 0 to 65535");
  if (host.starts_with('[') && host.ends_with(']'))
    host = host.substr(1, host.size() - 2);
  else if (host.find_first_of(":[]") != std::string_view::npos)
    return expected(text, "expected an IPv6 address in brackets, as in tcp://[::1]:80");
  if (host.empty())
    return expected(text, "the host is missing, expected an address such as 0.0.0.0, [::] or 127.0.0.1");
  if (host.find_first_of("/ ?#@") != std::string_view::npos)
    return expected(text, "\"" + std::string(host) + "\" is no host, expected tcp://HOST:PORT");
  return Address{Address::Family::tcp, std::string(host), std::string(port), {}};
}

base::Result<Address> parse_unix(const std::string& text) {
  std::string path = text.substr(unix_prefix.size());
  if (path.empty()) return expected(text, "the path is missing, expected unix:/PATH");
  if (path.front() == '@') return expected(text, "abstract sockets are not supported, expected unix:/PATH");
  if (path.find('\0') != std::string::npos) return expected(text.c_str(), "the path holds a NUL byte");
  if (path.size() > longest_path)
    return base::Error{ENAMETOOLONG, text + ": the path has " + std::to_string(path.size()) +
                                         " bytes, a socket's path can have at most " +
                                         std::to_string(longest_path)};
  return Address{Address::Family::unix_socket, {}, {}, std::move(path)};
}

}  // namespace

base::Result<Address> parse_address(const std::string& text) {
  if (text.starts_with(tcp_prefix)) return parse_tcp(text);
  if (text.starts_with(unix_prefix)) return parse_unix(text);
  return expected(text, "expected tcp://HOST:PORT or unix:/PATH");
}

}  // namespace refork::os
