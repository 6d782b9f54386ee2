// The stack of active domains of each thread: a list of entries that live in the Scope or call that made
// them, newest first. It knows nothing of errors.
#include "domain/stack.h"

namespace refork::detail {

__thread Thread this_thread;

void pop_out_of_order(const Frame& frame) noexcept {
  for (Frame* found = this_thread.top; found; found = found->previous) {
    if (found != &frame) continue;
    this_thread.top = frame.previous;
    return;
  }
}

Frame* outside(const State* state) noexcept {
  Frame* parent = this_thread.top;
  while (parent && parent->state == state) parent = below(*parent);
  return parent;
}

}  // namespace refork::detail

namespace refork {

Scope::Scope(detail::State* state) noexcept {
  if (!detail::this_thread.greeted) detail::greet_this_thread();
  detail::push(frame_, state, detail::Entry::scope);
}

Scope::~Scope() { detail::pop(frame_); }

}  // namespace refork
