// An HTTP server on Boost.Beast, one event loop, as a worker of reforkd. What links it: a domain and an
// in-flight request in Session::serve(), Session::fail() for what goes wrong, Connection in place of a bare
// socket, and the lines in main() that serve until the worker has drained.
#include <unistd.h>

#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <cstdlib>
#include <functional>
#include <memory>
#include <stdexcept>
#include <system_error>

#include "common.h"
#include "refork/asio.hpp"

namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

// A client's connection and the request on it.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(std::shared_ptr<refork::asio::Connection> connection, const example::Options& options)
      : connection_(std::move(connection)), timer_(connection_->executor()), options_(options) {}

  void next_request() {
    in_flight_.end();
    connection_->wait_for_request([self = shared_from_this()] { self->read(); }, buffer_.size());
  }

 private:
  void read() {
    request_ = {};
    answering_ = false;
    http::async_read(connection_->socket(), buffer_, request_,
                     [self = shared_from_this()](error_code error, std::size_t) {
                       if (!error) self->serve();
                     });
  }

  // From here on an error is this request's: everything that route() starts runs in its domain.
  void serve() {
    const auto label = example::label(view(request_.method_string()), view(request_.target()), options_);
    const refork::Domain domain("http");
    in_flight_ = connection_->worker().begin(label, domain);
    domain.on_error([self = shared_from_this()](const refork::Failure&) { self->fail(); });
    domain.run([this] { route(); });
  }

  void fail() {
    if (path() == "/error-handler") throw std::logic_error("the error handler was asked to fail");
    if (answering_) return connection_->drop();
    answer(http::status::internal_server_error, "something went wrong here\n", true);
  }

  void answer(http::status status, std::string body, bool last = false) {
    answering_ = true;
    last = last || !request_.keep_alive() || connection_->must_close();
    response_ = {status, request_.version(), std::move(body)};
    response_.set(http::field::content_type, "text/plain");
    response_.keep_alive(!last);
    response_.prepare_payload();
    http::async_write(connection_->socket(), response_,
                      [self = shared_from_this(), last](error_code error, std::size_t) {
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
    const example::Target target = example::parse_target(view(request_.target()));
    if (target.delay.count() == 0) return route_now();
    timer_.expires_after(target.delay);
    timer_.async_wait([self = shared_from_this()](error_code) { self->route_now(); });
  }

  void route_now() {
    if (path() == "/") return answer(http::status::ok, "ok");
    if (path() == "/pid") return answer(http::status::ok, std::to_string(::getpid()));
    if (path() == "/error" || path() == "/error-handler")
      return later([](error_code) { throw std::runtime_error("this request was asked to fail"); });
    if (path() == "/error-code") return ask_backend();
    if (path() == "/error-late") return fail_late();
    if (path() == "/crash") example::crash();
    if (path() == "/abort") std::abort();
    if (path() == "/hang") example::hang();
    answer(http::status::not_found, "there is nothing here\n");
  }

  // A callback that would be called with an error goes to the domain instead, without a throw.
  void ask_backend() {
    auto answered = refork::Domain::current().intercept(
        [self = shared_from_this()] { self->answer(http::status::ok, "the backend answered"); });
    later([answered](error_code) mutable { answered(std::make_error_code(std::errc::connection_refused)); });
  }

  void fail_late() {
    answering_ = true;
    static constexpr std::string_view kBegun =
        "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first part";
    boost::asio::async_write(connection_->socket(), boost::asio::buffer(kBegun),
                             [self = shared_from_this()](error_code, std::size_t) {
                               throw std::runtime_error("asked to fail after the answer had begun");
                             });
  }

  template <class Function>
  void later(Function function) {
    timer_.expires_after(std::chrono::seconds(0));
    timer_.async_wait(std::move(function));
  }

  std::string_view path() const { return example::parse_target(view(request_.target())).path; }
  static std::string_view view(boost::beast::string_view text) { return {text.data(), text.size()}; }

  const std::shared_ptr<refork::asio::Connection> connection_;
  refork::asio::Timer timer_;
  const example::Options& options_;
  boost::beast::flat_buffer buffer_;
  http::request<http::string_body> request_;
  http::response<http::string_body> response_;
  refork::Request in_flight_;
  bool answering_ = false;
};

}  // namespace

int main(int argc, char** argv) {
  const example::Options options = example::parse_options(argc, argv);
  refork::Worker worker(example::worker_options(options));
  boost::asio::io_context loop{1};
  refork::asio::Server server(loop, worker, [&](std::shared_ptr<refork::asio::Connection> connection) {
    std::make_shared<Session>(std::move(connection), options)->next_request();
  });

  for (const refork::Listener& listener : example::listeners(worker, options)) server.listen(listener);
  worker.ready();
  loop.run();
  return worker.finish();
}
