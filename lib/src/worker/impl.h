#pragma once

#include <pthread.h>
#include <condition_variable>
#include <thread>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "domain/hooks.h"
#include "proto/messages.h"
#include "recorder/writer.h"
#include "refork/worker.hpp"
#include "worker/environment.h"
#include "worker/failure_log.h"
#include "worker/life.h"
#include "worker/link.h"
#include "worker/poller.h"
#include "worker/process.h"

namespace refork {

// The Worker behind its public face. Whoever drives it (the control thread, or the application through
// process()) calls step(); any thread may call the rest.
//
// Two words of state are kept apart: `life_`, what is so, changed by enter() alone; and `told_`, what the
// application was last told. call_out() closes the gap between them, one callback at a time, so that no order
// of events loses a pause or delivers one twice.
class Worker::Impl final : public domain::Sink {
 public:
  explicit Impl(const Options& options);  // throws as Worker's constructor says
  ~Impl() override;

  bool supervised() const noexcept { return link_ != nullptr; }
  const std::vector<Listener>& listeners() const noexcept { return environment_.listeners; }
  int fd() const noexcept { return options_.drive == Drive::fd ? poller_.fd() : -1; }
  void process();

  void ready();
  void record(Failure& failure, Then then, std::uint64_t request) noexcept override;
  void drain(DrainReason reason);
  int finish() noexcept;
  bool send(std::string_view json);

  void on_pause(std::function<void()> callback) { set(on_pause_, std::move(callback)); }
  void on_resume(std::function<void()> callback) { set(on_resume_, std::move(callback)); }
  void on_drain(std::function<void(const Drain&)> callback) { set(on_drain_, std::move(callback)); }
  void on_drained(std::function<void()> callback) { set(on_drained_, std::move(callback)); }
  void on_message(std::function<void(std::string_view)> callback) { set(on_message_, std::move(callback)); }

 private:
  using Clock = std::chrono::steady_clock;
  template <class Signature>
  using Callback = std::shared_ptr<const std::function<Signature>>;

  enum class Told {
    accepting,
    paused,
    draining,
    drained
  };
  enum class Step {
    none,
    pause,
    resume,
    drain,
    drained,
    leave,
    message
  };
  enum class Caller {
    driver,
    failing_thread
  };

  static constexpr std::chrono::seconds verdict_wait{1};  // then it accepts again, with no verdict
  static constexpr std::size_t receive_at_once =
      64;  // messages in one step, so that deadlines keep their turn
  static constexpr std::size_t control_stack = 512 * 1024;
  static constexpr std::uint32_t beats_in_watchdog = 4;
  // Messages kept until on_message takes them; those that come when it is full are dropped.
  static constexpr std::size_t max_early = 1024, max_early_bytes = 1024 * 1024;

  // control.cc
  static worker::Environment environment_or_throw();
  static recorder::Writer& recorder_or_throw(worker::Environment& environment);
  static worker::Poller poller_or_throw();
  void watch_crashes();
  void start_thread();
  void stop_thread() noexcept;
  static void* control_thread(void* self) noexcept;
  void step() noexcept;
  void receive();
  void handle(const proto::Message& message);
  void welcomed(const proto::Welcome& welcome);
  void keep(const std::string& body);
  void primary_lost(int exit_code);
  void primary_gone();
  void expire(Clock::time_point now);
  void post(const proto::Message& message) noexcept;
  void set_timer() noexcept;

  // life.cc
  bool enter(worker::LifeEvent event);  // mutex_ is held; whether anything changed
  void failed();
  bool begin_drain(DrainReason reason, std::optional<std::chrono::milliseconds> within, int exit_code,
                   bool by_itself);
  int exit_code_for(DrainReason reason) const noexcept;
  bool idle() const noexcept;
  Step next_step() const noexcept;  // mutex_ is held
  void call_out(Caller caller) noexcept;
  void perform(Step step, std::unique_lock<std::mutex>& lock) noexcept;
  template <class Signature, class... Args>
  static void call(std::unique_lock<std::mutex>& lock, Callback<Signature> callback,
                   const Args&... args) noexcept;
  void say_goodbye(bool deadline) noexcept;
  [[noreturn]] void leave(int exit_code) noexcept;
  [[noreturn]] static void end_process(int exit_code) noexcept;
  [[noreturn]] void leave_at_deadline() noexcept;

  template <class Signature>
  void set(Callback<Signature>& place, std::function<Signature> callback);

  const Options options_;
  worker::Environment environment_;
  recorder::Writer& writer_;
  worker::Poller poller_;
  const std::unique_ptr<worker::Link> link_;  // none: no reforkd
  worker::FailureLog failures_;
  std::atomic_flag stepping_ = ATOMIC_FLAG_INIT;
  bool channel_closed_ = false;   // the driver's
  bool timeouts_told_ = false;    // the driver's
  Then as_orphan_ = Then::drain;  // the driver's
  std::atomic<bool> ready_said_{false};
  const bool errors_drain_;

  mutable std::mutex mutex_;  // what is below; never held while the application is called
  worker::Life life_ = worker::Life::running;
  Told told_ = Told::accepting;
  bool calling_ = false;  // a callback is running; who runs it looks again afterwards
  std::thread::id caller_;
  std::condition_variable called_;
  std::chrono::milliseconds drain_deadline_, lame_duck_;
  Drain drain_;  // once draining
  int exit_code_ = 0;
  std::optional<Clock::time_point> verdict_due_, timer_set_;
  std::deque<std::string> early_;
  std::size_t early_bytes_ = 0;
  bool early_complained_ = false;
  Callback<void()> on_pause_, on_resume_, on_drained_;
  Callback<void(const Drain&)> on_drain_;
  Callback<void(std::string_view)> on_message_;
  bool thread_running_ = false;
  pthread_t thread_{};
};

template <class Signature>
void Worker::Impl::set(Callback<Signature>& place, std::function<Signature> callback) {
  Callback<Signature> shared;
  if (callback) shared = std::make_shared<const std::function<Signature>>(std::move(callback));
  {
    std::unique_lock lock(mutex_);
    place.swap(shared);
    // What the old callback holds on to may go as soon as this returns.
    called_.wait(lock, [this] { return !calling_ || caller_ == std::this_thread::get_id(); });
  }
  worker::wake();
}

}  // namespace refork
