#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/pace.h"

// Whether a worker's loops run. Pure: what the worker and the kernel say goes in, a verdict comes out.
namespace refork::core {

// A thread, as the kernel's scheduler tells of it.
struct Task {
  char state = 'S';            // proc(5): R runnable, S sleeping, D waiting for a device, T stopped, ...
  std::uint64_t run_ns = 0;    // has run
  std::uint64_t delay_ns = 0;  // has waited for a processor
  std::uint64_t slices = 0;    // how often it got one
};

// One thread that beats.
struct Pulse {
  std::uint32_t thread = 0;
  Millis silent{0};  // since its last beat
  std::optional<Task> task;
};

struct HealthVerdict {
  enum class State {
    fine,
    starved,  // silent for too long, but for want of a processor
    hung
  };
  State state = State::fine;
  std::uint32_t thread = 0;
  Millis silent{0};
  Millis waited{0};  // of it, for a processor
};

// Of one worker; looked at every now and then, several times within `watchdog`. Time that a thread waited for
// a processor is no silence, nor is the time in which nobody looked: then this process did not run either.
class Health {
 public:
  explicit Health(Millis watchdog) : watchdog_(watchdog) {}
  HealthVerdict look(const std::vector<Pulse>& pulses, Time now);  // the worst of its threads

 private:
  struct Known {
    Time since;  // its last beat was seen, or it was first seen
    Task task;   // then
    Millis unseen{0};
    Task last;   // as it was found
    Time still;  // since when it has been found like that: it has not run
  };
  HealthVerdict judge(const Pulse& pulse, const Known& known, Time now) const;

  Millis watchdog_;
  std::optional<Time> last_look_;
  std::map<std::uint32_t, Known> known_;
};

// "its loop has not beaten for 10.2s (watchdog 10s)"
std::string say_hang(const HealthVerdict& verdict, Millis watchdog);
std::string say_starvation(const HealthVerdict& verdict);

}  // namespace refork::core
