// What a domain consists of, how long it lives, and the operations on it that have nothing to do with errors:
// name, members, context. Capturing is in capture.cc.
#include "domain/state.h"

#include <algorithm>
#include <stdexcept>

#include "domain/pool.h"
#include "domain/stack.h"

namespace refork::detail {
namespace {

// Numbers are handed out to threads in blocks, so that making a domain touches nothing that threads share.
std::uint64_t next_number() noexcept {
  constexpr std::uint64_t block = 1024;
  static std::atomic<std::uint64_t> blocks{0};
  static __thread std::uint64_t next = 0;
  if (next % block == 0) next = blocks.fetch_add(1, std::memory_order_relaxed) * block;
  return ++next;
}

State& required(State* state, const char* operation) {
  if (!state) throw std::logic_error(std::string("refork::Domain::") + operation + " on an empty handle");
  return *state;
}

// The outermost entry of the domain on this thread's stack.
Frame* outermost_frame(const State* state) noexcept {
  Frame* found = nullptr;
  for (Frame* frame = this_thread.top; frame; frame = frame->previous)
    if (frame->state == state) found = frame;
  return found;
}

// Guards every domain's parent. Parents change rarely, and are asked for where an error found no handler.
std::mutex family;

// No other handle is left, so nobody else can make one: a plain load saves the locked instruction.
bool drop_reference(std::atomic<std::uint32_t>& references) noexcept {
  return references.load(std::memory_order_acquire) == 1 ||
         references.fetch_sub(1, std::memory_order_acq_rel) == 1;
}

}  // namespace

State::State(std::string_view domain_name) : number(next_number()), name(domain_name) {}
State::~State() { release(parent); }

Domain State::handle(State* state) noexcept {
  retain(state);
  return Domain(state, Domain::Adopt::reference);
}

State* parent_of(State* state) noexcept {
  if (!state) return nullptr;
  const std::lock_guard lock(family);
  retain(state->parent);
  return state->parent;
}

// Not inlined: g++ 12 would take the pool's allocation function, seen from one side only, for a mismatched
// one.
#define REFORK_NOINLINE __attribute__((noinline))
REFORK_NOINLINE void* State::operator new(std::size_t size) { return Pool<State>::take(size); }
REFORK_NOINLINE void State::operator delete(void* block) noexcept { Pool<State>::give(block); }
REFORK_NOINLINE void* Handler::operator new(std::size_t size) { return Pool<Handler>::take(size); }
REFORK_NOINLINE void Handler::operator delete(void* block) noexcept { Pool<Handler>::give(block); }

void HandlerRef::keep() noexcept { handler_->references.fetch_add(1, std::memory_order_relaxed); }

void HandlerRef::follow(HandlerRef earlier) noexcept {
  if (earlier && earlier->then == Then::drain) handler_->then = Then::drain;
  handler_->earlier = std::move(earlier);
}

void HandlerRef::drop() noexcept {
  if (drop_reference(handler_->references)) delete handler_;
}

void retain(State* state) noexcept {
  if (state) state->references.fetch_add(1, std::memory_order_relaxed);
}

void release(State* state) noexcept {
  if (!state || !drop_reference(state->references)) return;
  // The last handle may go away inside the domain (a connection that ends in its own callback): then the
  // domain lives on until its outermost entry leaves the stack.
  if (Frame* frame = outermost_frame(state)) {
    state->references.store(1, std::memory_order_relaxed);
    frame->owner = true;
    this_thread.unusual = true;
    return;
  }
  delete state;
}

}  // namespace refork::detail

namespace refork {

using detail::required;
using detail::State;
using detail::this_thread;

Domain::Domain(std::string_view name) : state_(new State(name)) {}

Domain::Domain(const Domain& other) noexcept
    : state_(other.state_), inner_(other.state_ && this_thread.adopting == other.state_) {
  if (!inner_) detail::retain(state_);
}

Domain::Domain(Domain&& other) noexcept : state_(other.state_), inner_(other.inner_) {
  // A handle that the domain's handler moves out of itself counts from now on.
  if (inner_ && this_thread.adopting != state_) {
    inner_ = false;
    detail::retain(state_);
  }
  other.state_ = nullptr;
  other.inner_ = false;
}

Domain& Domain::operator=(const Domain& other) noexcept { return *this = Domain(other); }

Domain& Domain::operator=(Domain&& other) noexcept {
  Domain taken(std::move(other));
  std::swap(state_, taken.state_);
  std::swap(inner_, taken.inner_);
  return *this;
}

Domain::~Domain() {
  if (!inner_) detail::release(state_);
}

Domain Domain::current() noexcept {
  return State::handle(this_thread.top ? this_thread.top->state : nullptr);
}

Domain Domain::empty() noexcept { return Domain(nullptr, Adopt::reference); }
Scope Domain::none() { return Scope(nullptr); }
Scope Domain::enter() const { return Scope(state_); }
std::string_view Domain::name() const noexcept {
  return state_ ? std::string_view(state_->name) : std::string_view();
}

namespace detail {
namespace {

HandlerRef make_handler(const State& state, const Domain::Handler& function, Then then) {
  if (!function) return {};
  auto* block = new Handler;
  HandlerRef made(block);
  block->then = then;
  // Copied rather than moved: the handles to this domain that the copy holds are made uncounted ones.
  struct Adopting {
    const State* before;
    ~Adopting() { this_thread.adopting = before; }
  } restore{std::exchange(this_thread.adopting, &state)};
  block->function = Domain::Handler(function);
  return made;
}

}  // namespace
}  // namespace detail

void Domain::on_error(Handler handler, Then then) const {
  State& state = required(state_, "on_error");
  detail::HandlerRef made = detail::make_handler(state, handler, then);
  std::lock_guard lock(state.handler_mutex);
  std::swap(state.handler, made);
}

void Domain::also_on_error(Handler handler, Then then) const {
  State& state = required(state_, "also_on_error");
  if (!handler) return;
  detail::HandlerRef added = detail::make_handler(state, handler, then);
  std::lock_guard lock(state.handler_mutex);
  added.follow(std::exchange(state.handler, {}));
  state.handler = std::move(added);
}

void Domain::add(Emitter& emitter) const {
  State& state = required(state_, "add");
  if (emitter.domain_ == *this) return;
  {
    std::lock_guard lock(state.mutex);
    state.members.push_back(&emitter);
  }
  if (emitter.domain_) emitter.domain_.remove(emitter);
  emitter.domain_ = *this;
  emitter.listed_ = true;
}

void Domain::add(const Domain& child) const {
  State& state = required(state_, "add");
  State& added = required(child.state_, "add");
  State* before = &state;
  {
    const std::lock_guard lock(detail::family);
    for (const State* ancestor = &state; ancestor; ancestor = ancestor->parent)
      if (ancestor == &added)
        throw std::invalid_argument("refork::Domain::add: a domain would be its own ancestor");
    detail::retain(&state);
    std::swap(before, added.parent);
  }
  detail::release(before);
}

void Domain::remove(const Domain& child) const {
  if (!state_ || !child.state_) return;
  {
    const std::lock_guard lock(detail::family);
    if (child.state_->parent != state_) return;
    child.state_->parent = nullptr;
  }
  detail::release(state_);
}

Domain Domain::parent() const noexcept { return Domain(detail::parent_of(state_), Adopt::reference); }

void Domain::remove(Emitter& emitter) const {
  if (!state_ || emitter.domain_ != *this) return;
  Domain kept = std::exchange(emitter.domain_, empty());  // *this may be the emitter's own handle
  if (!std::exchange(emitter.listed_, false)) return;
  std::lock_guard lock(kept.state_->mutex);
  auto& members = kept.state_->members;
  members.erase(std::remove(members.begin(), members.end(), &emitter), members.end());
}

std::vector<Emitter*> Domain::members() const {
  if (!state_) return {};
  std::lock_guard lock(state_->mutex);
  return state_->members;
}

void Domain::set(std::string_view key, std::string_view value) const {
  State& state = required(state_, "set");
  std::lock_guard lock(state.mutex);
  for (auto& [known, old] : state.context) {
    if (known != key) continue;
    old = value;
    return;
  }
  state.context.emplace_back(key, value);
}

std::optional<std::string> Domain::get(std::string_view key) const {
  if (!state_) return std::nullopt;
  std::lock_guard lock(state_->mutex);
  for (const auto& [known, value] : state_->context)
    if (known == key) return value;
  return std::nullopt;
}

Emitter::Emitter(std::string name) : name_(std::move(name)), domain_(Domain::current()) {}
Emitter::~Emitter() { domain_.remove(*this); }
void Emitter::on_error(Domain::Handler listener) { listener_ = std::move(listener); }

}  // namespace refork
