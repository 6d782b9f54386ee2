#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace refork::os {

// A thread for what may take its time, such as a file on a dead disk. It is started at the first use. What it
// is stuck in when this object goes is left behind, and harms nothing. Everything here is for the main
// thread.
class Background {
 public:
  using Done = std::function<void()>;
  using Work = std::function<Done()>;  // on the thread; what it returns is called by dispatch()

  static constexpr std::size_t max_waiting = 256;

  Background();
  ~Background();
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;

  bool run(Work work);      // false: there is too much already, or no thread to be had
  int fd() const noexcept;  // readable: dispatch() has something to do
  void dispatch();

 private:
  struct State;
  static void work_off(const std::shared_ptr<State>& state);
  std::shared_ptr<State> state_;
};

}  // namespace refork::os
