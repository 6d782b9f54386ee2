#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace refork::test {

using Clock = std::chrono::steady_clock;

inline constexpr std::chrono::seconds kDefaultPatience{10};

// Where a server listens: "tcp://127.0.0.1:8080", "tcp://[::1]:8080" or "unix:/path".
struct Address {
  std::string host;  // empty for a unix socket
  std::uint16_t port = 0;
  std::string path;

  static Address tcp(std::uint16_t port, std::string host = "127.0.0.1") {
    return {std::move(host), port, {}};
  }
  static Address unix_socket(std::string path) { return {{}, 0, std::move(path)}; }
  static std::optional<Address> parse(std::string_view text);
  std::string text() const;
};

// A socket that is connected or about to be (non-blocking); empty with errno set where connect() failed at
// once.
base::UniqueFd start_connect(const Address& address);

// Reads one HTTP/1.x answer from the bytes it is fed: enough of the protocol to know where an answer ends.
class AnswerParser {
 public:
  enum class State {
    head,
    body,
    done,
    broken,  // not HTTP
  };

  // Takes what it needs and returns how much that was; the rest belongs to the next answer.
  std::size_t feed(std::string_view bytes);
  // The peer closed: an answer whose end is the end of the connection is whole now.
  void feed_end();
  void reset();

  State state() const noexcept { return state_; }
  bool done() const noexcept { return state_ == State::done; }
  bool empty() const noexcept { return state_ == State::head && head_.empty(); }
  int status() const noexcept { return status_; }
  bool must_close() const noexcept { return close_; }
  const std::string& head() const noexcept { return head_; }
  const std::string& body() const noexcept { return body_; }
  std::string header(std::string_view name) const;

 private:
  enum class Framing {
    length,
    chunk_size,
    chunk_data,
    chunk_end,
    trailer,
    until_end
  };
  void parse_head();
  std::size_t feed_head(std::string_view bytes);
  std::size_t feed_body(std::string_view bytes);
  std::size_t feed_counted(std::string_view bytes);
  std::size_t feed_line(std::string_view bytes);
  void end_of_line();

  State state_ = State::head;
  Framing framing_ = Framing::length;
  int status_ = 0;
  bool close_ = false;
  std::size_t wanted_ = 0;
  std::string line_;
  std::string head_;
  std::string body_;
};

// One answer, or why there is none.
struct Answer {
  int status = 0;      // 0: no whole answer
  bool close = false;  // it carried Connection: close (or HTTP/1.0 without keep-alive)
  std::string head;
  std::string body;
  std::string error;  // "refused", "closed", "reset", "timeout", "not HTTP"
  std::string header(std::string_view name) const;
};

// A client's connection, blocking with deadlines; for tests that look at one connection closely.
class HttpConnection {
 public:
  explicit HttpConnection(const Address& address, std::chrono::milliseconds patience = kDefaultPatience);

  bool connected() const noexcept { return static_cast<bool>(fd_); }
  int fd() const noexcept { return fd_.get(); }
  bool send(std::string_view bytes);
  bool send_get(std::string_view target, std::string_view extra_headers = {});
  Answer read_answer();
  Answer get(std::string_view target);
  // Waits until the server has closed its side; bytes that come first are dropped.
  bool wait_closed();
  void close() { fd_.reset(); }

 private:
  bool wait_for(short events, Clock::time_point deadline) const;

  base::UniqueFd fd_;
  std::chrono::milliseconds patience_;
  std::string error_;
  std::string unread_;
};

// One request on a connection of its own.
Answer http_get(const Address& address, std::string_view target,
                std::chrono::milliseconds patience = kDefaultPatience);

// A listening, non-blocking TCP socket on a free port of the loopback, with that port.
std::pair<base::UniqueFd, std::uint16_t> listen_tcp();

}  // namespace refork::test
