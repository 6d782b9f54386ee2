// Who captures an error, and what happens then. The way of a failure (the library's part of it) is `deliver`:
// record first, then the domain's handler, which answers the culprit.
#include "domain/capture.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <string_view>

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

void call_handlers(const Handler& handler, const Failure& failure) {
  if (handler.earlier) call_handlers(*handler.earlier.operator->(), failure);
  handler.function(failure);
}

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

// One call of an error handler, which may fail itself.
class HandlerCall {
 public:
  HandlerCall(State& state, const Handler& handler, const Failure& failure, Boundary boundary,
              std::uint64_t request)
      : state_(state), handler_(handler), failure_(failure), boundary_(boundary), request_(request) {}

  void run() {
    State* const active = outward_ ? outward_->state : nullptr;
    refork_domain_call(active, this, thunk<HandlerCall>(), this, &kind);
  }

  // Inside the trampoline.
  void operator()() {
    hide_down_to(outward_);
    const Handling handling(state_);
    call_handlers(handler_, failure_);
  }

 private:
  static const CallKind kind;
  static HandlerCall& of(const Call& call) noexcept { return *static_cast<HandlerCall*>(call.context); }

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

  State& state_;
  const Handler& handler_;
  const Failure& failure_;
  Boundary boundary_;
  std::uint64_t request_;
  Frame* const outward_ = outside(&state_);  // those above it are hidden from the handler
  Snapshot snapshot_;
};

const CallKind HandlerCall::kind{
    [](Call& call, const InFlight& thrown) noexcept { return of(call).decide(thrown); },
    [](Call& call, _Unwind_Exception* exception) { of(call).captured(exception); }};

// The error is recorded and the primary told of it before the handler answers: what the handler does may take
// long, or go wrong.
void deliver(State* state, const HandlerRef& handler, Failure& failure, Boundary boundary,
             std::uint64_t request) {
  domain::record(failure, handler ? handler->then : Then::drain, request);
  if (handler) HandlerCall(*state, *handler.operator->(), failure, boundary, request).run();
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

// What a bound callback is called.
struct Label {
  std::string_view text;
};
constinit Label unlabelled{};
constinit Label for_c{};  // marks a run whose caller no exception may cross

// A label for as long as its callback runs, which may destroy itself and its own.
struct KeptLabel : Label {
  explicit KeptLabel(std::string_view label) noexcept {
    char* to = short_label;
    if (label.size() > sizeof short_label) {
      long_label.reset(new (std::nothrow) char[label.size()]);
      to = long_label ? long_label.get() : short_label;
    }
    const std::size_t size = to == short_label ? std::min(label.size(), sizeof short_label) : label.size();
    std::memcpy(to, label.data(), size);
    text = {to, size};
  }
  std::unique_ptr<char[]> long_label;
  char short_label[64];
};

// One call through a domain, of run() or of a bound callback, as the trampoline made it: the label of the
// callback, null for a run, or &for_c is its context.
class DomainCall {
 public:
  explicit DomainCall(Call& call) noexcept : call_(call), label_(static_cast<Label*>(call.context)) {}

  Decision decide(const InFlight& thrown) const noexcept {
    const Frame& frame = call_.frame;
    const FailedHandler* failed = find_failed_handler(thrown.exception);
    const bool hidden = failed && is_above(&frame, failed->outward);
    State* state = frame.state;
    HandlerRef handler = hidden ? HandlerRef() : usable_handler(state);
    Boundary boundary = bound() ? Boundary::bound : boundary_above(frame.previous);
    if (!handler && label_ == &for_c) {
      // What would go outward is captured here already, for whom it would have come to.
      const Frame* outward = run_with_handler(failed ? failed->outward : frame.previous);
      if (outward) handler = usable_handler(state = outward->state);
      boundary = outward ? boundary_above(outward->previous) : Boundary::bound;
    }
    const Decision decision = handler ? Decision::capture : without_handler(boundary);
    if (decision != Decision::capture) return decision;
    auto* const capture = ::new (call_.room) Capture;
    capture->state = state;
    capture->boundary = boundary;
    capture->handler = std::move(handler);
    capture->snapshot.take(thrown, state);
    return decision;
  }

  // Only after a decision to capture: the exception has arrived.
  void captured(_Unwind_Exception* exception) const {
    const Ending ending{*std::launder(reinterpret_cast<Capture*>(call_.room))};  // NOLINT: made by decide()
    const Capture& capture = ending.capture;
    pop(call_.frame);
    Caught caught(exception, capture.snapshot.native());
    Failure failure;
    caught.tell(failure);
    capture.snapshot.tell(failure);
    std::uint64_t request = capture.snapshot.request();
    if (const FailedHandler* failed = find_failed_handler(exception)) {
      tell_original(failure, failed->original);
      request = failed->request;
      forget_failed_handler();
    }
    try {
      if (bound()) failure.bound = label_->text;
    } catch (...) {
      failure.bound.clear();
    }
    deliver(capture.state, capture.handler, failure, capture.boundary, request);
  }

 private:
  struct Ending {
    Capture& capture;
    ~Ending() { capture.~Capture(); }
  };
  static_assert(sizeof(Capture) <= sizeof(Call::room) && alignof(Capture) <= 16);
  bool bound() const noexcept { return label_ && label_ != &for_c; }

  Call& call_;
  const Label* label_;
};

[[noreturn]] void throw_reported(const Failure& failure) {
  if (failure.exception) std::rethrow_exception(failure.exception);
  throw std::runtime_error(failure.message);
}

}  // namespace

Returned run_bound(State* state, const std::string& label, Thunk call, void* argument) {
  if (label.empty()) return refork_domain_call(state, &unlabelled, call, argument, &refork_domain_run_kind);
  KeptLabel kept(label);
  return refork_domain_call(state, &kept, call, argument, &refork_domain_run_kind);
}

Returned run_for_c(State* state, Thunk call, void* argument) {
  return refork_domain_call(state, &for_c, call, argument, &refork_domain_run_kind);
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

const refork::detail::CallKind refork_domain_run_kind{
    [](refork::detail::Call& call, const refork::detail::InFlight& thrown) noexcept {
      return refork::detail::DomainCall(call).decide(thrown);
    },
    [](refork::detail::Call& call, _Unwind_Exception* exception) {
      refork::detail::DomainCall(call).captured(exception);
    }};
