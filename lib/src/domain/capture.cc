// Who captures an error, and what happens then. The way of a failure (the library's part of it) is `deliver`:
// record first, then the domain's handler, which answers the culprit.
#include "domain/capture.h"

#include <cxxabi.h>

#include <new>
#include <stdexcept>

#include "domain/describe.h"
#include "domain/exception_object.h"
#include "domain/failed_handler.h"
#include "domain/sink.h"
#include "domain/snapshot.h"
#include "domain/stack.h"
#include "domain/trampoline.h"

namespace refork::detail {
namespace {

// Where errors end that nobody inside handles.
enum class Boundary {
  inner,      // there is a run around it: they go outward
  outermost,  // the sink, if there is one; otherwise outward to whoever may catch them
  bound,      // the sink, if there is one; otherwise std::terminate
};

// That of a run or report with this frame around it.
Boundary boundary_above(const Frame* frame) noexcept {
  while (frame && !frame->call) frame = frame->previous;
  return frame ? Boundary::inner : Boundary::outermost;
}

// The handler that may be run now: not while this thread is running it already.
HandlerRef usable_handler(State* state) noexcept {
  if (!state || state->handling_on.load(std::memory_order_relaxed) == &this_thread) return {};
  return state->current_handler();
}

Decision without_handler(Boundary boundary) noexcept {
  if (boundary == Boundary::inner) return Decision::pass;
  if (domain::has_sink()) return Decision::capture;
  if (boundary == Boundary::outermost) return Decision::pass;
  this_thread.top = nullptr;  // the terminate handler runs outside all domains
  return Decision::terminate;
}

// A captured exception, handled as long as this lives: std::current_exception() and `throw;` work.
class Caught {
 public:
  Caught(_Unwind_Exception* exception, bool native) noexcept : exception_(exception), native_(native) {
    if (native_) abi::__cxa_begin_catch(exception_);
  }
  ~Caught() {
    if (native_)
      abi::__cxa_end_catch();
    else
      _Unwind_DeleteException(exception_);
  }
  Caught(const Caught&) = delete;
  Caught& operator=(const Caught&) = delete;

  void tell(Failure& failure) const noexcept {
    if (native_) return describe(std::current_exception(), failure);
    try {
      failure.type = "foreign exception";
      failure.message = "thrown by another language's runtime";
    } catch (...) {
      failure.message.clear();
    }
  }

 private:
  _Unwind_Exception* exception_;
  bool native_;
};

// The error of a handler, told with the error that it was handling.
void tell_original(Failure& failure, std::shared_ptr<const Failure> original) noexcept {
  failure.kind = Kind::handler;
  if (!original) return;
  try {
    failure.causes.push_back({original->type, original->message});
    failure.causes.insert(failure.causes.end(), original->causes.begin(), original->causes.end());
    add_missing(failure.context, original->context);
  } catch (...) {
    // No memory: the original itself still tells.
  }
  failure.original = std::move(original);
}

// One call of an error handler, which may fail itself.
class HandlerCall : public Catcher {
 public:
  HandlerCall(const Failure& failure, Boundary boundary, std::uint64_t request, const Frame* outward)
      : Catcher{[](Catcher& self, const InFlight& thrown) noexcept {
          return static_cast<HandlerCall&>(self).decide(thrown);
        }},
        failure_(failure),
        boundary_(boundary),
        request_(request),
        outward_(outward) {}

  Decision decide(const InFlight& thrown) noexcept {
    Decision decision = without_handler(boundary_);
    if (decision == Decision::capture) snapshot_.take(thrown, nullptr);
    if (decision == Decision::pass && boundary_ == Boundary::inner)
      remember_failed_handler(thrown, failure_, request_, outward_);
    return decision;
  }

  // The one record gets both errors.
  void captured(_Unwind_Exception* exception) noexcept {
    Caught caught(exception, snapshot_.native());
    Failure second;
    caught.tell(second);
    snapshot_.tell(second);
    try {
      second.domain = failure_.domain;
      second.bound = failure_.bound;
      second.emitter = failure_.emitter;
      tell_original(second, std::make_shared<const Failure>(failure_));
    } catch (...) {
      tell_original(second, nullptr);
    }
    domain::record(second, Then::drain, request_);
  }

 private:
  const Failure& failure_;
  Boundary boundary_;
  std::uint64_t request_;
  const Frame* outward_;
  Snapshot snapshot_;
};

// Holds the domain's handler for this thread.
class Handling {
 public:
  explicit Handling(State& state) : state_(state), lock_(state.handling) {
    state_.handling_on.store(&this_thread, std::memory_order_relaxed);
  }
  ~Handling() { state_.handling_on.store(nullptr, std::memory_order_relaxed); }
  Handling(const Handling&) = delete;
  Handling& operator=(const Handling&) = delete;

 private:
  State& state_;
  std::lock_guard<std::mutex> lock_;
};

void call_handlers(const Handler& handler, const Failure& failure) {
  if (handler.earlier) call_handlers(*handler.earlier.operator->(), failure);
  handler.function(failure);
}

void run_handler(State& state, const Handler& handler, const Failure& failure, Boundary boundary,
                 std::uint64_t request) {
  Outside outside(&state);
  HandlerCall call(failure, boundary, request, outside.parent());
  auto body = [&] { call_handlers(handler, failure); };
  _Unwind_Exception* thrown = nullptr;
  {
    Handling handling(state);
    thrown = refork_domain_call(thunk<decltype(body)>, &body, &call);
  }
  if (thrown) call.captured(thrown);
}

// The error is recorded and the primary told of it before the handler answers: what the handler does may take
// long, or go wrong.
void deliver(State* state, const HandlerRef& handler, Failure& failure, Boundary boundary,
             std::uint64_t request) {
  domain::record(failure, handler ? handler->then : Then::drain, request);
  if (handler) run_handler(*state, *handler.operator->(), failure, boundary, request);
}

// Whether the frame lies above the other one (null: below all).
bool is_above(const Frame* frame, const Frame* other) noexcept {
  if (frame == other) return false;
  while (frame && frame != other) frame = frame->previous;
  return frame == other;
}

// What a call needs of an error that it captures.
struct Capture {
  State* state = nullptr;  // whose handler answers
  Boundary boundary = Boundary::inner;
  HandlerRef handler;
  Snapshot snapshot;
};

// The nearest run outward from here whose domain has a handler that may be run now.
const Frame* run_with_handler(const Frame* frame) noexcept {
  while (frame && !(frame->call && usable_handler(frame->state))) frame = frame->previous;
  return frame;
}

// Marks, as a label, a run whose caller no exception may cross.
const std::string for_c;

// One call through a domain, of run() or of a bound callback. Its place on the stack is taken and left by
// call_inside.
class DomainCall : public Catcher {
 public:
  // A bound callback's label, null for a run, or &for_c.
  explicit DomainCall(const std::string* label) noexcept
      : Catcher{[](Catcher& self, const InFlight& thrown) noexcept {
          return static_cast<DomainCall&>(self).decide(thrown);
        }},
        label_(label) {}
  ~DomainCall() {}  // NOLINT: see capture_
  DomainCall(const DomainCall&) = delete;
  DomainCall& operator=(const DomainCall&) = delete;

  Frame& frame() noexcept { return frame_; }

  Decision decide(const InFlight& thrown) noexcept {
    const FailedHandler* failed = find_failed_handler(thrown.exception);
    const bool hidden = failed && is_above(&frame_, failed->outward);
    State* state = frame_.state;
    HandlerRef handler = hidden ? HandlerRef() : usable_handler(state);
    Boundary boundary = bound() ? Boundary::bound : boundary_above(frame_.previous);
    if (!handler && label_ == &for_c) {
      // What would go outward is captured here already, for whom it would have come to.
      const Frame* outward = run_with_handler(failed ? failed->outward : frame_.previous);
      if (outward) handler = usable_handler(state = outward->state);
      boundary = outward ? boundary_above(outward->previous) : Boundary::bound;
    }
    const Decision decision = handler ? Decision::capture : without_handler(boundary);
    if (decision != Decision::capture) return decision;
    new (&capture_) Capture;
    capture_.state = state;
    capture_.boundary = boundary;
    capture_.handler = std::move(handler);
    capture_.snapshot.take(thrown, state);
    return decision;
  }

  // Only after a decision to capture: the exception has arrived.
  __attribute__((noinline, cold)) void captured(_Unwind_Exception* exception) {
    const Ending ending{capture_};
    pop(frame_);
    Caught caught(exception, capture_.snapshot.native());
    Failure failure;
    caught.tell(failure);
    capture_.snapshot.tell(failure);
    std::uint64_t request = capture_.snapshot.request();
    if (const FailedHandler* failed = find_failed_handler(exception)) {
      tell_original(failure, failed->original);
      request = failed->request;
      forget_failed_handler();
    }
    try {
      if (bound()) failure.bound = *label_;
    } catch (...) {
      failure.bound.clear();
    }
    deliver(capture_.state, capture_.handler, failure, capture_.boundary, request);
  }

 private:
  struct Ending {
    Capture& capture;
    ~Ending() { capture.~Capture(); }
  };
  bool bound() const noexcept { return label_ && label_ != &for_c; }

  Frame frame_;
  const std::string* label_;
  union {
    Capture capture_;  // made by decide(), ended by captured(): costs nothing where nothing is thrown
  };
};

// Leaves the domain again. What was active before is kept in a register: reading it back from the stack would
// make each call wait for the one before.
class Leaving {
 public:
  Leaving(Frame& frame, Frame* before) noexcept : frame_(frame), before_(before) {}
  ~Leaving() {
    if (this_thread.top == &frame_ && !this_thread.unusual)
      this_thread.top = before_;
    else
      leave_unusually();
  }
  Leaving(const Leaving&) = delete;
  Leaving& operator=(const Leaving&) = delete;

 private:
  __attribute__((noinline, cold)) void leave_unusually() noexcept {
    pop(frame_);
    if (before_) return;
    this_thread.unusual = false;
    if (this_thread.handler_failed) forget_failed_handler();
  }

  Frame& frame_;
  Frame* const before_;
};

__attribute__((always_inline)) inline bool call_inside(State* state, const std::string* label, Thunk call,
                                                       void* argument) {
  DomainCall domain_call(label);
  Frame& frame = domain_call.frame();
  const Leaving leaving(frame, this_thread.top);
  push(frame, state, Entry::call);
  _Unwind_Exception* captured = refork_domain_call(call, argument, &domain_call);
  if (__builtin_expect(!captured, true)) return true;
  domain_call.captured(captured);
  return false;
}

[[noreturn]] void throw_reported(const Failure& failure) {
  if (failure.exception) std::rethrow_exception(failure.exception);
  throw std::runtime_error(failure.message);
}

}  // namespace

bool run(State* state, Thunk call, void* argument) {
  if (state) return call_inside(state, nullptr, call, argument);
  call(argument);
  return true;
}

bool run_bound(State* state, const std::string& label, Thunk call, void* argument) {
  return call_inside(state, &label, call, argument);
}

bool run_for_c(State* state, Thunk call, void* argument) {
  return call_inside(state, &for_c, call, argument);
}

void report(State* state, Failure& failure, const void* reported_from) {
  failure.kind = Kind::error;
  failure.thrown = false;
  HandlerRef handler = usable_handler(state);
  const bool busy = state && state->handling_on.load(std::memory_order_relaxed) == &this_thread;
  if (busy) throw_reported(failure);
  // Without a handler of its own, the nearest of its ancestors that has one is told.
  Domain told = State::handle(state);
  for (Domain next = told.parent(); !handler && next; next = next.parent()) {
    handler = usable_handler(State::of(next));
    if (handler) told = next;
  }
  if (!handler && !domain::has_sink()) throw_reported(failure);
  Snapshot snapshot;
  snapshot.take(reported_from, State::of(told));
  snapshot.tell(failure);
  deliver(State::of(told), handler, failure, boundary_above(this_thread.top), snapshot.request());
}

}  // namespace refork::detail
