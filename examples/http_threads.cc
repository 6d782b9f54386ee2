// An HTTP server on cpp-httplib, a pool of threads, as a worker of reforkd. What links it is refork::Worker,
// refork::httplib::Server in place of httplib::Server, and the four lines in main() that serve until the
// worker has drained.
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <thread>

#include "common.h"
#include "refork/httplib.hpp"

namespace {

using httplib::Request;
using httplib::Response;
using Server = refork::httplib::Server;

void routes(Server& server) {
  server.set_pre_routing_handler([](const Request& request, Response&) {
    std::this_thread::sleep_for(example::parse_target(request.target).delay);
    return Server::HandlerResponse::Unhandled;
  });
  server.Get("/", [](const Request&, Response& response) { response.set_content("ok", "text/plain"); });
  server.Get("/pid", [](const Request&, Response& response) {
    response.set_content(std::to_string(::getpid()), "text/plain");
  });
  server.Get("/error",
             [](const Request&, Response&) { throw std::runtime_error("this request was asked to fail"); });
  server.Get("/error-code", [](const Request&, Response&) {
    throw std::system_error(std::make_error_code(std::errc::connection_refused), "backend");
  });
  server.Get("/error-late", [](const Request&, Response& response) {
    response.set_chunked_content_provider("text/plain", [](std::size_t, httplib::DataSink& sink) {
      sink.write("the first part", 14);
      throw std::runtime_error("this request was asked to fail after its answer had begun");
      return false;
    });
  });
  server.Get("/error-handler", [](const Request&, Response&) {
    throw std::runtime_error("this request was asked to fail twice");
  });
  server.Get("/crash", [](const Request&, Response&) { example::crash(); });
  server.Get("/abort", [](const Request&, Response&) { std::abort(); });
  server.Get("/hang", [](const Request&, Response&) { example::hang(); });
}

void answer_failure(const refork::Failure&, const Request& request, Response& response) {
  if (request.path == "/error-handler") throw std::logic_error("the error handler was asked to fail");
  response.set_content("something went wrong here\n", "text/plain");
}

}  // namespace

int main(int argc, char** argv) {
  const example::Options options = example::parse_options(argc, argv);
  refork::Worker worker(example::worker_options(options));
  Server server(worker, options.threads);
  server.set_label(
      [&](const Request& request) { return example::label(request.method, request.target, options); });
  server.on_failure(answer_failure);
  routes(server);

  for (const refork::Listener& listener : example::listeners(worker, options)) server.listen(listener);
  worker.ready();
  server.run();
  return worker.finish();
}
