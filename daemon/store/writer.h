#pragma once

#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/unique_fd.h"
#include "store/engine.h"

namespace refork::store {

// Times, so that a test need not wait for them.
struct Tuning {
  std::chrono::milliseconds retry{3000};     // between attempts to write what could not be written
  std::chrono::milliseconds patience{5000};  // of close() with a disk that does not answer
};

// The store's thread, with a bounded queue to it and what is finished back from it. Public members are for
// the main thread. The thread holds a reference to it too: one that is stuck in a dead disk is left behind,
// and harms nothing.
class Writer {
 public:
  using Call = std::function<void()>;

  static constexpr std::size_t max_questions = 64;  // in the queue; a further one is answered with EBUSY
  static constexpr std::size_t stack_size = 256 * 1024;

  struct Question {
    std::function<Call(Engine&)> ask;             // on the thread; its answer is called on the main thread
    std::function<Call(base::Error)> cannot_ask;  // makes the answer where the thread cannot be asked
  };

  // What dispatch() has to do: to call `calls` in order, and to destroy `discarded`, which must not be
  // called.
  struct Finished {
    std::vector<Call> calls, discarded;
    bool status_changed = false;
  };

  static std::shared_ptr<Writer> start(const std::string& state_dir, core::StoreConfig config, Tuning tuning);

  void add(core::FailureRow row, Call stored);
  void add(core::EndRow row, Call stored);
  void ask(Question question);
  void reserve_worker_ids(std::uint64_t up_to);
  void stop();

  int fd() const noexcept { return wakeup_.get(); }
  Finished take_finished();
  core::StoreStatus status() const;
  std::uint64_t last_worker_id() const;  // waits until the file is open

 private:
  template <class T>
  struct Add {
    T row;
    Call stored;
  };
  using Job = std::variant<Add<core::FailureRow>, Add<core::EndRow>, Question>;

  Writer(const std::string& state_dir, core::StoreConfig config, Tuning tuning);
  bool start_thread(std::shared_ptr<Writer> self);
  void join(bool ended);
  void push_row(Job job);
  void drop_oldest_row();
  void end(const std::string& why);
  void announce();

  // The thread's.
  static void* enter(void* self) noexcept;
  void run();
  void open();
  bool wait(std::deque<Job>& jobs);
  void perform(Job& job);
  void write(bool at_once);
  void settle(Call call, bool safe);
  void publish();

  const Tuning tuning_;
  Engine engine_;  // the thread's alone once it runs
  Engine::Clock::time_point next_try_;
  base::UniqueFd wakeup_;
  Finished outbox_;       // the thread's, until it publishes
  std::size_t kept_ = 0;  // rows the engine has got since then
  pthread_t thread_{};
  bool started_ = false;

  mutable std::mutex mutex_;  // holds for all below
  std::condition_variable pushed_, ended_;
  mutable std::condition_variable opened_;
  std::deque<Job> jobs_;
  std::size_t rows_ = 0, questions_ = 0;  // in jobs_
  std::size_t in_hand_ = 0;               // rows taken from there, which the engine has not got yet
  std::uint64_t reserve_ = 0;
  std::uint64_t overflowed_ = 0;
  Finished finished_;
  core::StoreStatus status_;
  std::optional<std::uint64_t> last_worker_id_;  // nothing: the file is not open yet
  bool stopping_ = false, over_ = false;
};

}  // namespace refork::store
