#pragma once

// librefork for servers on Boost.Asio: an executor whose callbacks run in the domain that scheduled them,
// coroutines that resume in the domain of who awaits, timers that may be added to domains, and an acceptor
// whose connections end the way a drain needs.
//
//   refork::Worker worker;
//   boost::asio::io_context loop{1};
//   refork::asio::Server server(loop, worker,
//                               [](auto connection) { std::make_shared<Session>(connection)->start(); });
//   for (const auto& listener : worker.listeners()) server.listen(listener);
//   worker.ready();
//   loop.run();
//   return worker.finish();

#include "refork/asio/coroutine.hpp"
#include "refork/asio/executor.hpp"
#include "refork/asio/server.hpp"
#include "refork/asio/timer.hpp"
