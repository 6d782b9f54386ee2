// The store's thread and the two ways between it and the main thread. It moves rows, questions and answers;
// what is done with them is the Engine's matter.
#include "store/writer.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <iterator>
#include <utility>

#include "store/store.h"

namespace refork::store {
namespace {

bool same(const core::StoreStatus& a, const core::StoreStatus& b) {
  return a.state == b.state && a.why == b.why && a.path == b.path;
}

// No signal is for this thread; SIGXFSZ, which a file size limit sends to the writer, becomes EFBIG by it.
class AllSignalsBlocked {
 public:
  AllSignalsBlocked() {
    sigset_t all;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~AllSignalsBlocked() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  AllSignalsBlocked(const AllSignalsBlocked&) = delete;
  AllSignalsBlocked& operator=(const AllSignalsBlocked&) = delete;

 private:
  sigset_t before_;
};

}  // namespace

std::shared_ptr<Writer> Writer::start(const std::string& state_dir, core::StoreConfig config, Tuning tuning) {
  const std::shared_ptr<Writer> writer(new Writer(state_dir, config, tuning));
  if (!writer->start_thread(writer)) {
    const AllSignalsBlocked blocked;
    writer->open();
    writer->end("the store's thread cannot be started: no more threads");
  }
  return writer;
}

Writer::Writer(const std::string& state_dir, core::StoreConfig config, Tuning tuning)
    : tuning_(tuning),
      engine_(state_dir, config, [this](Call call, bool safe) { settle(std::move(call), safe); }),
      wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      status_(engine_.status()) {}

bool Writer::start_thread(std::shared_ptr<Writer> self) {
  const AllSignalsBlocked inherited;
  pthread_attr_t attributes;
  if (::pthread_attr_init(&attributes) != 0) return false;
  ::pthread_attr_setstacksize(&attributes, stack_size);
  auto reference = std::make_unique<std::shared_ptr<Writer>>(std::move(self));
  started_ = ::pthread_create(&thread_, &attributes, &Writer::enter, reference.get()) == 0;
  ::pthread_attr_destroy(&attributes);
  if (started_) static_cast<void>(reference.release());  // enter() takes it
  return started_;
}

void* Writer::enter(void* self) noexcept {
  const std::unique_ptr<std::shared_ptr<Writer>> reference(static_cast<std::shared_ptr<Writer>*>(self));
  Writer& writer = **reference;
  ::pthread_setname_np(::pthread_self(), "refork-store");
  try {
    writer.run();
    writer.end({});
  } catch (const std::exception& error) {
    writer.end(std::string("the store's thread has ended: ") + error.what());
  }
  return nullptr;
}

// Main thread: to the thread.

void Writer::add(core::FailureRow row, Call stored) {
  push_row(Add<core::FailureRow>{std::move(row), std::move(stored)});
}

void Writer::add(core::EndRow row, Call stored) {
  push_row(Add<core::EndRow>{std::move(row), std::move(stored)});
}

void Writer::push_row(Job job) {
  const std::lock_guard lock(mutex_);
  jobs_.push_back(std::move(job));
  ++rows_;
  if (rows_ > Store::max_waiting || over_) drop_oldest_row();
  pushed_.notify_one();
}

void Writer::drop_oldest_row() {
  const auto oldest = std::find_if(jobs_.begin(), jobs_.end(),
                                   [](const Job& job) { return !std::holds_alternative<Question>(job); });
  Call& stored = oldest->index() == 0 ? std::get<0>(*oldest).stored : std::get<1>(*oldest).stored;
  finished_.discarded.push_back(std::move(stored));
  jobs_.erase(oldest);
  --rows_;
  ++overflowed_;
  announce();
}

void Writer::ask(Question question) {
  const std::lock_guard lock(mutex_);
  if (stopping_ || over_) {
    finished_.calls.push_back(question.cannot_ask(base::Error{ESHUTDOWN, "the store is closed"}));
    announce();
  } else if (questions_ >= max_questions) {
    finished_.calls.push_back(question.cannot_ask(
        base::Error{EBUSY, "the store has not yet answered earlier questions; try again later"}));
    announce();
  } else {
    jobs_.push_back(std::move(question));
    ++questions_;
    pushed_.notify_one();
  }
}

void Writer::reserve_worker_ids(std::uint64_t up_to) {
  const std::lock_guard lock(mutex_);
  reserve_ = std::max(reserve_, up_to);
  pushed_.notify_one();
}

void Writer::stop() {
  std::unique_lock lock(mutex_);
  if (!started_) return;
  stopping_ = true;
  pushed_.notify_one();
  const bool ended = ended_.wait_for(lock, tuning_.patience, [this] { return over_; });
  lock.unlock();
  if (!ended) {
    engine_.interrupt();
    end("the disk has not answered in time");
  }
  join(ended);
}

void Writer::join(bool ended) {
  if (ended)
    ::pthread_join(thread_, nullptr);
  else
    ::pthread_detach(thread_);
  started_ = false;
}

// Nothing more is done: who asked is told, and what could not be stored stays with whoever had it.
void Writer::end(const std::string& why) {
  const std::lock_guard lock(mutex_);
  over_ = true;
  while (rows_ > 0) drop_oldest_row();
  for (Job& job : jobs_)
    finished_.calls.push_back(
        std::get<Question>(job).cannot_ask(base::Error{ESHUTDOWN, "the store is closed"}));
  jobs_.clear();
  questions_ = 0;
  if (!why.empty()) {
    status_.state = "degraded";
    status_.why = why;
    finished_.status_changed = true;
  }
  announce();
  opened_.notify_all();
  ended_.notify_all();
}

Writer::Finished Writer::take_finished() {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(wakeup_.get(), &count, sizeof count);
  const std::lock_guard lock(mutex_);
  return std::exchange(finished_, {});
}

core::StoreStatus Writer::status() const {
  const std::lock_guard lock(mutex_);
  core::StoreStatus status = status_;
  status.waiting += rows_ + in_hand_;
  status.dropped += overflowed_;
  return status;
}

std::uint64_t Writer::last_worker_id() const {
  std::unique_lock lock(mutex_);
  opened_.wait(lock, [this] { return last_worker_id_ || over_; });
  return last_worker_id_.value_or(0);
}

void Writer::announce() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(wakeup_.get(), &one, sizeof one);
}

// The thread.

void Writer::run() {
  std::deque<Job> jobs;
  open();
  while (wait(jobs)) {
    for (Job& job : jobs) perform(job);
    jobs.clear();
    write(false);
    publish();
  }
  write(true);
  engine_.close();
  publish();
}

void Writer::open() {
  engine_.open(Engine::Clock::now());
  next_try_ = Engine::Clock::now() + tuning_.retry;
  publish();
  const std::lock_guard lock(mutex_);
  last_worker_id_ = engine_.last_worker_id();
  opened_.notify_all();
}

// False: stop, and nothing is left in the queue. Time ends the wait only while something could not be
// written.
bool Writer::wait(std::deque<Job>& jobs) {
  std::unique_lock lock(mutex_);
  const auto called = [this] { return stopping_ || !jobs_.empty() || reserve_ > 0; };
  if (engine_.waits())
    pushed_.wait_until(lock, next_try_, called);
  else
    pushed_.wait(lock, called);
  if (const std::uint64_t up_to = std::exchange(reserve_, 0); up_to > 0) engine_.reserve_worker_ids(up_to);
  jobs.swap(jobs_);
  in_hand_ = std::exchange(rows_, 0);
  questions_ = 0;
  return !jobs.empty() || !stopping_;
}

void Writer::perform(Job& job) {
  if (auto* failure = std::get_if<Add<core::FailureRow>>(&job)) {
    engine_.keep(failure->row, std::move(failure->stored));
    ++kept_;
  } else if (auto* end_row = std::get_if<Add<core::EndRow>>(&job)) {
    engine_.keep(end_row->row, std::move(end_row->stored));
    ++kept_;
  } else {
    write(false);  // so that all that was asked for before is answered before
    outbox_.calls.push_back(std::get<Question>(job).ask(engine_));
    publish();
  }
}

void Writer::write(bool at_once) {
  const auto now = Engine::Clock::now();
  if (engine_.degraded() && now < next_try_ && !at_once) return;
  if (!engine_.write(now)) next_try_ = Engine::Clock::now() + tuning_.retry;
}

void Writer::settle(Call call, bool safe) {
  if (call) (safe ? outbox_.calls : outbox_.discarded).push_back(std::move(call));
}

// Answers and status leave together, so that whoever gets an answer finds the status that belongs to it.
void Writer::publish() {
  const std::lock_guard lock(mutex_);
  in_hand_ -= std::exchange(kept_, 0);
  if (!over_) {
    outbox_.status_changed = !same(status_, engine_.status());
    status_ = engine_.status();
  }
  if (outbox_.calls.empty() && outbox_.discarded.empty() && !outbox_.status_changed) return;
  std::move(outbox_.calls.begin(), outbox_.calls.end(), std::back_inserter(finished_.calls));
  std::move(outbox_.discarded.begin(), outbox_.discarded.end(), std::back_inserter(finished_.discarded));
  finished_.status_changed |= outbox_.status_changed;
  outbox_ = {};
  announce();
}

}  // namespace refork::store
