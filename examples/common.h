#pragma once

// What the example servers share and what has nothing to do with refork: options, a socket of their own,
// targets.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "refork/worker.hpp"

namespace example {

struct Options {
  std::optional<std::uint16_t> port;  // --port P: serve on a socket of our own; 0: any free port
  bool show_query = false;            // --show-query: requests are labelled with their query
  std::size_t threads = 64;           // --threads N (http_threads)
  bool contain_faults = false;        // --contain-faults (http_threads)
};

// Ends the process with a sentence if the arguments make no sense.
Options parse_options(int argc, char** argv);

// A query is recorded only if it may be shown, whatever a label holds.
refork::Worker::Options worker_options(const Options& options);

// The sockets that were passed on, or one of our own on the loopback. Prints "listening on ADDRESS" for each.
std::vector<refork::Listener> listeners(const refork::Worker& worker, const Options& options);

// "/search?delay=5" in its parts.
struct Target {
  std::string_view path;
  std::chrono::milliseconds delay{0};
};
Target parse_target(std::string_view target);

// "GET /search", with the query only if it may be shown.
std::string label(std::string_view method, std::string_view target, const Options& options);

// What /crash, /abort and /hang do. None returns.
[[noreturn]] void crash();
[[noreturn]] void hang();

}  // namespace example
