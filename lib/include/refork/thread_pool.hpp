#pragma once

// A pool of threads whose jobs run in the domain that submitted them.

#include <algorithm>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

#include "refork/future.hpp"

namespace refork {

// A fixed number of threads and one queue. All members but the destructor may be called from any thread. Each
// job runs in the domain that was active when it was posted or submitted, which it keeps alive; what it
// throws never reaches the pool, nor does a domain reach the next job.
class ThreadPool {
 public:
  static constexpr std::size_t kUnbounded = std::numeric_limits<std::size_t>::max();

  // `capacity`: of jobs that wait for a thread.
  explicit ThreadPool(std::size_t threads = std::max(1U, std::thread::hardware_concurrency()),
                      std::size_t capacity = kUnbounded)
      : capacity_(capacity) {
    try {
      for (std::size_t i = 0; i < std::max<std::size_t>(1, threads); ++i)
        threads_.emplace_back([this] { serve(); });
    } catch (...) {
      join();  // those that there are: the system gives no more
      throw;
    }
  }
  // Waits for the jobs that run. Those that wait are not run any more, and say so: Cancelled goes to their
  // Future, or to their domain. Not to be called by a job of the pool.
  ~ThreadPool() {
    std::deque<Job> cancelled;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = cancelling_ = true;
      cancelled.swap(queue_);
    }
    end();
    for (Job& job : cancelled) job.cancel();
  }
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  // Runs what waits, and ends the threads. Then nothing is taken any more. Not to be called by a job of the
  // pool.
  void join() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    end();
  }

  // Calls f on a thread of the pool; what it throws goes to the domain. Waits for a place if the queue is
  // full, unless it is called by a job of this pool: then there is always one, because none may ever come
  // free. Throws Cancelled once the pool ends.
  template <class F>
  void post(F&& f) {
    push(posted(std::forward<F>(f)), true);
  }
  // The same without waiting: false, and f is not kept, if the queue is full.
  template <class F>
  [[nodiscard]] bool try_post(F&& f) {
    return push(posted(std::forward<F>(f)), false);
  }

  // As post, with a result.
  template <class F>
  auto submit(F&& f) {
    using R = std::invoke_result_t<std::decay_t<F>&>;
    const auto state = std::make_shared<detail::FutureState<R>>(detail::active_or_own("pool"));
    push({detail::Task([state, f = std::decay_t<F>(std::forward<F>(f))]() mutable { state->run(f); }),
          detail::Task([state] { state->fail(std::make_exception_ptr(Cancelled())); })},
         true);
    return Future<R>(state, nullptr);
  }

 private:
  struct Job {
    detail::Task run;
    detail::Task cancel;
  };

  template <class F>
  static Job posted(F&& f) {
    const Domain domain = detail::active_or_own("pool");
    return {
        detail::Task(domain.bind([f = std::decay_t<F>(std::forward<F>(f))]() mutable { std::invoke(f); })),
        detail::Task([domain] { detail::tell(domain, std::make_exception_ptr(Cancelled())); })};
  }

  bool push(Job job, bool wait) {
    const bool own = running_ == this;
    std::unique_lock lock(mutex_);
    if (!wait && !stopping_ && queue_.size() >= capacity_) return false;
    if (!own) room_.wait(lock, [this] { return stopping_ || queue_.size() < capacity_; });
    // What a job posts while the pool is joined is still run: its own thread will look for it.
    if (cancelling_ || (stopping_ && !own)) throw Cancelled();
    queue_.push_back(std::move(job));
    work_.notify_one();
    return true;
  }

  void serve() {
    running_ = this;
    std::unique_lock lock(mutex_);
    while (true) {
      work_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
      if (queue_.empty()) return;
      Job job = std::move(queue_.front());
      queue_.pop_front();
      room_.notify_one();
      lock.unlock();
      job.run();
      job = Job();  // with what it held, while nothing is locked
      lock.lock();
    }
  }

  void end() {
    work_.notify_all();
    room_.notify_all();
    const std::lock_guard one_at_a_time(ending_);
    for (std::thread& thread : threads_)
      if (thread.joinable()) thread.join();
  }

  static inline thread_local ThreadPool* running_ = nullptr;  // whose job this thread runs

  const std::size_t capacity_;
  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable room_;
  std::deque<Job> queue_;
  bool stopping_ = false;    // nothing is taken any more but from the pool's own jobs
  bool cancelling_ = false;  // nor from those
  std::mutex ending_;        // whoever joins the threads
  std::vector<std::thread> threads_;
};

}  // namespace refork
