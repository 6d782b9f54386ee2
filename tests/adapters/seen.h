#pragma once

#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "refork/domain.hpp"

// What the tests of the adapters share: domains whose errors are counted, from any thread.
namespace refork::test {

// A domain with a handler that keeps what it is given. The handler goes with the domain: see released().
class Watched {
 public:
  explicit Watched(const std::string& name)
      : domain(name), shared_(std::make_shared<Shared>()), weak_(shared_) {
    domain.on_error([shared = shared_](const Failure& failure) {
      const std::lock_guard lock(shared->mutex);
      shared->failures.push_back(failure);
    });
  }
  std::vector<Failure> failures() const {
    const std::lock_guard lock(shared_->mutex);
    return shared_->failures;
  }
  std::vector<std::string> messages() const {
    std::vector<std::string> all;
    for (const Failure& failure : failures()) all.push_back(failure.message);
    return all;
  }
  std::size_t count() const { return failures().size(); }
  Failure last() const { return failures().back(); }

  // Lets go of the domain, and says afterwards whether somebody else still holds it.
  void let_go() {
    domain = Domain::empty();
    shared_.reset();
  }
  bool alive() const { return !weak_.expired(); }

  Domain domain;

 private:
  struct Shared {
    std::mutex mutex;
    std::vector<Failure> failures;
  };
  std::shared_ptr<Shared> shared_;
  std::weak_ptr<Shared> weak_;
};

inline std::string active() {
  const Domain domain = Domain::current();
  return domain ? std::string(domain.name()) : "none";
}

[[noreturn]] __attribute__((noinline)) inline void fail_with(const char* message) {
  throw std::runtime_error(message);
}

// D15: as a thrown error arrives that no label or emitter belongs to.
inline bool is_thrown_plainly(const Failure& failure, const std::string& domain) {
  return failure.thrown && failure.kind == Kind::exception && failure.bound.empty() &&
         failure.emitter.empty() && failure.domain == domain;
}

}  // namespace refork::test
