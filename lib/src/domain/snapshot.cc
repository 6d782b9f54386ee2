// What is taken at the place of an error: raw return addresses and the domains active there. Names and lines
// are not looked up here, and nothing here decides anything.
#include "domain/snapshot.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "domain/exception_object.h"
#include "domain/first_throw.h"
#include "domain/stack.h"

namespace refork::detail {
namespace {

bool is_rethrown(const InFlight& thrown) noexcept {
  return (thrown.exception_class & dependent_mask) || header_of(thrown.exception).handler_count != 0;
}

}  // namespace

void Snapshot::drop_chain() noexcept {
  for (std::size_t i = 0; i < chain_length_; ++i) release(chain_[i]);
  release(own_);
}

void Snapshot::take(const InFlight& thrown, State* own) noexcept {
  native_ = is_native(thrown.exception_class);
  take_chain(own);
  if (native_) {
    const void* object = thrown_object(thrown.exception, thrown.exception_class);
    rethrown_ = is_rethrown(thrown);
    if (!rethrown_)  // kept by the hook a moment ago, unless an inner domain let it pass
      frames_ = static_cast<std::uint32_t>(find_throw_below(object, thrown.limit, stack_.data()));
    else if (was_thrown(object))
      frames_ = static_cast<std::uint32_t>(find_throw(object, stack_.data()));
    if (frames_ > 0) {
      rethrown_ = false;
      return;
    }
  }
  walk_to(thrown.limit);
  drop_newest(count_machinery(stack_.data(), frames_));
}

void Snapshot::take(const void* reported_from, State* own) noexcept {
  take_chain(own);
  walk_to(UINTPTR_MAX);
  auto* end = stack_.begin() + std::min<std::size_t>(frames_, machinery_limit);
  auto* caller = std::find(stack_.begin(), end, reported_from);
  if (caller != end) drop_newest(static_cast<std::size_t>(caller - stack_.begin()));
}

void Snapshot::take(const std::exception_ptr& uncaught) noexcept {
  take_chain(nullptr);
  const void* object = nullptr;
  std::memcpy(static_cast<void*>(&object), static_cast<const void*>(&uncaught), sizeof object);
  if (object && was_thrown(object)) frames_ = static_cast<std::uint32_t>(find_throw(object, stack_.data()));
  if (frames_ > 0) return;
  walk_to(UINTPTR_MAX);
  drop_newest(count_machinery(stack_.data(), frames_));
}

void Snapshot::take_chain(State* own) noexcept {
  own_ = own;
  retain(own);
  for (Frame* frame = this_thread.top; frame && chain_length_ < chain_limit; frame = below(*frame)) {
    auto* end = chain_.begin() + chain_length_;
    if (!frame->state || std::find(chain_.begin(), end, frame->state) != end) continue;
    retain(frame->state);
    chain_[chain_length_++] = frame->state;
  }
}

void Snapshot::walk_to(std::uintptr_t limit) noexcept {
  frames_ = static_cast<std::uint32_t>(walk(stack_.data(), stack_.size(), limit));
}

void Snapshot::drop_newest(std::size_t count) noexcept { dropped_ = static_cast<std::uint32_t>(count); }

// The domains in the order in which they have a say: the own one, those around it, those inside it.
template <class Visit>
void Snapshot::visit(Visit visit) const {
  if (own_) visit(*own_);
  auto* end = chain_.begin() + chain_length_;
  auto* own = std::find(chain_.begin(), end, own_);
  if (own != end)
    for (auto* state = own + 1; state != end; ++state) visit(**state);
  for (auto* state = chain_.begin(); state != own; ++state) visit(**state);
}

std::uint64_t Snapshot::request() const noexcept {
  std::uint64_t found = 0;
  visit([&](State& state) {
    if (!found) found = state.request.load(std::memory_order_relaxed);
  });
  return found;
}

void add_missing(Context& context, const Context& more) {
  for (const auto& added : more) {
    auto same_key = [&](const auto& entry) { return entry.first == added.first; };
    if (std::none_of(context.begin(), context.end(), same_key)) context.push_back(added);
  }
}

void Snapshot::tell(Failure& failure) const noexcept {
  failure.rethrown = failure.rethrown || rethrown_;
  try {
    if (own_) failure.domain = own_->name;
    const auto kept = std::min<std::size_t>(frames_ - dropped_, stack_limit);
    failure.stack.assign(stack_.begin() + dropped_, stack_.begin() + dropped_ + kept);
    for (std::size_t i = 0; i < chain_length_; ++i) failure.domains.push_back(chain_[i]->name);
    auto* chain_end = chain_.begin() + chain_length_;
    if (own_ && std::find(chain_.begin(), chain_end, own_) == chain_end) {
      // Not active here, or too far outward to be kept.
      auto& domains = failure.domains;
      domains.insert(chain_length_ == chain_limit ? domains.end() : domains.begin(), own_->name);
    }
    visit([&](State& state) {
      std::lock_guard lock(state.mutex);
      add_missing(failure.context, state.context);
    });
  } catch (...) {
    // No memory: the record says as much as there was room for.
  }
}

}  // namespace refork::detail
