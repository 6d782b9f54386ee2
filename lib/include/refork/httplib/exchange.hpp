#pragma once

// A request on its way through cpp-httplib: it has a domain of its own, in which all that the application
// does for it is run, and whose failure is answered. Included by refork/httplib.hpp.

#include <httplib.h>

#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "refork/domain.hpp"
#include "refork/failure.hpp"
#include "refork/httplib/connection.hpp"
#include "refork/httplib/server.hpp"
#include "refork/worker.hpp"

namespace refork::httplib {

// One request on its way through the library, on the thread that serves it.
class Server::Exchange {
 public:
  Exchange(Server& server, Connection& connection)
      : server_(server), connection_(connection), stream_(connection.stream), domain_("http") {
    // The domain may outlive the exchange, in a callback bound to it, and be used by other threads.
    domain_.on_error([this](const Failure& failure) {
      if (current_ == this) answer(failure);
    });
    current_ = this;
  }
  ~Exchange() {
    Worker::withdraw_answer();
    current_ = nullptr;
    domain_.on_error({});
  }
  Exchange(const Exchange&) = delete;
  Exchange& operator=(const Exchange&) = delete;

  static Exchange* current() noexcept { return current_; }

  void begin(const Request& request) {
    in_flight_ = server_.worker_.begin(server_.label_(request), domain_);
    Worker::prepare_answer(in_flight_, connection_.hold, connection_.socket.get(),
                           request.method == "HEAD" ? kFaultHead : kFaultAnswer);
  }

  // Runs a piece of the application inside the request's domain, under the library's own catch. False after
  // an error; it was answered then, if there was a response to write it to.
  template <class Call>
  bool run(Call call, const Request* request = nullptr, Response* response = nullptr) {
    request_ = request;
    response_ = response;
    failed_ = false;
    if (domain_.run(call) && !failed_) return true;
    close_ = true;
    if (failed_ && answer_ && response) *response = *std::exchange(answer_, std::nullopt);
    if (!answered_) stream_.break_off();
    return false;
  }

  void before_head(Response& response) {
    Worker::withdraw_answer();
    close_ = close_ || server_.worker_.draining();
    begun_ = true;
    response.headers.erase("Keep-Alive");
    if (!close_ && response.get_header_value("Connection") != "close")
      response.set_header("Keep-Alive", "timeout=" + std::to_string(server_.keep_alive_timeout_sec_));
    else if (!response.has_header("Connection"))
      response.set_header("Connection", "close");
    if (!response.body.empty() && !response.content_provider_) stream_.hold_head();
  }

  bool must_close() const noexcept { return close_; }

 private:
  // The error handler: the culprit gets its 500, unless the client has part of another answer already.
  void answer(const Failure& failure) {
    failed_ = true;
    if (response_ == nullptr || begun_) return;
    Response fresh;
    fresh.version = response_->version;
    fresh.status = 500;
    server_.failure_handler_(failure, *request_, fresh);
    answer_ = std::move(fresh);
    answered_ = true;
  }

  static inline thread_local Exchange* current_ = nullptr;

  Server& server_;
  Connection& connection_;
  detail::Stream& stream_;
  Domain domain_;
  refork::Request in_flight_;
  const Request* request_ = nullptr;
  Response* response_ = nullptr;
  std::optional<Response> answer_;  // waits for the handler's end: after a report it goes on
  bool failed_ = false;             // the present piece
  bool begun_ = false;              // the answer's head is on its way
  bool close_ = false;
  bool answered_ = false;
};

// What streams an answer runs after its handler has returned, but is the same request's.
inline void Server::guard_content(Response& response) {
  if (!response.content_provider_) return;
  response.content_provider_ = [provide = std::move(response.content_provider_)](
                                   std::size_t offset, std::size_t length, ::httplib::DataSink& sink) {
    bool more = false;
    return Exchange::current()->run([&] { more = provide(offset, length, sink); }) && more;
  };
}

inline Server::Handler Server::guarded(Handler handler) {
  return [handler = std::move(handler)](const Request& request, Response& response) {
    Exchange::current()->run([&] { handler(request, response); }, &request, &response);
    guard_content(response);
  };
}

inline Server::HandlerWithContentReader Server::guarded(HandlerWithContentReader handler) {
  return [handler = std::move(handler)](const Request& request, Response& response,
                                        const ::httplib::ContentReader& reader) {
    Exchange::current()->run([&] { handler(request, response, reader); }, &request, &response);
    guard_content(response);
  };
}

inline Server::HandlerWithResponse Server::guarded(HandlerWithResponse handler) {
  return [handler = std::move(handler)](const Request& request, Response& response) {
    auto result = HandlerResponse::Handled;  // an error's answer is one
    const bool fine =
        Exchange::current()->run([&] { result = handler(request, response); }, &request, &response);
    return fine ? result : HandlerResponse::Handled;
  };
}

inline void Server::answer_failure(const Failure&, const Request&, Response& response) {
  response.set_content("Internal Server Error\n", "text/plain");
}

inline std::string Server::label_of(const Request& request) {
  return request.method + ' ' + request.target.substr(0, request.target.find('?'));
}

inline Server& Server::set_post_routing_handler(Handler handler) {
  ::httplib::Server::set_post_routing_handler(
      [last = std::move(handler)](const Request& request, Response& response) {
        Exchange& exchange = *Exchange::current();
        const bool fine = exchange.run([&] { last(request, response); }, &request, &response);
        if (!fine) response.set_header("Content-Length", std::to_string(response.body.size()));
        exchange.before_head(response);
      });
  return *this;
}

inline Server& Server::set_logger(::httplib::Logger logger) {
  ::httplib::Server::set_logger(
      [logger = std::move(logger)](const Request& request, const Response& response) {
        Exchange::current()->run([&] { logger(request, response); });
      });
  return *this;
}

}  // namespace refork::httplib
