#pragma once

// librefork for servers on libuv: its functions with callbacks, whose callbacks run in the domain that was
// active when they were started, timers and watchers that may be added to domains, and an acceptor whose
// connections end the way a drain needs.
//
//   refork::Worker worker;
//   uv_loop_t* loop = uv_default_loop();
//   refork::uv::Server server(loop, worker,
//                             [](auto connection) { std::make_shared<Session>(connection)->start(); });
//   for (const auto& listener : worker.listeners()) server.listen(listener);
//   worker.ready();
//   uv_run(loop, UV_RUN_DEFAULT);
//   return worker.finish();

#include "refork/uv/callbacks.hpp"
#include "refork/uv/emitters.hpp"
#include "refork/uv/server.hpp"
