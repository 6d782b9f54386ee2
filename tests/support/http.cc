// The client's side of HTTP/1.1 as far as tests need it: addresses, connections, and where an answer ends.
// Not a general client: no redirects, no TLS, no request bodies.
#include "support/http.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace refork::test {
namespace {

constexpr std::size_t kMaxHead = 64 * 1024;
constexpr std::string_view kEndOfHead = "\r\n\r\n";

bool same_name(std::string_view left, std::string_view right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end(), [](char a, char b) {
    return std::tolower(static_cast<unsigned char>(a)) == std::tolower(static_cast<unsigned char>(b));
  });
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

std::optional<std::string_view> find_header(std::string_view head, std::string_view name) {
  std::size_t at = head.find("\r\n");
  while (at != std::string_view::npos && at + 2 < head.size()) {
    const std::size_t end = head.find("\r\n", at + 2);
    const std::string_view line = head.substr(at + 2, end - at - 2);
    const std::size_t colon = line.find(':');
    if (colon != std::string_view::npos && same_name(line.substr(0, colon), name))
      return trimmed(line.substr(colon + 1));
    at = end;
  }
  return std::nullopt;
}

template <class T>
std::optional<T> number(std::string_view text, int base = 10) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end == text.data()) return std::nullopt;
  return value;
}

Answer no_answer(std::string why) {
  Answer answer;
  answer.error = std::move(why);
  return answer;
}

union SocketAddress {
  sockaddr any;
  sockaddr_in v4;
  sockaddr_in6 v6;
  sockaddr_un local;
};

// Returns the length, 0 where the address cannot be one.
socklen_t fill(const Address& address, SocketAddress& out) {
  std::memset(&out, 0, sizeof out);
  if (address.host.empty()) {
    if (address.path.size() >= sizeof out.local.sun_path) return 0;
    out.local.sun_family = AF_UNIX;
    std::memcpy(out.local.sun_path, address.path.data(), address.path.size());
    return sizeof out.local;
  }
  if (::inet_pton(AF_INET, address.host.c_str(), &out.v4.sin_addr) == 1) {
    out.v4.sin_family = AF_INET;
    out.v4.sin_port = htons(address.port);
    return sizeof out.v4;
  }
  if (::inet_pton(AF_INET6, address.host.c_str(), &out.v6.sin6_addr) == 1) {
    out.v6.sin6_family = AF_INET6;
    out.v6.sin6_port = htons(address.port);
    return sizeof out.v6;
  }
  return 0;
}

}  // namespace

std::optional<Address> Address::parse(std::string_view text) {
  if (text.starts_with("unix:")) return unix_socket(std::string(text.substr(5)));
  if (text.starts_with("tcp://")) text.remove_prefix(6);
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  const auto port = number<std::uint16_t>(text.substr(colon + 1));
  if (!port) return std::nullopt;
  return tcp(*port, host.empty() || host == "0.0.0.0" ? "127.0.0.1" : std::string(host));
}

std::string Address::text() const {
  if (host.empty()) return "unix:" + path;
  const bool v6 = host.find(':') != std::string::npos;
  return "tcp://" + (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

base::UniqueFd start_connect(const Address& address) {
  SocketAddress to;
  const socklen_t length = fill(address, to);
  if (length == 0) {
    errno = EINVAL;
    return {};
  }
  base::UniqueFd fd(::socket(to.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return {};
  if (to.any.sa_family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  if (::connect(fd.get(), &to.any, length) != 0 && errno != EINPROGRESS) {
    const int code = errno;
    fd.reset();
    errno = code;
  }
  return fd;
}

void AnswerParser::reset() { *this = AnswerParser{}; }

std::string AnswerParser::header(std::string_view name) const {
  return std::string(find_header(head_, name).value_or(""));
}

std::size_t AnswerParser::feed(std::string_view bytes) {
  std::size_t taken = 0;
  while (taken < bytes.size() && (state_ == State::head || state_ == State::body)) {
    const std::string_view rest = bytes.substr(taken);
    taken += state_ == State::head ? feed_head(rest) : feed_body(rest);
  }
  return taken;
}

void AnswerParser::feed_end() {
  if (state_ == State::body && framing_ == Framing::until_end) state_ = State::done;
}

std::size_t AnswerParser::feed_head(std::string_view bytes) {
  const std::size_t before = head_.size();
  head_.append(bytes);
  const std::size_t from = before < kEndOfHead.size() ? 0 : before - kEndOfHead.size() + 1;
  const std::size_t end = head_.find(kEndOfHead, from);
  if (end == std::string::npos) {
    if (head_.size() > kMaxHead) state_ = State::broken;
    return bytes.size();
  }
  head_.resize(end + kEndOfHead.size());
  parse_head();
  return head_.size() - before;
}

void AnswerParser::parse_head() {
  const auto status = head_.starts_with("HTTP/1.") && head_.size() > 12
                          ? number<int>(std::string_view(head_).substr(9, 3))
                          : std::nullopt;
  if (!status) {
    state_ = State::broken;
    return;
  }
  status_ = *status;
  const std::string_view connection = find_header(head_, "Connection").value_or("");
  close_ = same_name(connection, "close") ||
           (head_.starts_with("HTTP/1.0") && !same_name(connection, "keep-alive"));
  state_ = State::body;
  if (same_name(find_header(head_, "Transfer-Encoding").value_or(""), "chunked")) {
    framing_ = Framing::chunk_size;
  } else if (const auto length = find_header(head_, "Content-Length")) {
    framing_ = Framing::length;
    wanted_ = number<std::size_t>(*length).value_or(0);
    if (wanted_ == 0) state_ = State::done;
  } else if (status_ == 204 || status_ == 304) {
    state_ = State::done;
  } else {
    framing_ = Framing::until_end;
    close_ = true;
  }
}

std::size_t AnswerParser::feed_body(std::string_view bytes) {
  switch (framing_) {
    case Framing::length:
    case Framing::chunk_data:
      return feed_counted(bytes);
    case Framing::until_end:
      body_.append(bytes);
      return bytes.size();
    case Framing::chunk_size:
    case Framing::chunk_end:
    case Framing::trailer:
      return feed_line(bytes);
  }
  return bytes.size();
}

std::size_t AnswerParser::feed_counted(std::string_view bytes) {
  const std::size_t part = std::min(wanted_, bytes.size());
  body_.append(bytes.substr(0, part));
  wanted_ -= part;
  if (wanted_ > 0) return part;
  if (framing_ == Framing::length)
    state_ = State::done;
  else
    framing_ = Framing::chunk_end;
  return part;
}

std::size_t AnswerParser::feed_line(std::string_view bytes) {
  const std::size_t end = bytes.find('\n');
  if (end == std::string_view::npos) {
    line_.append(bytes);
    if (line_.size() > kMaxHead) state_ = State::broken;
    return bytes.size();
  }
  line_.append(bytes.substr(0, end));
  if (line_.ends_with('\r')) line_.pop_back();
  end_of_line();
  line_.clear();
  return end + 1;
}

void AnswerParser::end_of_line() {
  if (framing_ == Framing::chunk_end) {
    framing_ = Framing::chunk_size;
  } else if (framing_ == Framing::trailer) {
    if (line_.empty()) state_ = State::done;
  } else if (const auto size = number<std::size_t>(line_, 16)) {
    wanted_ = *size;
    framing_ = *size == 0 ? Framing::trailer : Framing::chunk_data;
  } else {
    state_ = State::broken;
  }
}

std::string Answer::header(std::string_view name) const {
  return std::string(find_header(head, name).value_or(""));
}

HttpConnection::HttpConnection(const Address& address, std::chrono::milliseconds patience)
    : fd_(start_connect(address)), patience_(patience) {
  int code = fd_ ? 0 : errno;
  if (fd_) {
    socklen_t length = sizeof code;
    if (!wait_for(POLLOUT, Clock::now() + patience_))
      code = ETIMEDOUT;
    else if (::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &code, &length) != 0)
      code = errno;
  }
  if (code == 0) return;
  error_ = code == ECONNREFUSED ? "refused" : std::strerror(code);
  fd_.reset();
}

bool HttpConnection::wait_for(short events, Clock::time_point deadline) const {
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd item{fd_.get(), events, 0};
    const int found = ::poll(&item, 1, static_cast<int>(left));
    if (found > 0) return true;
    if (found < 0 && errno != EINTR) return false;
  }
}

bool HttpConnection::send(std::string_view bytes) {
  const auto deadline = Clock::now() + patience_;
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    } else if (errno != EAGAIN || !wait_for(POLLOUT, deadline)) {
      return false;
    }
  }
  return true;
}

bool HttpConnection::send_get(std::string_view target, std::string_view extra_headers) {
  return send("GET " + std::string(target) + " HTTP/1.1\r\nHost: test\r\n" + std::string(extra_headers) +
              "\r\n");
}

Answer HttpConnection::read_answer() {
  if (!fd_) return no_answer(error_.empty() ? "closed" : error_);
  const auto deadline = Clock::now() + patience_;
  AnswerParser parser;
  Answer answer;
  while (true) {
    unread_.erase(0, parser.feed(unread_));
    if (parser.done() || parser.state() == AnswerParser::State::broken) break;
    if (!wait_for(POLLIN, deadline)) {
      answer.error = "timeout";
      break;
    }
    char buffer[16384];
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (got > 0) {
      unread_.append(buffer, static_cast<std::size_t>(got));
      continue;
    }
    if (got < 0 && errno == EAGAIN) continue;
    parser.feed_end();
    if (!parser.done()) answer.error = got == 0 ? "closed" : "reset";
    break;
  }
  if (parser.state() == AnswerParser::State::broken) answer.error = "not HTTP";
  answer.head = parser.head();
  answer.body = parser.body();
  answer.close = parser.must_close();
  if (parser.done()) answer.status = parser.status();
  return answer;
}

Answer HttpConnection::get(std::string_view target) {
  if (fd_ && !send_get(target)) return no_answer("closed");
  return read_answer();
}

bool HttpConnection::wait_closed() {
  const auto deadline = Clock::now() + patience_;
  char buffer[4096];
  while (wait_for(POLLIN, deadline)) {
    const ssize_t got = ::recv(fd_.get(), buffer, sizeof buffer, 0);
    if (got == 0 || (got < 0 && errno != EAGAIN)) return true;
  }
  return false;
}

Answer http_get(const Address& address, std::string_view target, std::chrono::milliseconds patience) {
  HttpConnection connection(address, patience);
  if (connection.connected()) connection.send_get(target, "Connection: close\r\n");
  return connection.read_answer();
}

std::pair<base::UniqueFd, std::uint16_t> listen_tcp() {
  base::UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  SocketAddress at;
  fill(Address::tcp(0), at);
  socklen_t length = sizeof at.v4;
  if (::bind(fd.get(), &at.any, length) != 0 || ::listen(fd.get(), SOMAXCONN) != 0) return {};
  ::getsockname(fd.get(), &at.any, &length);
  return {std::move(fd), ntohs(at.v4.sin_port)};
}

}  // namespace refork::test
