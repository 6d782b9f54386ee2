#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "support/http.h"

namespace refork::test {

// A request that got no whole answer, for whom it matters which one.
struct LostRequest {
  Clock::time_point begun, lost;
  std::string last_body;  // of the answer before on the same connection; empty for its first request
};

// Closed-loop load: each client sends a request, waits for its whole answer, pauses, and sends the next.
// Culprits are further requests at a fixed rate, whatever the clients do.
struct LoadOptions {
  Address address;
  std::string path = "/";
  int clients = 16;
  bool keep_alive = true;                    // otherwise a new connection for each request
  bool reconnect = true;                     // otherwise a client ends with its connection
  std::chrono::microseconds pause{0};        // between an answer and the next request on the same connection
  std::chrono::milliseconds duration{0};     // 0: until Load::stop()
  std::chrono::milliseconds patience{5000};  // no whole answer for so long: hung

  std::string culprit_path;                              // empty: no culprits
  double culprit_rate = 1;                               // a second
  std::function<void(const LostRequest&)> on_lost = {};  // of bystanders, on the load's thread

  bool culprits_in_pool = false;  // on the clients' connections instead of connections of their own
};

// What became of requests; every request that was begun is in exactly one of these.
struct Outcomes {
  std::uint64_t sent = 0;               // the sum of all that follows
  std::map<int, std::uint64_t> status;  // whole answers
  std::uint64_t refused = 0;            // ECONNREFUSED
  std::uint64_t unconnected = 0;        // no connection for another reason
  std::uint64_t lost = 0;               // reset or closed before the whole answer
  std::uint64_t hung = 0;               // no whole answer in time

  std::uint64_t answers(int code) const;
  std::uint64_t ok() const { return answers(200); }
  std::uint64_t not_ok() const;  // whole answers other than 200
};

struct LoadResult {
  Outcomes bystanders;
  Outcomes culprits;
  std::uint64_t connections = 0;
  std::uint64_t closed_idle = 0;       // by the server, with no request under way: harmless
  std::uint64_t closed_by_answer = 0;  // answers with Connection: close
  std::chrono::milliseconds duration{0};
  std::vector<std::uint32_t> latencies_us;  // of bystanders' whole answers, sorted

  // A bystander noticed something.
  std::uint64_t noticed() const;
  std::uint32_t latency_us(double quantile) const;
  double per_second() const;
  std::string summary() const;
  std::string json() const;
};

// Runs the load and returns when it is over. Requests under way at the end are waited for.
LoadResult run_load(const LoadOptions& options);

// The same beside the test, on a thread of its own.
class Load {
 public:
  explicit Load(LoadOptions options);
  ~Load();
  LoadResult stop();                                 // ends it, if its duration has not yet, and waits
  LoadResult wait();                                 // until its duration has passed
  std::uint64_t ok() const noexcept { return ok_; }  // so far
  std::uint64_t culprits_done() const noexcept { return culprits_; }

 private:
  LoadOptions options_;
  std::atomic<bool> stop_{false};
  std::atomic<std::uint64_t> ok_{0};
  std::atomic<std::uint64_t> culprits_{0};
  LoadResult result_;
  std::thread thread_;
};

}  // namespace refork::test
