#pragma once

#include <array>
#include <cstdint>
#include <future>
#include <random>
#include <string>
#include <vector>

#include "chaos/arena.h"

namespace refork::chaos {

// Seeded: the same seed does the same things in the same order, as far as time and the kernel let it.
class Faults {
 public:
  Faults(Arena& arena, std::uint64_t seed) : arena_(arena), random_(seed) {}

  void one();                         // the next one
  std::chrono::milliseconds pause();  // until the one after it
  void make_good();                   // what was stopped goes on, what was scaled is as it was
  std::size_t count() const { return count_; }
  // Culprits that did not end as they must.
  std::vector<std::string> problems();

 private:
  struct Kind {
    const char* name;
    unsigned weight;
    void (Faults::*act)();
  };
  static const std::vector<Kind>& kinds();
  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }
  void ask(const char* path, int status);  // 0: no whole answer
  void signal(int number);
  void order(std::vector<std::string> words);
  void say(const std::string& what);

  void error() { ask("/error", 500); }
  void error_code() { ask("/error-code", 500); }
  void error_late() { ask("/error-late", 0); }
  void crash() { ask("/crash", service_ == kContained ? 500 : 0); }
  void abort() { ask("/abort", service_ == kContained ? 500 : 0); }
  void hang();
  void kill_worker();
  void terminate_worker();
  void stop_worker();
  void go_on();
  void reload();
  void scale();
  void drain();
  void ctl_kill();
  void kill_reforkd();
  void kill_keeper();

  Arena& arena_;
  std::mt19937_64 random_;
  std::size_t count_ = 0;
  std::size_t service_ = 0;  // of the fault under way
  pid_t stopped_ = 0;
  test::Clock::time_point stopped_at_;
  std::vector<std::future<std::string>> culprits_;
  std::vector<std::future<void>> orders_;
  std::vector<std::string> problems_;
};

}  // namespace refork::chaos
