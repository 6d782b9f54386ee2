#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "refork/domain.hpp"

namespace refork::detail {

struct Handler;

// Domains and handlers have lines of their own: what one thread writes in its domain delays no other's.
inline constexpr std::size_t cache_line = 64;

// A counted reference to an error handler.
class HandlerRef {
 public:
  HandlerRef() = default;
  explicit HandlerRef(Handler* adopted) noexcept : handler_(adopted) {}
  HandlerRef(const HandlerRef& other) noexcept : handler_(other.handler_) {
    if (handler_) keep();
  }
  HandlerRef(HandlerRef&& other) noexcept : handler_(std::exchange(other.handler_, nullptr)) {}
  HandlerRef& operator=(HandlerRef other) noexcept {
    std::swap(handler_, other.handler_);
    return *this;
  }
  ~HandlerRef() {
    if (handler_) drop();
  }
  explicit operator bool() const noexcept { return handler_ != nullptr; }
  const Handler* operator->() const noexcept { return handler_; }
  // Before it is shared: runs after `earlier`.
  void follow(HandlerRef earlier) noexcept;

 private:
  void keep() noexcept;
  void drop() noexcept;
  Handler* handler_ = nullptr;
};

// An error handler, shared by its domain and the captures that run it, so that it can be replaced meanwhile.
struct alignas(cache_line) Handler {
  Domain::Handler function;
  Then then = Then::drain;
  HandlerRef earlier;  // runs before it
  std::atomic<std::uint32_t> references{1};

  static void* operator new(std::size_t size);
  static void operator delete(void* block) noexcept;
};

// What a Domain names.
struct alignas(cache_line) State {
  explicit State(std::string_view domain_name);

  std::atomic<std::uint32_t> references{1};
  std::atomic<std::uint64_t> request{0};  // the in-flight request tied to it
  const std::uint64_t number;
  const std::string name;

  // Guards `handler` alone, and nothing is thrown while it is held: the unwinder's search phase takes it,
  // too.
  std::mutex handler_mutex;
  HandlerRef handler;

  std::mutex handling;                             // held while the handler runs
  std::atomic<const void*> handling_on = nullptr;  // the thread that holds it

  std::mutex mutex;         // guards what follows, but for the parent
  State* parent = nullptr;  // a reference of its own; guarded by the one lock of all family trees
  std::vector<Emitter*> members;
  std::vector<std::pair<std::string, std::string>> context;

  ~State();
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  static void* operator new(std::size_t size);
  static void operator delete(void* block) noexcept;

  HandlerRef current_handler() noexcept {
    std::lock_guard lock(handler_mutex);
    return handler;
  }
  static State* of(const Domain& domain) noexcept { return domain.state_; }
  static Domain handle(State* state) noexcept;  // to it, or the empty one
};

void retain(State* state) noexcept;
void release(State* state) noexcept;
State* parent_of(State* state) noexcept;  // retained; null for none

}  // namespace refork::detail
