// An HTTP server on libuv, one event loop, as a worker of reforkd. What links it: a domain and an in-flight
// request in Session::serve(), Session::fail() for what goes wrong, refork::uv:: where uv_ functions take a
// callback, and the lines in main() that serve until the worker has drained.
//
// libuv knows no HTTP, so Session reads the little of it that this needs: heads without bodies, up to
// kMaxHead.
#include <strings.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "common.h"
#include "refork/uv.hpp"

namespace {

constexpr std::size_t kMaxHead = 16 * 1024;

// Calls the function once, in the domain that is active now.
void call_after(uv_loop_t* loop, std::chrono::milliseconds delay, std::function<void()> function) {
  struct Later {
    uv_timer_t timer;
    std::function<void()> function;
  };
  auto* const later = new Later{{}, std::move(function)};
  later->timer.data = later;
  uv_timer_init(loop, &later->timer);
  const auto call = [](uv_timer_t* timer) {
    auto& self = *static_cast<Later*>(timer->data);
    const auto due = std::move(self.function);
    refork::uv::close(timer, [](uv_handle_t* handle) { delete static_cast<Later*>(handle->data); });
    due();
  };
  refork::uv::timer_start(&later->timer, call, static_cast<std::uint64_t>(delay.count()), 0);
}

// The value of a header, or nothing.
std::string_view header(std::string_view head, std::string_view name) {
  for (std::size_t at = head.find("\r\n"); at != head.npos; at = head.find("\r\n", at)) {
    at += 2;
    if (head.size() - at <= name.size() || head[at + name.size()] != ':') continue;
    if (::strncasecmp(head.data() + at, name.data(), name.size()) != 0) continue;
    const std::size_t value = head.find_first_not_of(' ', at + name.size() + 1);
    return head.substr(value, head.find("\r\n", value) - value);
  }
  return {};
}

// A client's connection and the request on it.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<refork::uv::Connection> connection, const example::Options& options)
      : connection_(std::move(connection)), options_(options) {}

  void next_request() {
    in_flight_.end();
    answering_ = false;
    buffer_.erase(0, head_.size());
    head_.clear();
    if (take_head()) return serve();
    connection_->wait_for_request(
        [self = shared_from_this()](std::string_view bytes) { self->receive(bytes); }, !buffer_.empty());
  }

 private:
  void receive(std::string_view bytes) {
    buffer_.append(bytes);
    if (take_head()) {
      connection_->hold_reading();
      serve();
    } else if (buffer_.size() > kMaxHead) {
      connection_->hold_reading();
      answer("431 Request Header Fields Too Large", "too much\n", true);
    }
  }

  // Whether a request is there: its head then stands in head_, and its target in target_.
  bool take_head() {
    const std::size_t end = buffer_.find("\r\n\r\n");
    if (end == buffer_.npos || end > kMaxHead) return false;
    head_ = buffer_.substr(0, end + 4);
    const std::size_t method_end = head_.find(' ');
    const std::size_t target_end = head_.find_first_of(" \r", method_end + 1);
    method_ = head_.substr(0, method_end);
    target_ = head_.substr(method_end + 1, target_end - method_end - 1);
    return true;
  }

  // From here on an error is this request's: everything that route() starts runs in its domain.
  void serve() {
    const refork::Domain domain("http");
    in_flight_ = connection_->worker().begin(example::label(method_, target_, options_), domain);
    domain.on_error([self = shared_from_this()](const refork::Failure&) { self->fail(); });
    domain.run([this] { route(); });
  }

  void fail() {
    if (path() == "/error-handler") throw std::logic_error("the error handler was asked to fail");
    if (answering_) return connection_->drop();
    answer("500 Internal Server Error", "something went wrong here\n", true);
  }

  void answer(const char* status, const std::string& body, bool last = false) {
    answering_ = true;
    last = last || ::strcasecmp(std::string(header(head_, "Connection")).c_str(), "close") == 0 ||
           connection_->must_close();
    connection_->write("HTTP/1.1 " + std::string(status) +
                           "\r\nContent-Type: text/plain\r\nContent-Length: " + std::to_string(body.size()) +
                           (last ? "\r\nConnection: close" : "") + "\r\n\r\n" + body,
                       [self = shared_from_this(), last](int error) {
                         if (error) return;
                         if (last)
                           self->finish();
                         else
                           self->next_request();
                       });
  }

  void finish() {
    in_flight_.end();
    connection_->close();
  }

  void route() {
    const example::Target target = example::parse_target(target_);
    if (target.delay.count() == 0) return route_now();
    call_after(connection_->loop(), target.delay, [self = shared_from_this()] { self->route_now(); });
  }

  void route_now() {
    if (path() == "/") return answer("200 OK", "ok");
    if (path() == "/pid") return answer("200 OK", std::to_string(::getpid()));
    if (path() == "/error" || path() == "/error-handler")
      return call_after(connection_->loop(), {},
                        [] { throw std::runtime_error("this request was asked to fail"); });
    if (path() == "/error-code") return ask_backend();
    if (path() == "/error-late") return fail_late();
    if (path() == "/crash") example::crash();
    if (path() == "/abort") std::abort();
    if (path() == "/hang") example::hang();
    answer("404 Not Found", "there is nothing here\n");
  }

  // A callback that would be called with an error (in libuv a negative status) goes to the domain instead,
  // without a throw.
  void ask_backend() {
    auto answered = refork::Domain::current().intercept(
        [self = shared_from_this()] { self->answer("200 OK", "the backend answered"); });
    call_after(connection_->loop(), {}, [answered]() mutable { answered(int{UV_ECONNREFUSED}); });
  }

  void fail_late() {
    answering_ = true;
    connection_->write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first part",
                       [self = shared_from_this()](int) {
                         throw std::runtime_error("asked to fail after the answer had begun");
                       });
  }

  std::string_view path() const { return example::parse_target(target_).path; }

  const std::shared_ptr<refork::uv::Connection> connection_;
  const example::Options& options_;
  std::string buffer_;  // what was read: the present request's head first
  std::string head_;
  std::string method_;
  std::string target_;
  refork::Request in_flight_;
  bool answering_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  const example::Options options = example::parse_options(argc, argv);
  refork::Worker worker(example::worker_options(options));
  uv_loop_t* const loop = uv_default_loop();
  refork::uv::Server server(loop, worker, [&](std::shared_ptr<refork::uv::Connection> connection) {
    std::make_shared<Session>(std::move(connection), options)->next_request();
  });

  for (const refork::Listener& listener : example::listeners(worker, options)) server.listen(listener);
  worker.ready();
  uv_run(loop, UV_RUN_DEFAULT);
  return worker.finish();
}
