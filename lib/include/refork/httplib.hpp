#pragma once

// librefork for servers on cpp-httplib (0.11): its routing and its protocol, with connections, threads and
// accepting done here. The library's own listen() cannot be used by a worker: its stop() shuts the listening
// socket down for all workers, it takes a shared listener's EAGAIN for the end, and its idle connections
// notice no drain.
//
//   refork::Worker worker;
//   refork::httplib::Server server(worker);
//   server.Get("/", [](const httplib::Request&, httplib::Response& response) { … });
//   for (const auto& listener : worker.listeners()) server.listen(listener);
//   worker.ready();
//   server.run();
//   return worker.finish();

#include "refork/httplib/connection.hpp"
#include "refork/httplib/exchange.hpp"
#include "refork/httplib/server.hpp"
#include "refork/httplib/serving.hpp"
