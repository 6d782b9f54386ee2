// The worker for C: the C++ one under another name, with its callbacks as function and argument.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <new>
#include <stdexcept>

#include "c/error.h"
#include "domain/snapshot.h"
#include "refork/worker.hpp"

using namespace refork;
using c::unwrap;

namespace {

static_assert(static_cast<int>(Worker::Drive::thread) == REFORK_DRIVE_THREAD);
static_assert(static_cast<int>(Worker::Drive::fd) == REFORK_DRIVE_FD);
static_assert(static_cast<int>(Worker::Standalone::automatic) == REFORK_STANDALONE_AUTOMATIC);
static_assert(static_cast<int>(Worker::Standalone::serve) == REFORK_STANDALONE_SERVE);
static_assert(static_cast<int>(Worker::Standalone::drain) == REFORK_STANDALONE_DRAIN);
static_assert(static_cast<int>(DrainReason::error) == REFORK_DRAIN_ERROR);
static_assert(static_cast<int>(DrainReason::operator_) == REFORK_DRAIN_OPERATOR);
static_assert(static_cast<int>(DrainReason::reload) == REFORK_DRAIN_RELOAD);
static_assert(static_cast<int>(DrainReason::recycle) == REFORK_DRAIN_RECYCLE);
static_assert(static_cast<int>(DrainReason::stop) == REFORK_DRAIN_STOP);

// An in-flight request and a hold live in the memory of the C program, where all zero is an ended one.
static_assert(sizeof(Request) <= sizeof(refork_request) && alignof(Request) <= alignof(refork_request));
static_assert(sizeof(Hold) <= sizeof(refork_hold) && alignof(Hold) <= alignof(refork_hold));

Request& unwrap(refork_request* request) { return *std::launder(reinterpret_cast<Request*>(request)); }
Hold& unwrap(refork_hold* hold) { return *std::launder(reinterpret_cast<Hold*>(hold)); }
Worker& unwrap(const refork_worker* worker) {
  return *reinterpret_cast<Worker*>(const_cast<refork_worker*>(worker));
}

Worker::Options options_of(const refork_worker_options& given) {
  Worker::Options options;
  options.drive = static_cast<Worker::Drive>(given.drive);
  options.standalone = static_cast<Worker::Standalone>(given.standalone);
  options.drain_deadline = std::chrono::milliseconds(given.drain_deadline_ms);
  options.lame_duck = std::chrono::milliseconds(given.lame_duck_ms);
  options.exit_requested = given.exit_requested;
  options.exit_error = given.exit_error;
  options.exit_deadline = given.exit_deadline;
  options.show_query = given.show_query != 0;
  options.contain_faults = given.contain_faults != 0;
  return options;
}

refork_drain drain_of(const Drain& drain) {
  using namespace std::chrono;
  const auto left = duration_cast<milliseconds>(drain.deadline - steady_clock::now());
  return {sizeof(refork_drain), static_cast<refork_drain_reason>(drain.reason),
          static_cast<std::uint32_t>(drain.lame_duck.count()),
          static_cast<std::uint32_t>(std::max<milliseconds::rep>(left.count(), 0))};
}

using Setter = void (Worker::*)(std::function<void()>);
int set(refork_worker* worker, Setter setter, refork_function function, void* arg) {
  return c::guarded([&] {
    std::function<void()> callback;
    if (function) callback = [function, arg] { function(arg); };
    (unwrap(worker).*setter)(std::move(callback));
  });
}

}  // namespace

extern "C" {

int refork_worker_open(refork_worker** worker, const refork_worker_options* options) {
  refork_worker_options given = REFORK_WORKER_OPTIONS_INIT;
  if (options) c::take_over(given, *options);
  const int drive = c::number_of(given.drive), standalone = c::number_of(given.standalone);
  if (drive < REFORK_DRIVE_THREAD || drive > REFORK_DRIVE_FD) return c::fail(EINVAL, "no such refork_drive");
  if (standalone < REFORK_STANDALONE_AUTOMATIC || standalone > REFORK_STANDALONE_DRAIN)
    return c::fail(EINVAL, "no such refork_standalone");
  try {
    *worker = reinterpret_cast<refork_worker*>(new Worker(options_of(given)));
    return 0;
  } catch (const std::logic_error& error) {
    return c::fail(EEXIST, error.what());
  } catch (const std::runtime_error& error) {
    return c::fail(EPROTO, error.what());
  } catch (...) {
    return c::fail_with_current_exception();
  }
}

void refork_worker_close(refork_worker* worker) {
  if (worker) delete &unwrap(worker);
}

refork_worker* refork_worker_current(void) { return reinterpret_cast<refork_worker*>(Worker::current()); }
int refork_worker_supervised(const refork_worker* worker) { return unwrap(worker).supervised() ? 1 : 0; }
size_t refork_worker_listeners(const refork_worker* worker) { return unwrap(worker).listeners().size(); }

int refork_worker_listener(const refork_worker* worker, size_t index, refork_listener* listener) {
  const auto& all = unwrap(worker).listeners();
  if (index >= all.size()) return -ENOENT;
  const Listener& found = all[index];
  c::hand_over(*listener, {sizeof(refork_listener), found.fd, found.name.c_str(), found.address.c_str()});
  return 0;
}

void refork_worker_ready(refork_worker* worker) {
  c::guarded([&] { unwrap(worker).ready(); });
}

void refork_request_begin(refork_worker* worker, const char* label, refork_domain* domain,
                          refork_request* request) {
  Request begun = unwrap(worker).begin(c::or_empty(label), detail::State::handle(unwrap(domain)));
  ::new (static_cast<void*>(request)) Request(std::move(begun));
}

void refork_request_end(refork_request* request) { unwrap(request).end(); }

void refork_request_timeout(refork_request* request, uint32_t ms) {
  unwrap(request).timeout(std::chrono::milliseconds(ms));
}

void refork_worker_beat(refork_worker* worker) { unwrap(worker).beat(); }
uint32_t refork_worker_beat_every(const refork_worker* worker) {
  const auto every = unwrap(worker).beat_every();
  return every ? static_cast<uint32_t>(every->count()) : 0;
}

void refork_answer_prepare(const refork_request* request, const refork_hold* hold, int fd, const char* bytes,
                           size_t size) {
  const Hold none;
  Worker::prepare_answer(unwrap(const_cast<refork_request*>(request)),
                         hold ? unwrap(const_cast<refork_hold*>(hold)) : none, fd, {bytes, size});
}
void refork_answer_withdraw(void) { Worker::withdraw_answer(); }

void refork_hold_take(refork_worker* worker, refork_hold* hold) {
  ::new (static_cast<void*>(hold)) Hold(unwrap(worker).hold());
}

void refork_hold_release(refork_hold* hold) { unwrap(hold).release(); }

int refork_worker_on_pause(refork_worker* worker, refork_function function, void* arg) {
  return set(worker, &Worker::on_pause, function, arg);
}
int refork_worker_on_resume(refork_worker* worker, refork_function function, void* arg) {
  return set(worker, &Worker::on_resume, function, arg);
}
int refork_worker_on_drained(refork_worker* worker, refork_function function, void* arg) {
  return set(worker, &Worker::on_drained, function, arg);
}

int refork_worker_on_drain(refork_worker* worker, void (*function)(const refork_drain* drain, void* arg),
                           void* arg) {
  return c::guarded([&] {
    std::function<void(const Drain&)> callback;
    if (function)
      callback = [function, arg](const Drain& drain) {
        const refork_drain told = drain_of(drain);
        function(&told, arg);
      };
    unwrap(worker).on_drain(std::move(callback));
  });
}

int refork_worker_draining(const refork_worker* worker) { return unwrap(worker).draining() ? 1 : 0; }
void refork_worker_crossed(refork_worker* worker) { unwrap(worker).crossed(); }

__attribute__((noinline)) int refork_worker_fail(refork_worker* worker, const refork_error* error,
                                                 refork_then then, char* id, size_t id_size) {
  const void* caller = __builtin_extract_return_addr(__builtin_return_address(0));
  if (!c::is_then(then)) return c::fail(EINVAL, "no such refork_then");
  return c::guarded([&] {
    Failure failure = c::describe(*error);
    detail::Snapshot snapshot;
    snapshot.take(caller, nullptr);
    snapshot.tell(failure);
    unwrap(worker).fail(failure, static_cast<Then>(then));
    if (id && id_size > 0) std::snprintf(id, id_size, "%s", failure.id.c_str());
  });
}

void refork_worker_drain(refork_worker* worker, refork_drain_reason reason) {
  const int number = c::number_of(reason);
  const bool known = number >= REFORK_DRAIN_ERROR && number <= REFORK_DRAIN_STOP;
  c::guarded(
      [&] { unwrap(worker).drain(known ? static_cast<DrainReason>(number) : DrainReason::operator_); });
}

int refork_worker_finish(refork_worker* worker) { return unwrap(worker).finish(); }

int refork_worker_send(refork_worker* worker, const char* json) {
  bool taken = false;
  const int failed = c::guarded([&] { taken = unwrap(worker).send(json); });
  if (failed || taken) return failed;
  if (!unwrap(worker).supervised()) return c::fail(ENOTCONN, "there is no reforkd");
  return c::fail(EAGAIN, "not one JSON value of at most 60 KiB, or the queue is full");
}

int refork_worker_on_message(refork_worker* worker,
                             void (*function)(const char* json, size_t length, void* arg), void* arg) {
  return c::guarded([&] {
    std::function<void(std::string_view)> callback;
    if (function)
      callback = [function, arg](std::string_view json) {
        const std::string text(json);  // which ends with NUL
        function(text.c_str(), text.size(), arg);
      };
    unwrap(worker).on_message(std::move(callback));
  });
}

int refork_worker_fd(const refork_worker* worker) { return unwrap(worker).fd(); }

void refork_worker_process(refork_worker* worker) {
  c::guarded([&] { unwrap(worker).process(); });
}
}
